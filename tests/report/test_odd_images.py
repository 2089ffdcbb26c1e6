"""What is odd among the images of a run stands in its report with pictures."""

import re

import numpy as np
import pytest

from finetune.data import load_data
from finetune.report import make_report
from finetune.report.evidence import Gallery, read_evidence
from finetune.report.odd_images import with_odd_images
from tiny import EVIL, make_images, rewrite_arrays


@pytest.fixture(scope="module")
def odd_images():
    """A copy under another label, one image that shows nothing, and one that is dark."""
    images, labels = make_images(16)
    images[20] = images[3]
    images[5] = 90
    images[40] = images[40] // 4
    return images, np.array(["boots", "sandals", EVIL])[labels]


@pytest.fixture(scope="module")
def result(tune, odd_images):
    return tune(odd_images, test=0.25)


def test_copies_under_two_labels_stand_side_by_side_with_their_classes(result, read_facts):
    odd = {one["kind"]: one for one in read_facts(result.report())["odd"]}
    assert [*odd] == ["two labels", "blank", "dark"]
    (group,) = odd["two labels"]["groups"]
    assert [image["label"] for image in group["images"]] == ["boots", "sandals"]
    assert [image["id"] for image in group["images"]] == ["train/3", "train/20"]
    assert group["why"] == "exact copies in boots, sandals"
    (blank,) = odd["blank"]["groups"]
    assert [image["id"] for image in blank["images"]] == ["train/5"]


def test_each_picture_is_in_the_page_and_names_show_as_text(result, read_facts, read_page):
    page = read_page(result.report())
    text = result.report().read_text(encoding="utf-8")
    for odd in read_facts(result.report())["odd"]:
        assert odd["title"] in page.text
        for image in (image for group in odd["groups"] for image in group["images"]):
            assert text.count(f'<symbol id="p{image["picture"]}"') == 1
            assert image["label"] in page.text
    assert EVIL in page.text and EVIL not in text
    assert not re.findall(r"<script>alert", text)


def test_copies_across_splits_of_ones_own_are_shown():
    images, labels = make_images(12)
    test_images, test_labels = make_images(6, seed=1)
    test_images[2] = images[30]
    test_labels[2] = labels[30]
    data = load_data((images, labels), test=(test_images, test_labels), image_size=16)
    (odd,) = with_odd_images(Gallery(), data).odd
    assert odd.kind == "leak"
    assert [one.split for one in odd.groups[0].images] == ["train", "test"]


def test_what_there_is_too_much_of_is_counted_and_cut_off():
    images, labels = make_images(40)
    images[:30] = np.arange(30, dtype=np.uint8)[:, None, None, None] * 4
    gallery = with_odd_images(Gallery(), load_data((images, labels), image_size=16))
    blank = next(odd for odd in gallery.odd if odd.kind == "blank")
    assert (blank.count, len(blank.groups)) == (30, 8)
    assert len(gallery.pictures) <= 36


def test_pictures_are_numbered_after_those_that_are_there_and_each_is_kept_once():
    images, labels = make_images(16)
    images[20], images[36] = images[3], images[3]
    data = load_data((images, labels), image_size=16)
    gallery = with_odd_images(Gallery(pictures=(b"one",)), data)
    (odd,) = gallery.odd
    assert [one.picture for one in odd.groups[0].images] == [1, 2, 3]
    assert gallery.pictures[0] == b"one" and len(gallery.pictures) == 4


def test_evidence_of_before_odd_images_were_kept_is_read(result, tmp_path, read_facts):
    path = result.folder / "evidence.npz"
    before = path.read_bytes()
    try:
        rewrite_arrays(path, lambda meta, _: meta.pop("odd"))
        assert read_evidence(result.folder).gallery.odd == ()
        assert read_facts(make_report(result.folder))["odd"] == []
    finally:
        path.write_bytes(before)


def test_images_that_are_not_odd_are_not_shown():
    gallery = with_odd_images(Gallery(), load_data(make_images(16), image_size=16))
    assert (gallery.odd, gallery.pictures) == ((), ())
