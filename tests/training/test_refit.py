"""Refit: training once more on training and validation images together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import FineTuner, load_data
from finetune.exceptions import TrainingError
from finetune.reuse import JoinedRows
from finetune.support import values_of
from finetune.training import FINE_TUNE, HEAD, TrainingRecord, refit, refitting


@given(
    images=st.integers(0, 4), validation=st.integers(0, 4), views=st.integers(1, 3), data=st.data()
)
def test_joined_rows_are_those_of_an_array_of_both(images, validation, views, data):
    train = np.arange(views * images * 2, dtype="float32").reshape(-1, 2)
    other = -1 - np.arange(validation * 2, dtype="float32").reshape(-1, 2)
    joined = JoinedRows(train, other, views)
    parts = [train[view * images : (view + 1) * images] for view in range(views)]
    expected = np.concatenate([part for view in parts for part in (view, other)])
    assert (joined.shape, len(joined)) == (expected.shape, len(expected))
    rows = np.array(data.draw(st.lists(st.integers(0, max(len(joined) - 1, 0)))), int)
    rows = rows if len(joined) else rows[:0]
    np.testing.assert_array_equal(joined[rows], expected[rows])


def trainer_of(backbone, **settings):
    return FineTuner(
        backbone,
        **{
            "preprocess": "tf",
            "freeze_depth": 7,
            "learning_rate": 0.01,
            "epochs": 4,
            "head_epochs": 4,
            "head_optimizer": "adam",
            "dropout": 0.0,
        }
        | settings,
    ).trainer


def record_of(*phases, best):
    rows = [
        {"phase": phase, "epoch": epoch, "val_loss": loss, "val_accuracy": 1 - loss}
        for phase, losses in phases
        for epoch, loss in enumerate(losses, start=1)
    ]
    return TrainingRecord(epochs=[{**row, "learning_rate": 0.01} for row in rows], best=best)


def refitted(trainer, data, record, seeds=1, seed=0):
    values = replace(trainer.settings(), seed=seed)
    source = trainer.source_of(data, values)
    shared, training = trainer.prepare(values, source)
    shared.reset(training.head)
    made = refit(shared, training, source, record, seeds)
    return made.images, shared.assembly(training.head).model


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-3),
        ({"ema": 0.9}, 1e-3),
        ({"schedule": "plateau"}, 1e-3),
        ({"head_optimizer": "lbfgs"}, 1e-3),
    ],
    ids=["plain", "ema", "plateau", "solved"],
)
def test_it_trains_the_same_from_features_and_from_images(make_backbone, data, settings, tolerance):
    record = record_of((HEAD, [0.9, 0.8, 0.85]), (FINE_TUNE, [0.7, 0.6, 0.65]), best=4)
    outputs = []
    for reuse in (True, False):
        images, model = refitted(trainer_of(make_backbone(), reuse=reuse, **settings), data, record)
        assert images == sum(len(data.splits[name]) for name in ("train", "validation"))
        outputs.append(np.asarray(model(data.splits["test"].images.astype("float32"))))
    np.testing.assert_allclose(*outputs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"schedule": "cosine"}, 4),
        ({"schedule": "piecewise"}, 4),
        ({"schedule": "cosine", "patience": 1}, 2),
        ({"schedule": "constant"}, 2),
        ({"schedule": "plateau"}, 2),
    ],
)
def test_each_phase_takes_as_many_epochs_as_were_best_or_until_its_rate_is_nothing(
    backbone, data, monkeypatch, settings, epochs
):
    seen = []
    fit = "finetune.training.program.Program.fit"

    def noted(self, batches, validation, callbacks, *, epochs, **options):
        labels = np.concatenate([labels for _, labels in batches.epoch(0)])
        seen.append((self.point == "pooled", epochs, np.bincount(labels).tolist(), validation))

    monkeypatch.setattr(fit, noted)
    record = record_of((HEAD, [0.9, 0.8, 0.85]), (FINE_TUNE, [0.7, 0.6, 0.65]), best=4)
    trainer = trainer_of(backbone, **settings)
    refitted(trainer, data, record)
    labels = np.concatenate([data.splits[name].labels for name in ("train", "validation")])
    each = np.bincount(labels).tolist()  # of every image
    assert seen == [(True, 2, each, None), (False, epochs, each, None)]
    seen.clear()
    refitted(trainer, data, replace(record, best=1))  # the head was best
    assert seen == [(True, 2, each, None)]


def weights_of(*arguments):
    return values_of(refitted(*arguments)[1].variables)


def test_several_times_give_the_mean_of_trainings_in_other_orders(make_backbone, data):
    record = record_of((HEAD, [0.9]), (FINE_TUNE, [0.7, 0.6]), best=2)
    # The head is solved: all begin with the same, whatever the seed of the order.
    trainer = trainer_of(make_backbone(), head_optimizer="lbfgs", learning_rate=1e-3)
    alone = [weights_of(trainer, data, record, 1, seed) for seed in (0, 1, 2)]
    together = weights_of(trainer, data, record, 3)
    for value, *each in zip(together, *alone, strict=True):
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
    assert any(not np.array_equal(one, other) for one, other in zip(*alone[:2], strict=True))


@pytest.mark.parametrize(("losses", "seed"), [((0.5, 0.9), 0), ((0.9, 0.5), 1)])
def test_of_trainings_whose_mean_is_worse_the_one_with_the_lowest_loss_is_taken(
    make_backbone, data, monkeypatch, losses, seed
):
    record = record_of((HEAD, [0.9]), (FINE_TUNE, [0.7]), best=1)
    trainer = trainer_of(make_backbone(), head_optimizer="lbfgs", learning_rate=1e-3)
    alone = weights_of(trainer, data, record, 1, seed)
    # As if the trainings had gone to different valleys, one of them deeper.
    measured = iter([*losses, 5.0])
    monkeypatch.setattr(refitting, "_loss", lambda *arguments: next(measured))
    values = trainer.settings()
    source = trainer.source_of(data, values)
    shared, training = trainer.prepare(values, source)
    shared.reset(training.head)
    made = refit(shared, training, source, record, 2)
    together = values_of(shared.assembly(training.head).model.variables)
    for value, same in zip(together, alone, strict=True):
        np.testing.assert_array_equal(value, same)
    assert made.remark == (
        "Of 2 trainings on all images the one with the lowest training loss, 0.500, is taken: "
        "averaged, their weights have 5.000, above the mean of theirs, 0.700."
    )


def test_a_loss_that_is_not_finite_is_an_error(backbone, data):
    record = record_of((HEAD, [0.9]), (FINE_TUNE, [0.7]), best=1)
    with pytest.raises(TrainingError, match="Expected a finite loss on all images"):
        refitted(
            trainer_of(backbone, learning_rate=1e6, optimizer="sgd", clip_norm=None), data, record
        )


def checked(trainer, data, record):
    values = trainer.settings()
    return trainer.refit(values, trainer.source_of(data, values), record).images


def test_a_refit_that_knows_the_validation_images_less_well_than_before_is_an_error(backbone, data):
    trainer = trainer_of(backbone, learning_rate=1.0, head_optimizer="lbfgs")
    record = record_of((HEAD, [0.4]), (FINE_TUNE, [0.3]), best=1)
    with pytest.raises(TrainingError) as error:
        checked(trainer, data, record)
    assert "which was not (loss 0.300, accuracy 0.700), received loss" in str(error.value)
    assert "it has not come to fit. Lower learning_rate, or raise epochs." in str(error.value)


def test_a_refit_whose_loss_alone_is_higher_is_taken(backbone, data):
    # As where probabilities are smoothed: both know every image, one is less sure of them.
    trainer = trainer_of(backbone, head_optimizer="lbfgs", learning_rate=1e-3)
    record = record_of((HEAD, [0.4]), (FINE_TUNE, [0.0]), best=1)
    record.epochs[1]["val_accuracy"] = 0.0
    images = sum(len(data.splits[name]) for name in ("train", "validation"))
    assert checked(trainer, data, record) == images


@pytest.mark.parametrize(("before", "taken"), [(0.0, False), (5.0, True)])
def test_of_values_the_loss_alone_decides(backbone, arrays, before, taken):
    pixels, labels = arrays
    values = labels.astype("float32")
    data = load_data((pixels, values), image_size=16, batch_size=16, task="regression")
    trainer = trainer_of(backbone, head_optimizer="lbfgs", learning_rate=1e-3)
    record = TrainingRecord(
        epochs=[
            {"phase": HEAD, "epoch": 1, "val_loss": 9.0, "learning_rate": 0.0},
            {"phase": FINE_TUNE, "epoch": 1, "val_loss": before, "learning_rate": 1e-3},
        ],
        best=1,
    )
    if taken:
        assert checked(trainer, data, record) == len(pixels)
    else:
        with pytest.raises(TrainingError, match=r"was not \(loss 0.000\), received loss"):
            checked(trainer, data, record)
