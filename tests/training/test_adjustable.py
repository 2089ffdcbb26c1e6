"""Dropout, label smoothing and weight decay as variables of a step that is compiled once."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from finetune import FineTuner
from finetune.training.adjustable import Adjustable, Amounts
from finetune.training.head import Head, build_classifier, loss_for
from finetune.training.optimizers import OptimizerSettings, build_optimizer

SOME = {"dropout": 0.3, "label_smoothing": 0.2, "weight_decay": 0.05}
OTHER = {"dropout": 0.5, "label_smoothing": 0.1, "weight_decay": 0.5}
DRAWS = np.random.default_rng(0)


def adjusted(**amounts):
    adjustable = Adjustable(Amounts(**{**SOME, **amounts}))
    adjustable.set(Amounts(**OTHER))  # of a training before
    adjustable.set(Amounts(**{**SOME, **amounts}))
    return adjustable


def test_dropout_drops_and_scales_the_very_values_that_keras_does():
    features = DRAWS.standard_normal((32, 8)).astype("float32")
    outputs = []
    for wrap in (lambda model: model, adjusted(dropout=0.4).classifier):
        # Both draw from the same seed, one after the other.
        model = build_classifier(8, Head("multiclass", 3, hidden_units=5, dropout=0.4, seed=7))
        step = wrap(model)
        outputs.append([np.array(step(features, training=flag)) for flag in (True, True, False)])
        assert [variable.name for variable in step.variables] == [v.name for v in model.variables]
    np.testing.assert_array_equal(*outputs)
    assert not np.array_equal(outputs[0][0], outputs[0][1])


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_the_loss_is_that_of_keras(task):
    predictions = DRAWS.uniform(0.05, 0.95, (6, 1 if task == "binary" else 3)).astype("float32")
    targets = {
        "multiclass": np.array([0, 1, 2, 0, 1, 2]),
        "binary": np.array([[0], [1], [1], [0], [1], [0]]),
        "multilabel": DRAWS.integers(0, 2, (6, 3)),
    }[task]
    weights = np.arange(1.0, 7.0)
    expected = loss_for(task, 0.2)(targets, predictions, sample_weight=weights)
    found = adjusted().loss(task)(targets, predictions, sample_weight=weights)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


# Has a decay of its own; that of Keras 3.12 cannot be applied on TensorFlow at all.
MUON = pytest.param(
    "muon",
    marks=pytest.mark.skipif(
        keras.version().startswith("3.12."), reason="Muon of Keras 3.12 fails on TensorFlow"
    ),
)


@pytest.mark.parametrize("name", ["adamw", "sgd", MUON])
def test_weights_decay_as_with_keras_and_the_number_is_told(name):
    settings = OptimizerSettings(name, weight_decay=0.05)
    values = []
    for derive in (lambda cls: cls, adjusted().optimizer):
        kernel = keras.Variable(np.arange(12, dtype="float32").reshape(3, 4), name="kernel")
        optimizer = build_optimizer(settings, 0.1, derive=derive)
        for _ in range(3):
            optimizer.apply([keras.ops.ones((3, 4))], [kernel])
        values.append(np.array(kernel))
        assert optimizer.get_config()["weight_decay"] == 0.05
        assert all("variable" not in variable.name for variable in optimizer.variables)
    np.testing.assert_allclose(*values, rtol=1e-6)
    assert not np.allclose(values[0], np.arange(12.0).reshape(3, 4))


def tuner_of(backbone):
    return FineTuner(
        backbone,
        preprocess="tf",
        freeze_depth=7,
        epochs=2,
        head_epochs=1,
        head_optimizer="adamw",
        optimizer="adamw",
        dropout=(0.1, 0.6),
        label_smoothing=(0.05, 0.3),
        weight_decay=(1e-4, 1.0),
        learning_rate=0.01,
    )


def history(tuner, data, **amounts):
    trainer = tuner.trainer
    values = replace(trainer.settings(), **amounts)
    model, record = trainer.train(values, trainer.source_of(data, values))
    rates = [la.rate for la in model.get_layer("head").layers if hasattr(la, "rate")]
    assert rates == [amounts["dropout"]]  # what a saved model tells of itself
    return [(row["loss"], row["val_loss"]) for row in record.epochs]


def test_trials_that_differ_in_amounts_share_a_step_and_train_as_if_they_were_alone(
    make_backbone, data
):
    tuner = tuner_of(make_backbone())
    first, second = history(tuner, data, **SOME), history(tuner, data, **OTHER)
    shared = tuner.trainer.shared(tuner.trainer.settings())
    assert len(shared.programs) == 2  # one of each phase
    assert history(tuner, data, **SOME) == first
    assert history(tuner_of(make_backbone()), data, **OTHER) == second
    assert first != second


def test_a_trial_without_dropout_smoothing_or_decay_has_a_step_without_them(make_backbone, data):
    tuner = tuner_of(make_backbone())
    values = {**SOME, "dropout": 0.0, "label_smoothing": 0.0, "weight_decay": None}
    settings = replace(tuner.trainer.settings(), **values)
    model, _ = tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
    assert not any(isinstance(la, keras.layers.Dropout) for la in model.get_layer("head").layers)
    assert model.optimizer.weight_decay == 0.004  # AdamW's own
