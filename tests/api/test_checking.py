import csv
import html
import json

import numpy as np
import pytest
from PIL import Image

import finetune
from finetune.exceptions import ArgumentError, WeightsError
from tiny import EVIL, make_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of noise, with a copy, a copy under another label, and files that are none."""
    place = tmp_path_factory.mktemp("images") / "shoes"
    images, labels = make_images(20, classes=2)
    large = images.repeat(3, axis=1).repeat(3, axis=2)
    for number, (pixels, label) in enumerate(zip(large, labels, strict=True)):
        name = place / ("boots", "sandals & <b>")[label]
        name.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name / f"{number}.png")
    boots, sandals = sorted(place.iterdir())
    (boots / "again.png").write_bytes((boots / "0.png").read_bytes())
    (sandals / "twice.png").write_bytes((boots / "1.png").read_bytes())
    (boots / "empty.jpg").touch()
    (boots / "half.png").write_bytes((boots / "2.png").read_bytes()[:200])
    Image.new("RGB", (48, 48), "white").save(boots / "<script>alert(1)<script>.png")
    return place


@pytest.fixture(scope="module")
def found(folder, make_backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "check"
    return finetune.check(
        folder, backbone=make_backbone(), preprocess="tf", fix=True, out=out, verbose=0
    )


def images_of(found, kind):
    return sorted(row["image"] for row in found.rows() if row["kind"] == kind and "image" in row)


def test_everything_that_is_wrong_is_found(found):
    assert images_of(found, "two labels") == ["boots/1.png", "sandals & <b>/twice.png"]
    assert images_of(found, "copies") == ["boots/0.png", "boots/again.png"]
    assert images_of(found, "blank") == ["boots/<script>alert(1)<script>.png"]
    unreadable = [group.why for group in found.finding("unreadable").groups]
    assert len(unreadable) == 2 and "the file is empty (0 bytes)" in unreadable[0]
    assert found.backbone == "tiny" and found.left_out == ()
    assert [one.kind for one in found.findings][:2] == ["unreadable", "two labels"]


def test_the_summary_names_what_to_look_at(found):
    lines = found.summary()
    assert lines.startswith("43 images of 2 classes, with features of tiny\n")
    assert "boots/1.png = sandals & <b>/twice.png (exact copies in boots, sandals & <b>)" in lines
    assert lines.endswith("Look at them: nothing was changed, and not all that is odd is wrong.")


def test_the_folder_holds_all_of_it(found):
    written = json.loads((found.folder / "check.json").read_text())
    assert written == json.loads(json.dumps(found.to_dict()))
    with open(found.folder / "fixes.csv", newline="") as file:
        fixes = {row["path"]: row for row in csv.DictReader(file)}
    assert fixes["boots/1.png"]["action"] == "leave out"
    assert fixes["boots/<script>alert(1)<script>.png"]["action"] == "leave out"
    assert fixes["boots/0.png"]["action"] == "keep"


def test_nothing_in_the_page_acts_and_nothing_is_fetched(found):
    page = (found.folder / "check.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;script&gt;" in page and "<script>alert" not in page
    assert "sandals &amp; &lt;b&gt;" in page and "sandals & <b>" not in page
    assert "http://" not in page and "https://" not in page
    assert page.count("data:image/webp") >= 5 and len(page.encode()) < 2_000_000


def test_what_was_decided_is_obeyed_and_told(found, folder):
    data = finetune.load_data(folder, image_size=16, fixes=found.folder / "fixes.csv")
    assert data.report.fixed.left_out == 3
    assert data.report.contradicting == ()
    again = finetune.check(
        folder, quick=True, fixes=found.folder / "fixes.csv", out=found.folder / "2", verbose=0
    )
    assert again.finding("two labels") is None and again.finding("blank") is None


def test_a_decision_that_was_made_is_not_overwritten(folder, tmp_path):
    options = {"quick": True, "fix": True, "out": tmp_path, "verbose": 0}
    finetune.check(folder, **options)
    file = tmp_path / "fixes.csv"
    decided = file.read_text().replace("keep", "leave out")
    file.write_text(decided)
    finetune.check(folder, **options)
    assert "keep" not in file.read_text()


def test_without_a_backbone_it_says_what_was_not_checked(folder, tmp_path):
    quick = finetune.check(folder, quick=True, out=tmp_path, verbose=0)
    assert quick.backbone == "" and quick.finding("two labels") is not None
    told = "Not checked: labels that look wrong, images unlike all others and copies that were cut"
    assert f"{told}, for quick=True (--quick) was asked for." in quick.summary()
    assert quick.images.data.image_size == (224, 224)


@pytest.mark.usefixtures("keras_cache")
def test_weights_that_cannot_be_had_leave_out_what_needs_them(folder, tmp_path):
    found = finetune.check(folder, out=tmp_path, verbose=0)
    assert found.finding("two labels") is not None
    assert "there are no weights of MobileNetV2" in found.left_out[0]
    with pytest.raises(WeightsError):
        finetune.check(folder, weights=tmp_path / "none.h5", out=tmp_path, verbose=0)


def test_what_cannot_be_checked_is_refused(folder, tmp_path):
    with pytest.raises(ArgumentError, match=r"check has no argument 'fixs'\. Did you mean 'fixes'"):
        finetune.check(folder, fixs="a.csv", out=tmp_path)
    with pytest.raises(ArgumentError, match=r"Expected `out` .* outside the images"):
        finetune.check(folder, quick=True, out=folder / "out")
    images, labels = make_images(4)
    stream = finetune.load_data((images, labels), image_size=16).train.unbatch()
    with pytest.raises(ArgumentError, match="Expected stored images to check"):
        finetune.check(stream, quick=True, out=tmp_path, verbose=0)


def test_labels_that_are_numbers_are_checked_for_all_but_classes(tmp_path):
    images, _ = make_images(20)
    images[3] = images[2]
    found = finetune.check(
        (images, np.linspace(0, 1, 60)), task="regression", quick=True, out=tmp_path, verbose=0
    )
    assert [one.kind for one in found.findings] == ["two labels"]
    assert [group.rows for group in found.findings[0].groups] == [(2, 3)]


@pytest.fixture(scope="module")
def planned(make_backbone, tmp_path_factory):
    images, labels = make_images(24)
    names = np.array(["boots", "sandals", EVIL])
    out = tmp_path_factory.mktemp("out") / "check"
    return finetune.check(
        (images, names[labels]),
        backbone=make_backbone(),
        preprocess="tf",
        plan=True,
        out=out,
        verbose=0,
    )


def test_a_plan_says_what_more_images_bring_in_words_in_json_and_in_the_page(planned):
    plan = planned.plan
    assert [one.images for one in plan.expected] == [72, 144, 288]
    written = json.loads((planned.folder / "check.json").read_text())["plan"]
    assert written == json.loads(json.dumps(plan.to_dict()))
    assert f"  144 images, twice as many:   accuracy {plan.expected[1]}" in planned.summary()
    page = (planned.folder / "check.html").read_text()
    assert EVIL not in page and "What to photograph next" in page
    assert html.escape(plan.sentence, quote=False) in page
    low, high = plan.expected[2].interval
    assert all(f"{100 * end:.1f}%" in page for end in (low, high))


def test_a_plan_has_to_be_asked_for_and_needs_features(planned, folder, found, tmp_path):
    assert found.plan is None and "photograph" not in (found.folder / "check.html").read_text()
    assert json.loads((found.folder / "check.json").read_text())["plan"] is None
    with pytest.raises(
        ArgumentError, match=r"^Expected plan=True \(--plan\) without quick=True \(--quick\)"
    ):
        finetune.check(folder, plan=True, quick=True, out=tmp_path, verbose=0)


def test_too_few_images_for_a_plan_are_told_and_the_check_is_whole(make_backbone, tmp_path):
    images, labels = make_images(6)
    few = finetune.check(
        (images, labels),
        backbone=make_backbone(),
        preprocess="tf",
        plan=True,
        out=tmp_path,
        verbose=0,
    )
    assert few.plan is None
    assert "Not checked: what more images would bring. Expected at least 8 different" in str(few)


@pytest.mark.usefixtures("keras_cache")
def test_a_plan_without_weights_is_among_what_was_not_checked(folder, tmp_path):
    found = finetune.check(folder, plan=True, out=tmp_path, verbose=0)
    assert found.plan is None and "what more images would bring" in found.left_out[0]
