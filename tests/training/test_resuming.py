"""Training that is killed or paused anywhere goes on to the very same end."""

from pathlib import Path

import keras
import numpy as np
import pytest

from finetune import FineTuner
from finetune.exceptions import OutOfTimeError
from finetune.support import current_deadline, time_limit
from finetune.training import relays
from finetune.training.progress import PhaseCallback
from finetune.training.records import FINE_TUNE, HEAD
from finetune.training.states import StateFile

HEAD_EPOCHS, EPOCHS = 4, 3


class Killed(BaseException):
    """Stands for a kill: nothing in the package can catch it."""


class Watch(PhaseCallback):
    """Counts the epochs that are really trained, and may kill at the end of one."""

    def __init__(self, phase=None, epoch=0):
        super().__init__()
        self._last = phase, epoch
        self.trained = []

    def start_phase(self, name, epochs, first_epoch):
        self._name, self._first = name, first_epoch

    def on_epoch_end(self, epoch, logs=None):
        self.trained.append((self._name, epoch - self._first + 1))
        if self.trained[-1] == self._last:
            raise Killed


class Late(Watch):
    """Time is up at the end of an epoch, or in the midst of it."""

    def __init__(self, phase, epoch, batch):
        super().__init__()
        self._when = phase, epoch, batch

    def _notice(self, batch):
        if (self._name, self._epoch - self._first + 1, batch) == self._when:
            current_deadline().seconds = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self._notice(batch)

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self._notice(None)


def train(backbone, data, folder: Path, watch, *, reuse):
    """As in a process of its own: nothing but the folder is left of what was before."""
    keras.utils.clear_session()  # layers are numbered from the beginning again
    tuner = FineTuner(
        backbone,
        preprocess="tf",
        freeze_depth=7,
        learning_rate=0.01,
        head_epochs=HEAD_EPOCHS,
        epochs=EPOCHS,
        dropout=0.3,
        hidden_units=4,
        augment="light",
        views=2,
        reuse=reuse,
    )
    tuner.trainer.keep_heads(folder / "heads")
    values = tuner.trainer.settings()
    model, record = tuner.trainer.train(
        values,
        tuner.trainer.source_of(data, values),
        file=StateFile(folder / "state.npz"),
        progress=[watch],
    )
    return model.get_weights(), record


def assert_same(one, other):
    (weights, record), (others, wanted) = one, other
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in record.epochs]
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in wanted.epochs]
    assert record.rates == wanted.rates
    for value, expected in zip(weights, others, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.fixture(scope="module", params=[True, False], ids=["features", "images"])
def unbroken(request, make_backbone, data, tmp_path_factory):
    """Whether frozen work is reused, and a training that was never stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    return request.param, train(make_backbone(), data, folder, Watch(), reuse=request.param)


@pytest.mark.thorough
@pytest.mark.parametrize("phase", [HEAD, FINE_TUNE])
def test_killed_in_either_phase_goes_on_to_the_very_same_end(
    backbone, data, tmp_path, unbroken, phase
):
    reuse, whole = unbroken
    with pytest.raises(Killed):
        train(backbone, data, tmp_path, Watch(phase, 3), reuse=reuse)
    watch = Watch()
    resumed = train(backbone, data, tmp_path, watch, reuse=reuse)
    # The epoch whose end it did not live to see is trained again, and none before it.
    left = [(HEAD, 3), (HEAD, 4), *((FINE_TUNE, epoch) for epoch in (1, 2, 3))]
    assert watch.trained == (left if phase == HEAD else left[-1:])
    assert_same(resumed, whole)


@pytest.mark.thorough
@pytest.mark.parametrize("unbroken", [True], ids=["features"], indirect=True)
def test_killed_before_its_first_state_was_due_it_begins_again_to_the_very_same_end(
    backbone, data, tmp_path, unbroken, monkeypatch
):
    reuse, whole = unbroken
    monkeypatch.setattr(relays, "SECONDS_BETWEEN_STATES", 3600.0)
    with pytest.raises(Killed):
        train(backbone, data, tmp_path, Watch(FINE_TUNE, 3), reuse=reuse)
    watch = Watch()
    assert_same(train(backbone, data, tmp_path, watch, reuse=reuse), whole)
    # The last epoch of the head was kept, as that of every phase.
    assert watch.trained == [(FINE_TUNE, epoch) for epoch in (1, 2, 3)]
    # And so was the last one of all: there is nothing left to train.
    watch = Watch()
    assert_same(train(backbone, data, tmp_path, watch, reuse=reuse), whole)
    assert watch.trained == []


@pytest.mark.thorough
def test_where_time_is_up_in_either_phase_it_waits_there_with_its_best_epoch(
    backbone, data, tmp_path, unbroken
):
    reuse, whole = unbroken
    trained = []
    for watch in (Late(HEAD, 3, batch=1), Late(FINE_TUNE, 1, batch=None), Watch()):
        with time_limit(3600):
            model, record = train(backbone, data, tmp_path, watch, reuse=reuse)
        trained.append(watch.trained)
        assert record.best >= 0
        assert record.finished == (len(trained) == 3)
    head = [(HEAD, epoch) for epoch in (1, 2, 3, 4)]
    assert (
        trained
        == [
            head[:2],  # the third is lost
            [*head[2:], (FINE_TUNE, 1)],
            [(FINE_TUNE, 2), (FINE_TUNE, 3)],
        ]
    )
    assert_same((model, record), whole)


def test_where_time_is_up_before_the_first_epoch_there_is_nothing_to_give_back(
    backbone, data, tmp_path
):
    with (
        time_limit(0.0),
        pytest.raises(OutOfTimeError, match="time was up when training was to begin"),
    ):
        train(backbone, data, tmp_path, Watch(), reuse=False)
