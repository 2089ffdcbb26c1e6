"""Heads: what is built for each task, their losses and metrics."""

import keras
import numpy as np
import pytest

from finetune.exceptions import ArgumentError
from finetune.training.head import (
    Head,
    SmoothedSparseCrossentropy,
    build_classifier,
    check_select,
    loss_for,
    metrics_for,
    pooling_layer,
)


@pytest.mark.parametrize(
    ("task", "outputs", "units", "activation"),
    [
        ("binary", 2, 1, "sigmoid"),
        ("multiclass", 3, 3, "softmax"),
        ("multilabel", 4, 4, "sigmoid"),
        ("regression", 2, 2, "linear"),
    ],
)
def test_outputs_fit_the_task(task, outputs, units, activation):
    head = build_classifier(8, Head(task, outputs))
    assert head.output_shape == (None, units)
    assert head.layers[-1].activation.__name__ == activation


def test_default_head_is_dropout_and_outputs():
    head = build_classifier(8, Head("multiclass", 3))
    assert [layer.name for layer in head.layers[1:]] == ["dropout", "predictions"]
    assert head.get_layer("dropout").rate == 0.2


def test_hidden_layer_has_a_dropout_of_its_own():
    head = build_classifier(8, Head("multiclass", 3, hidden_units=5, dropout=0.4))
    names = [layer.name for layer in head.layers[1:]]
    assert names == ["hidden_dropout", "hidden", "dropout", "predictions"]
    assert head.get_layer("hidden").kernel.shape == (8, 5)


def test_the_seed_decides_the_weights():
    first, again, other = (
        build_classifier(8, Head("multiclass", 3, seed=seed)).get_weights()[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"task": "ranking"}, "Expected task to be one of .* received 'ranking'"),
        ({"dropout": 1.0}, "Expected dropout of 0 or more and below 1, received 1.0"),
        ({"dropout": -0.1}, "received -0.1"),
        (
            {"hidden_units": -1},
            "hidden_units as a whole number of 0 or more.* received -1",
        ),
    ],
)
def test_bad_heads_are_refused(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        Head(**{"task": "multiclass", "outputs": 3, **arguments})


@pytest.mark.parametrize(
    ("rank", "kind"),
    [(4, "GlobalAveragePooling2D"), (3, "GlobalAveragePooling1D"), (2, "Identity")],
)
def test_pooling_fits_the_backbones_output(rank, kind):
    assert type(pooling_layer(rank)).__name__ == kind


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothed_sparse_loss_equals_keras_loss_on_one_hot_labels(smoothing):
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 20)
    predictions = random.dirichlet(np.ones(4), 20).astype("float32")
    ours = SmoothedSparseCrossentropy(smoothing)(labels, predictions)
    keras_loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    expected = keras_loss(keras.utils.to_categorical(labels, 4), predictions)
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)


def test_losses_by_task():
    assert isinstance(loss_for("multiclass"), keras.losses.SparseCategoricalCrossentropy)
    assert isinstance(loss_for("multiclass", 0.1), SmoothedSparseCrossentropy)
    assert loss_for("binary", 0.1).label_smoothing == 0.1
    assert isinstance(loss_for("multilabel"), keras.losses.BinaryCrossentropy)
    assert isinstance(loss_for("regression"), keras.losses.MeanSquaredError)


@pytest.mark.parametrize(
    ("task", "smoothing", "text"),
    [
        ("multiclass", 1.0, "label_smoothing of 0 or more and below 1, received 1.0"),
        ("regression", 0.1, "label_smoothing has no meaning for task='regression'"),
    ],
)
def test_label_smoothing_that_makes_no_sense_is_refused(task, smoothing, text):
    with pytest.raises(ArgumentError, match=text):
        loss_for(task, smoothing)


def test_values_are_measured_by_their_mean_absolute_error():
    assert [metric.name for metric in metrics_for("regression")] == ["mae"]


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_an_accuracy_that_says_nothing_cannot_decide(task):
    check_select("val_loss", task)
    check_select("val_accuracy", "binary")
    with pytest.raises(
        ArgumentError, match=f"select='val_accuracy' has no meaning for task='{task}'"
    ):
        check_select("val_accuracy", task)
    with pytest.raises(ArgumentError, match=r"select to be one of \('val_calibrated_loss', 'val_l"):
        check_select("val_auc", task)
