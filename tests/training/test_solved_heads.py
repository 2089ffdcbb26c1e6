"""A head that is solved takes the place of one that is trained, wherever it can."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from finetune import FineTuner
from finetune.exceptions import ArgumentError
from finetune.support import values_of
from finetune.training import HEAD
from finetune.training.solving import solve


def trainer_of(backbone, **settings):
    options = {"preprocess": "tf", "freeze_depth": 7, "learning_rate": 1e-3, "epochs": 1}
    return FineTuner(backbone, **options | settings).trainer


def head_of(trainer, data, **changes):
    """The head alone: its weights, and what is recorded of it."""
    values = replace(trainer.settings(), epochs=0, **changes)
    source = trainer.source_of(data, values)
    model, record = trainer.train(values, source)
    shared, training = trainer.prepare(values, source)
    return values_of(shared.assembly(training.head).classifier.trainable_variables), record, model


def pooled(trainer, data):
    values = trainer.settings()
    source = trainer.source_of(data, values)
    shared = trainer.shared(values)
    return [shared.pooled(source, split) for split in ("train", "validation")]


def test_the_head_is_logistic_regression_on_the_pooled_features(make_backbone, data):
    trainer = trainer_of(make_backbone())
    (kernel, bias), record, model = head_of(trainer, data)
    train, validation = pooled(trainer, data)
    expected = solve(train.inputs[0], train.labels, "multiclass")
    np.testing.assert_array_equal(kernel, expected.kernel)
    np.testing.assert_array_equal(bias, expected.bias)
    # An own fit of the library, with the same penalty on the same standardized features.
    middle, spread = train.inputs[0].mean(0), train.inputs[0].std(0)
    alone = LogisticRegression(C=1 / (expected.penalty * len(train.labels)), max_iter=1000)
    alone.fit((train.inputs[0] - middle) / spread, train.labels)
    said = alone.predict_proba((validation.inputs[0] - middle) / spread)
    pixels = data.splits["validation"].images.astype("float32")
    np.testing.assert_allclose(model.predict(pixels, verbose=0), said, atol=5e-3)
    (row,) = record.epochs
    assert (row["phase"], row["epoch"], row["learning_rate"]) == (HEAD, 1, 0.0)
    assert record.rates == {HEAD: []}
    right = said.argmax(1) == validation.labels
    assert row["val_accuracy"] == pytest.approx(right.mean())
    likely = said[np.arange(len(right)), validation.labels]
    assert row["val_loss"] == pytest.approx(-np.log(likely).mean(), rel=1e-2)


def test_the_head_is_the_same_with_and_without_reuse_augmented_or_not(
    make_backbone, data, augmented
):
    for images in (data, augmented):
        found = [
            head_of(trainer_of(make_backbone(), reuse=reuse, views=2), images)[0]
            for reuse in (True, False)
        ]
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_trials_with_another_dropout_or_seed_begin_with_the_same_head(make_backbone, data):
    trainer = trainer_of(make_backbone())
    found = [head_of(trainer, data, **c)[0] for c in ({}, {"dropout": 0.5}, {"seed": 7})]
    assert len(trainer.shared(trainer.settings()).heads) == 1
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "settings", [{"hidden_units": 4}, {"head_optimizer": "adam"}], ids=["hidden", "adam"]
)
def test_heads_that_are_not_linear_or_not_to_be_solved_are_trained(make_backbone, data, settings):
    record = head_of(trainer_of(make_backbone(), head_epochs=3, **settings), data)[1]
    assert [row["learning_rate"] for row in record.epochs] == [pytest.approx(1e-3)] * 3


def test_a_dataset_that_may_be_another_in_each_pass_is_trained_on(make_backbone, data):
    trainer = trainer_of(make_backbone(), head_epochs=2, num_classes=3)
    values = replace(trainer.settings(), epochs=0)
    train, validation = data.dataset("train"), data.dataset("validation")
    source = trainer.source(train, None, validation, 16, values)
    assert len(trainer.train(values, source)[1].epochs) == 2
    with pytest.raises(ArgumentError, match=r"needs features from one pass.*Pass reuse=True"):
        trainer.train(replace(values, head_optimizer="lbfgs"), source)


def test_a_class_without_training_images_is_left_to_training(make_backbone, data):
    trainer = trainer_of(make_backbone(), head_epochs=2, num_classes=4, reuse=True)
    values = replace(trainer.settings(), epochs=0)
    train, validation = data.dataset("train"), data.dataset("validation")  # three classes
    source = trainer.source(train, None, validation, 16, values)
    assert len(trainer.train(values, source)[1].epochs) == 2


def test_what_cannot_be_solved_is_refused(make_backbone):
    with pytest.raises(ArgumentError, match=r"Expected hidden_units=0 with head_optimizer='lbfgs'"):
        trainer_of(make_backbone(), head_optimizer="lbfgs", hidden_units=3)
    with pytest.raises(ArgumentError, match=r"Expected head_optimizer to be 'auto', 'lbfgs' or"):
        trainer_of(make_backbone(), head_optimizer="lbgfs")


def test_features_too_large_for_the_memory_are_trained_on(make_backbone, data, monkeypatch):
    from finetune.training import solved_heads

    monkeypatch.setattr(solved_heads, "free_memory", lambda: 1000)
    assert len(head_of(trainer_of(make_backbone(), head_epochs=2), data)[1].epochs) == 2


def test_keras_reads_the_solved_head(make_backbone, data, tmp_path):
    model = head_of(trainer_of(make_backbone()), data)[2]
    model.save(tmp_path / "model.keras")
    pixels = data.splits["test"].images.astype("float32")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras").predict(pixels, verbose=0),
        model.predict(pixels, verbose=0),
    )
