"""Doubt in the answers of a model: in words, in tables, and where it must not be told."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from finetune.backbones import load_backbone
from finetune.data import load_data
from finetune.exceptions import ArgumentError, ModelFileError
from finetune.model import FineTunedModel, ModelCard, learn_doubt, load, measure_doubt
from finetune.model.doubt import Doubt
from finetune.model.prediction_sets import PredictionSets
from finetune.training import Head, assemble
from tiny import build_backbone, build_colour_model

NAMES = ("red", "green", "blue")
SETS = PredictionSets(tuple(np.linspace(0.3, 0.99, 39)))


def colour(*rgb: int) -> np.ndarray:
    return np.full((8, 8, 3), rgb, np.uint8)


@pytest.fixture(scope="module")
def model() -> FineTunedModel:
    card = ModelCard("multiclass", NAMES, (8, 8), "squash", sets=SETS)
    return FineTunedModel(build_colour_model(), card)


def test_without_being_asked_nothing_changes(model):
    predictions = model.predict([colour(255, 0, 0)])
    assert predictions.doubts == ()
    (one,) = predictions
    assert one.doubt is None and one.said == "red"


def test_a_clear_image_has_one_class_and_a_mixed_one_several(model):
    clear, mixed, grey = model.predict(
        [colour(255, 0, 0), colour(255, 255, 0), colour(99, 99, 99)], doubt=0.95
    )
    assert clear.said == "red (0.58)" and clear.doubt.classes == ("red",)
    assert {*mixed.doubt.classes} == {"red", "green"} and mixed.said.startswith("not sure: ")
    assert len(grey.doubt.classes) == 3
    assert clear.doubt.novel is None and clear.doubt.distance is None


def test_a_smaller_coverage_names_fewer_classes(model):
    sizes = [
        len(next(iter(model.predict([colour(255, 200, 0)], doubt=coverage))).doubt.classes)
        for coverage in (0.95, 0.5)
    ]
    assert sizes == [2, 1]


def test_pieces_and_all_at_once_say_the_same(model):
    images = [colour(200, n, 100) for n in range(150)]
    pieces = [one for some in model.predict_pieces(images, doubt=0.9) for one in some]
    assert [one.doubt for one in pieces] == [*model.predict(images, doubt=0.9).doubts]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"doubt": 0.95, "flip": True}, "Expected doubt or flip, received both"),
        ({"doubt": 0.99}, r"at most 0\.975, received 0\.99"),
        ({"doubt": 95}, "Expected coverage above 0 and below 1, received 95"),
    ],
)
def test_what_cannot_be_promised_is_refused(model, options, text):
    with pytest.raises(ArgumentError, match=text):
        model.predict([colour(1, 2, 3)], **options)


def test_a_model_without_images_set_aside_says_how_to_make_one(model):
    plain = FineTunedModel(model.keras_model, replace(model.card, sets=None))
    with pytest.raises(ArgumentError, match=r"Train with calibration=0\.5 \(--calibration 0\.5\)"):
        plain.predict([colour(1, 2, 3)], doubt=0.95)


@pytest.mark.parametrize(
    ("doubt", "label", "said"),
    [
        (Doubt(("red",), False, 0.1), "red", "red (0.70)"),
        (Doubt(("red",), True, 0.9), "red", "like nothing in training"),
        (Doubt(("red", "blue"), None, None), "red", "not sure: red or blue"),
        (Doubt(("red",), False, 0.1), None, "not sure: red"),  # below the threshold
        (Doubt(None, False, 0.1), None, "not sure: red"),
        (Doubt(tuple("abcdefg"), False, 0.1), "a", "not sure: a, b, c, d or 3 more"),
    ],
)
def test_in_words(doubt, label, said):
    assert doubt.said(label, {"red": 0.7, "blue": 0.3}) == said


def test_values_are_told_as_they_are():
    assert Doubt(None, False, 0.2).said(3.5, {}) == "3.5"


def untrained() -> FineTunedModel:
    """As training assembles a model, with a new head."""
    model = assemble(load_backbone(build_backbone(), preprocess="tf"), Head("multiclass", 3)).model
    return FineTunedModel(model, ModelCard("multiclass", NAMES, (16, 16), "pad"))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (600, 16, 16, 3), np.uint8)
    return load_data(
        (pixels, rng.integers(0, 3, 600)),
        image_size=16,
        test=0.25,
        calibration=0.9,
        class_names=NAMES,
    )


@pytest.fixture(scope="module")
def learned(images):
    return learn_doubt(untrained(), images)


def test_what_was_set_aside_and_nothing_else_is_learned_from(images, learned):
    aside = images.splits["calibration"]
    assert len(learned.card.sets.probabilities) == len(learned.novelty.distances) == len(aside)
    said = learned.predict(aside.images)
    expected = np.sort(said.probabilities[np.arange(len(aside)), aside.labels])
    assert learned.card.sets.probabilities == pytest.approx(expected.tolist(), abs=1e-6)
    assert len(learned.novelty.vectors) == len(images.splits["train"])


def test_a_saved_model_says_the_same_and_plain_keras_reads_it(learned, images, tmp_path):
    path = learned.save(tmp_path / "model.keras")
    pixels = images.splits["test"].images[:20]
    before, after = (one.predict(pixels, doubt=0.9).doubts for one in (learned, load(path)))
    assert before == after and any(doubt.novel is not None for doubt in after)
    plain = keras.models.load_model(path)
    assert plain.predict(pixels.astype("float32"), verbose=0).shape == (20, 3)


def test_what_is_known_of_other_features_than_the_models_is_refused(learned, tmp_path):
    vectors = learned.novelty.vectors[:, :-1]
    wrong = replace(learned, novelty=replace(learned.novelty, vectors=vectors))
    wrong.save(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match=r"novelty is of \d+ features, but the model pools"):
        load(tmp_path / "model.keras")


def test_at_another_temperature_there_are_no_sets_but_novelty(learned):
    other = learned.at_temperature(2.0)
    assert other.card.sets is None and other.novelty is learned.novelty
    (said,) = other.predict(np.zeros((1, 16, 16, 3)), doubt=0.95)
    assert said.doubt.classes is None and said.doubt.novel is not None


def test_it_is_measured_on_test_images(learned, images):
    test = images.splits["test"]
    answers = (test.labels, learned.predict(test.images).probabilities)
    found = measure_doubt(learned, images, answers)
    doubts = learned.predict(test.images, doubt=0.95).doubts
    held = [
        images.class_names[label] in doubt.classes
        for label, doubt in zip(test.labels, doubts, strict=True)
    ]
    assert found.covered == pytest.approx(np.mean(held))
    assert found.size == pytest.approx(np.mean([len(doubt.classes) for doubt in doubts]))
    assert found.novel == pytest.approx(np.mean([doubt.novel for doubt in doubts]))
    assert f"n={len(test)}" in str(found)
    assert measure_doubt(untrained(), images, answers) is None
