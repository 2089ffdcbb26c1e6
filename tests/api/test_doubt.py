"""A run that knows its doubt: what it was learned from had no part in anything else."""

import json

import numpy as np
import pytest

from finetune import fine_tune, load, load_data
from finetune.data import pixel_digests
from finetune.report import make_report
from tiny import SIZE, make_images


def tuned(make_backbone, folder, data, **options):
    return fine_tune(
        data,
        backbone=make_backbone(),
        preprocess="tf",
        freeze_depth=10,
        epochs=1,
        out=folder,
        verbose=0,
        **options,
    )


@pytest.fixture(scope="module")
def data():
    return load_data(make_images(100), image_size=SIZE, test=0.2, calibration=0.5)


@pytest.fixture(scope="module")
def result(make_backbone, data, tmp_path_factory):
    return tuned(make_backbone, tmp_path_factory.mktemp("run") / "aside", data)


def test_images_set_aside_are_neither_trained_on_nor_chosen_by(result, data):
    aside = data.splits["calibration"]
    assert result.refitted == len(data.splits["train"]) + len(data.splits["validation"])
    known = result.model.known
    assert {*known.splits_of(pixel_digests(aside.images))} == {"calibration"}
    assert known.count(pixel_digests(aside.images))["calibration"] == len(aside)
    assert len(result.model.card.sets.probabilities) == len(aside)
    assert result.model.card.sets.origin == "set aside"


def test_the_bounds_are_of_the_calibrated_model_that_is_handed_over(result, data):
    aside = data.splits["calibration"]
    said = load(result.folder).predict(aside.images).probabilities
    expected = np.sort(said[np.arange(len(aside)), aside.labels])
    assert result.model.card.temperature != 1.0
    assert result.model.card.sets.probabilities == pytest.approx(expected.tolist(), abs=1e-5)


def test_what_is_nothing_like_the_images_is_said_to_be_so(result):
    black = np.zeros((SIZE, SIZE, 3), np.uint8)
    strange, usual = result.model.predict([black, make_images(1, seed=8)[0][0]], doubt=0.95)
    assert strange.said == "like nothing in training"
    assert not usual.doubt.novel and strange.doubt.distance > usual.doubt.distance


def test_the_run_says_how_often_its_doubt_is_right(result):
    found = json.loads((result.folder / "metrics.json").read_text())["doubt"]
    assert found["n"] == sum(result.data.counts["test"].values())
    assert found["images"] == len(result.data.splits["calibration"])
    assert 0.8 <= found["covered"] <= 1 and 1 <= found["size"] <= 3
    assert f"doubt:      {result.doubt}" in result.summary()
    page = make_report(result.folder).read_text()
    assert "When it says that it is not sure" in page and "false alarms" in page


def test_a_run_goes_by_what_is_set_aside(result, data):
    """Another share is another run: it is refused to go on with this one."""
    other = load_data(make_images(100), image_size=SIZE, test=0.2, calibration=0.4)
    assert other.fingerprint != data.fingerprint


def test_without_the_option_a_model_knows_no_doubt(make_backbone, tmp_path, arrays):
    plain = tuned(make_backbone, tmp_path / "run", arrays, image_size=SIZE, refit=0)
    assert plain.doubt is None and plain.model.novelty is None and plain.model.card.sets is None


def test_of_folds_sets_are_made_without_setting_images_aside(make_backbone, tmp_path):
    pictures = make_images(40)
    folded = tuned(
        make_backbone, tmp_path / "run", pictures, image_size=SIZE, validation="5-fold", test=0.2
    )
    sets = folded.model.card.sets
    # Not those that chose the epoch and the temperature.
    assert len(sets.probabilities) == len(folded.data.splits["train"])
    assert sets.origin == "folds" and folded.model.novelty is None
    assert folded.doubt.origin == "folds" and folded.doubt.novel is None
