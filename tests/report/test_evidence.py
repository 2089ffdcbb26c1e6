"""What a report is made of: written and read back, and pictures within their budget."""

import numpy as np
import pytest

from finetune.exceptions import DamagedFileError
from finetune.report.answers_in_order import MOST_RIGHT, MOST_WRONG, judge, rows_to_show
from finetune.report.evidence import (
    About,
    Answers,
    Evidence,
    Gallery,
    ShownImage,
    Similar,
    read_evidence,
    write_evidence,
)
from finetune.report.image_cards import pictures_of

ABOUT = About("multiclass", ("a", "b"), (16, 16), "pad", 0.9, {"train": {"a": 3, "b": 2}})
ANSWERS = Answers(
    np.array([0, 1], np.int32), np.float32([[0.2, 0.8], [0.4, 0.6]]), ("x", "y"), ("1f", "2e")
)
GALLERY = Gallery(
    "test",
    (ShownImage(0, 0, (Similar(1, "t", 1.0, 0.5),)),),
    (b"one", b"other"),
    np.full((1, 2, 2), 7, np.uint8),
    5,
    "A note.",
)


def test_evidence_is_read_as_it_was_written(tmp_path):
    write_evidence(tmp_path, Evidence(ABOUT, {"test": ANSWERS}, GALLERY))
    found = read_evidence(tmp_path)
    assert found.about == ABOUT
    assert found.answers["test"].ids == ANSWERS.ids
    assert found.answers["test"].content == ANSWERS.content
    np.testing.assert_array_equal(found.answers["test"].labels, ANSWERS.labels)
    np.testing.assert_array_equal(found.answers["test"].outputs, ANSWERS.outputs)
    assert (found.gallery.images, found.gallery.pictures) == (GALLERY.images, GALLERY.pictures)
    np.testing.assert_array_equal(found.gallery.maps, GALLERY.maps)
    assert (found.gallery.compared, found.gallery.note) == (5, "A note.")


@pytest.mark.parametrize("image", [ShownImage(2, 0), ShownImage(0, 2)])
def test_evidence_that_names_what_is_not_in_it_is_refused(tmp_path, image):
    gallery = Gallery("test", (image,), (b"one",))
    write_evidence(tmp_path, Evidence(ABOUT, {"test": ANSWERS}, gallery))
    with pytest.raises(DamagedFileError, match="it names images that are not in it"):
        read_evidence(tmp_path)


def test_errors_are_shown_first_and_every_class_has_some_right_ones():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    said = rng.dirichlet([1, 1, 1], 300).astype("float32")
    judged = judge(Answers(labels, said), "multiclass")
    rows = rows_to_show(judged)
    wrong = [row for row in rows if not judged.right[row]]
    assert rows[: len(wrong)] == wrong == judged.wrong_rows()[:MOST_WRONG].tolist()
    right = rows[len(wrong) :]
    assert len(right) == MOST_RIGHT
    assert np.bincount(labels[right], minlength=3).min() >= MOST_RIGHT // 6
    assert judged.unsure_rows()[0] in right


def test_pictures_beyond_the_budget_are_left_out_the_similar_ones_first():
    images = [
        {"place": 0, "picture": 0, "similar": [{"picture": 2}]},
        {"place": 1, "picture": 1, "similar": []},
    ]
    pictures = (b"a" * 300, b"b" * 300, b"c" * 300)
    found = pictures_of(pictures, images, budget=900)
    assert ([*found.photos], found.left_out) == ([0, 1], 1)
    assert [*pictures_of(pictures, images).photos] == [0, 1, 2]
