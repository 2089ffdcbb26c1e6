"""Freeze depths worth training, and linear probes of the features at each depth."""

import keras
import numpy as np
import pytest

from finetune.api.fine_tuner import FineTuner
from finetune.api.probes import (
    ProbedDepths,
    _crossings,
    _guess_task,
    _score,
    narrow,
    narrow_depths,
    probe_depths,
)
from finetune.backbones.freezing import describe
from finetune.data import load_data
from finetune.exceptions import ArgumentError, FreezeDepthError
from finetune.reuse.sources import StoredSource


@pytest.fixture(scope="module")
def make_tuner(make_backbone):
    def make(model=None, **arguments):
        defaults = {"preprocess": "tf", "freeze_depth": [0, 4, 10, 16]}
        return FineTuner(model or make_backbone(), **{**defaults, **arguments})

    return make


@pytest.fixture(scope="module")
def tuner(make_tuner):
    return make_tuner()


def parts(tuner, data):
    settings = tuner.trainer.settings()
    source = tuner.trainer.source_of(data, settings)
    return tuner.trainer.shared(settings), source


def separable(seed, shift, n=60, width=5):
    """Features in which one direction tells two classes apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = random.normal(size=(n, width))
    features[:, 0] += shift * labels
    return features, labels


def test_narrowing_keeps_depths_of_the_tuner_and_probes_all_of_them(tuner, data):
    shared, _ = parts(tuner, data)
    found = narrow_depths(tuner, data, keep=2)
    assert found.depths == (0, 4)
    assert [probe.depth for probe in found.probes] == [0, 4, 10, 16]
    assert found.probes[0].block == "pixels"
    assert found.probes[-1].block == describe(shared.backbone.model, 16).block
    assert all(0 <= probe.score <= 1 for probe in found.probes)


def test_probes_find_the_class_that_lies_in_the_mean_colour(tuner, data):
    """The fixture's classes differ in the mean of one channel: the pixels' means tell them."""
    found = narrow_depths(tuner, data)
    assert found.probes[0].score == 1.0
    assert found.probes[1].score > 0.8


def test_narrowing_what_is_at_hand_gives_the_same(tuner, data):
    shared, source = parts(tuner, data)
    assert narrow(shared, source, [0, 4, 10, 16], 3) == narrow_depths(tuner, data)


def test_depths_may_be_named(tuner, data):
    shared, source = parts(tuner, data)
    probes = probe_depths(shared, source, ["add", 0.25])
    assert [probe.depth for probe in probes] == [4, 10]


def test_probes_are_of_the_pretrained_weights_and_leave_those_of_training(make_tuner, data):
    tuner = make_tuner()
    shared, source = parts(tuner, data)
    expected = probe_depths(shared, source, [10, 16])
    trained = make_tuner()
    shared, source = parts(trained, data)
    for variable in shared.backbone.model.variables:
        variable.assign(keras.ops.zeros_like(variable))
    shared.cache.kept.clear()
    shared.cache._store.folder = shared.cache._store.folder / "other"
    assert probe_depths(shared, source, [10, 16]) == expected
    assert not any(np.any(variable) for variable in shared.backbone.model.variables)


def test_training_goes_on_after_probes_as_without_them(make_tuner, data):
    def losses(tuner, probed):
        settings = tuner.trainer.settings()
        source = tuner.trainer.source_of(data, settings)
        if probed:
            narrow_depths(tuner, data)
        return [row["loss"] for row in tuner.trainer.train(settings, source)[1].epochs]

    options = {"freeze_depth": 10, "head_epochs": 1, "epochs": 1}
    assert losses(make_tuner(**options), True) == losses(make_tuner(**options), False)


@pytest.fixture
def passes(monkeypatch):
    """The splits that were gone through, in order."""
    seen: list[str] = []
    through = StoredSource.passes
    monkeypatch.setattr(
        StoredSource, "passes", lambda self, split: seen.append(split) or through(self, split)
    )
    return seen


def test_the_images_are_gone_through_once(make_tuner, data, tmp_path, passes):
    tuner = make_tuner(cache_dir=tmp_path)
    shared, source = parts(tuner, data)
    probe_depths(shared, source, [0, 4, 10, 16])
    probe_depths(shared, source, [4, 16])
    assert passes == ["train", "validation"]


def test_what_training_kept_is_read_by_probes_and_the_other_way_round(
    make_tuner, data, tmp_path, passes
):
    for order in (("train", "probe"), ("probe", "train")):
        folder = tmp_path / order[0]
        tuner = make_tuner(cache_dir=folder, freeze_depth=16, head_epochs=1, epochs=0)
        shared, source = parts(tuner, data)
        for use in order:
            if use == "train":
                tuner.trainer.train(tuner.trainer.settings(), source)
            else:
                probe_depths(shared, source, [shared.head_only])
        assert passes == ["train", "validation"]
        passes.clear()


def test_another_tuner_finds_what_probes_kept(make_tuner, data, tmp_path, passes):
    for _ in range(2):
        shared, source = parts(make_tuner(cache_dir=tmp_path), data)
        probe_depths(shared, source, [4, 10])
    assert passes == ["train", "validation"]


def test_of_augmented_images_the_first_view_is_probed(make_tuner, augmented):
    tuner = make_tuner(views=2)
    shared, source = parts(tuner, augmented)
    (probe,) = probe_depths(shared, source, [4])
    assert 0 <= probe.score <= 1


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_is_probed(make_tuner, arrays, task):
    images, labels = arrays
    targets = {
        "binary": labels % 2,
        "multilabel": np.eye(3)[labels],
        "regression": labels.astype("float32"),
    }[task]
    data = load_data((images, targets), image_size=16, task=task)
    found = narrow_depths(make_tuner(), data, keep=1)
    assert found.depths == (0,)
    assert found.probes[0].score > 0.6


def test_scores_are_what_a_linear_fit_reaches():
    assert _score(separable(0, 20), separable(1, 20), "binary") == 1.0
    assert abs(_score(separable(0, 0), separable(1, 0), "multiclass") - 0.5) < 0.2
    features, _ = separable(0, 0)
    straight = features, features[:, 1]
    assert _score(straight, straight, "regression") > 0.99


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (np.array([0, 1, 2]), "multiclass"),
        (np.array([0.5, 1.0]), "regression"),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), "multilabel"),
        (np.array([[0.5], [1.0]]), "regression"),
    ],
)
def test_the_task_is_told_from_the_labels(labels, task):
    assert _guess_task(labels) == task


def test_an_unknown_task_and_a_depth_outside_are_refused(tuner, data):
    shared, source = parts(tuner, data)
    with pytest.raises(ArgumentError, match="Expected task to be one of"):
        probe_depths(shared, source, [4], task="ranking")
    with pytest.raises(FreezeDepthError, match="outside the model"):
        probe_depths(shared, source, [99])


def test_all_that_crosses_a_depth_is_seen():
    """Within a residual block two tensors cross: the block's input and what was made of it."""
    inputs = keras.Input((8,))
    first = keras.layers.Dense(4, name="first")(inputs)
    second = keras.layers.Dense(4, name="second")(first)
    model = keras.Model(inputs, keras.layers.Add(name="add")([first, second]))
    crossing = _crossings(model, [id(layer) for layer in model.layers], [0, 1, 2, 3, 4])
    made_by = [[tensor._keras_history.operation.name for tensor in place] for place in crossing]
    name = model.layers[0].name
    assert made_by == [[name], [name], ["first"], ["first", "second"], ["add"]]


def test_a_backbone_that_cannot_be_looked_into_is_narrowed_without_probes(
    twice_named, data, tmp_path, caplog
):
    shared, source = parts(FineTuner(twice_named, preprocess="tf", cache_dir=tmp_path), data)
    with caplog.at_level("INFO", logger="finetune"):
        found = narrow(shared, source, [0, 1, 3], keep=1)
    assert found == ProbedDepths((0,), ())
    assert "No probes of the layers: more than one layer is named 'conv'." in caplog.text


def test_the_table_marks_what_is_trained(tuner, data):
    lines = str(narrow_depths(tuner, data, keep=1)).splitlines()
    assert lines[0] == "  depth  probe  (* is trained: [0])"
    assert lines[1] == "*     0  1.000  pixels"
    assert lines[2].startswith("      4  ")
