"""K-fold cross-validation: every image is asked about once, by a model that never saw it."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import FineTuner, fine_tune, load_data
from finetune.data import assign_folds
from finetune.exceptions import ArgumentError, DataError
from finetune.reuse import FoldSource, StoredSource
from finetune.tuning import cross_validate, k_fold
from tiny import SIZE

OPTIONS = {"preprocess": "tf", "freeze_depth": 7, "epochs": 2, "learning_rate": 1e-2}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2)), min_size=8), st.data())
def test_copies_of_an_image_are_in_one_fold_and_every_fold_has_images(images, drawn):
    content, classes = (list(part) for part in zip(*images, strict=True))
    folds = drawn.draw(st.integers(2, 9))
    if len(set(content)) < folds:
        with pytest.raises(DataError, match=f"at least {folds} different images for {folds} folds"):
            assign_folds(content, np.array(classes), folds)
        return
    for labels in (np.array(classes), None):
        fold = assign_folds(content, labels, folds)
        assert set(fold) == set(range(folds))
        assert all(
            len({f for f, c in zip(fold, content, strict=True) if c == one}) == 1
            for one in set(content)
        )


def test_folds_have_equal_shares_of_the_classes():
    content = [str(number) for number in range(60)]
    fold = assign_folds(content, np.repeat([0, 1, 2], [30, 20, 10]), 5)
    for number in range(5):
        assert np.bincount(np.repeat([0, 1, 2], [30, 20, 10])[fold == number]).tolist() == [6, 4, 2]
    other = assign_folds(content, np.repeat([0, 1, 2], [30, 20, 10]), 5, seed=1)
    assert (fold != other).any()


@pytest.fixture(scope="module")
def folded(arrays):
    return load_data(arrays, image_size=SIZE, batch_size=16, validation="4-fold")


@pytest.fixture(scope="module")
def result(make_backbone, folded, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    return fine_tune(folded, backbone=make_backbone(), out=out, verbose=0, **OPTIONS)


def test_a_part_validates_as_without_folds(arrays, folded):
    share = load_data(arrays, image_size=SIZE, validation=0.25)
    assert folded.folds == 4 and share.folds == 0
    assert folded.splits["validation"].ids == share.splits["validation"].ids
    assert folded.with_options(seed=3).folds == folded.at_size(24).folds == 4


def validated(backbone, data, **options):
    """The cross-validation of a training, without a run."""
    tuner = FineTuner(backbone, **OPTIONS | options)
    values = tuner.trainer.settings()
    source = tuner.trainer.source_of(data, values)
    _, record = tuner.trainer.train(values, source)
    return cross_validate(tuner.trainer, values, source, record)


@pytest.mark.thorough
def test_from_features_and_from_images_it_says_the_same(make_backbone, folded, result):
    whole = validated(make_backbone(), folded, reuse=False)
    np.testing.assert_array_equal(whole.fold, result.cross_validation.fold)
    np.testing.assert_allclose(whole.outputs, result.cross_validation.outputs, atol=2e-4)
    np.testing.assert_allclose(whole.head, result.cross_validation.head, atol=2e-4)


def test_nothing_frozen_is_computed_for_it_again(make_backbone, folded, monkeypatch):
    tuner = FineTuner(make_backbone(), cache_budget=10**9, **OPTIONS)
    values = tuner.trainer.settings()
    source = tuner.trainer.source_of(folded, values)
    _, record = tuner.trainer.train(values, source)

    def refuse(self, split):
        raise AssertionError("computed again")

    monkeypatch.setattr(StoredSource, "passes", refuse)
    monkeypatch.setattr(FoldSource, "passes", refuse)
    found = cross_validate(tuner.trainer, values, source, record)
    assert found.outputs.shape == (72, 3)
    np.testing.assert_allclose(found.outputs.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.thorough
def test_the_label_of_an_image_decides_what_is_said_of_others_alone(
    make_backbone, arrays, monkeypatch
):
    images, labels = arrays
    # Folds have equal shares of the classes: another label would make other ones.
    monkeypatch.setattr(k_fold, "assign_folds", lambda content, *_, **__: digits(content) % 4)
    data = load_data((images, labels), image_size=SIZE, batch_size=16, validation="4-fold")
    before = validated(make_backbone(), data)
    data.splits["train"].labels[5] = (data.splits["train"].labels[5] + 1) % 3
    after = validated(make_backbone(), data, seed=0)
    fold = before.fold[5]
    assert before.fold.tolist() == after.fold.tolist()
    np.testing.assert_allclose(
        after.head[after.fold == fold], before.head[before.fold == fold], atol=1e-5
    )
    assert np.abs(after.head[after.fold != fold] - before.head[before.fold != fold]).max() > 1e-3


def digits(content):
    return np.array([int(one, 16) % 1000 for one in content])


def test_the_run_holds_it_and_the_model_is_the_one_that_was_measured(result, folded):
    found = result.cross_validation
    metrics = json.loads((result.folder / "metrics.json").read_text())["cross_validation"]
    assert metrics["folds"] == 4 and metrics["n"] == 72
    right = found.outputs.argmax(axis=1) == found.labels
    assert metrics["accuracy"] == pytest.approx(right.mean())
    assert f"4-fold:     {found.score}, each image by a model that was not trained on it" in (
        result.summary()
    )
    with open(result.folder / "out_of_fold.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == found.ids
    assert {row["fold"] for row in rows} == {"1", "2", "3", "4"}
    assert float(rows[7]["says 2"]) == pytest.approx(float(found.outputs[7, 2]))
    # The model that is handed over has seen all 72: it is not the one of the last fold.
    labels, outputs = result.model.outputs(folded, "validation")
    held = found.outputs[-len(labels) :]
    assert np.abs(outputs - held).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"augment": "light"}, "Expected images that are not augmented for a cross-validation"),
        ({"validation": "1-fold"}, "Expected validation in 2 to 100 folds.*received '1-fold'"),
    ],
)
def test_what_cannot_be_folded_is_refused_before_training(make_backbone, arrays, options, text):
    with pytest.raises(ArgumentError, match=text):
        fine_tune(
            arrays,
            backbone=make_backbone(),
            verbose=0,
            **{"validation": "3-fold", "image_size": SIZE, **OPTIONS, **options},
        )
