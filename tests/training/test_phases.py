"""Phases: what trains in each, which epoch is kept, and the rate of every step."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from finetune.backbones.loading import load_backbone
from finetune.exceptions import ArgumentError, TrainingError
from finetune.reuse.features import FeatureCache
from finetune.reuse.sources import StoredSource
from finetune.training.head import Head
from finetune.training.optimizers import OptimizerSettings
from finetune.training.phases import seconds_per_epoch, train
from finetune.training.plan import Phase, Training
from finetune.training.records import BestEpoch, TrainingRecord
from finetune.training.shared import SharedBackbone

HEAD = Head("multiclass", 3)
STEPS = 3  # 41 training images in batches of 16


@pytest.fixture(scope="module")
def shared(make_backbone):
    """One for all tests, so that equal programs are traced once."""
    return SharedBackbone(
        load_backbone(make_backbone(), weights="imagenet", preprocess="tf"), FeatureCache()
    )


@pytest.fixture(scope="module")
def source(data):
    return StoredSource(data, reuse=True)


def head_phase(shared, epochs=2, rate=1e-2, **options):
    return Phase("head", shared.head_only, rate, epochs, **options)


def run(shared, source, phases, head=HEAD, callbacks=(), **options):
    model = shared.reset(head)
    before = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.variables}
    record = train(shared, Training(tuple(phases), head, **options), source, callbacks=callbacks)
    changed = {
        v.path
        for v in model.variables
        if not np.array_equal(before[v.path], keras.ops.convert_to_numpy(v))
    }
    return model, record, changed


def layers_of(changed):
    """The layers whose weights changed."""
    names = {path.split("/")[0] for path in changed}
    return {name for name in names if not name.startswith("seed_generator")}


def weights(model):
    return [np.array(w) for w in model.get_weights()]


class ByHand(keras.callbacks.Callback):
    """Sets a rate between epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.5 ** (epoch + 1)


class Stop(keras.callbacks.Callback):
    """Ctrl-C at the start of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


class StopAtOnce(keras.callbacks.Callback):
    """Asks for the end after a step."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


def test_the_head_trains_alone_then_what_lies_above_the_freeze_depth(shared, source):
    head = head_phase(shared, rate=1e-6)  # hardly moves, so that an epoch after it is kept
    _, record, changed = run(shared, source, [head, Phase("fine_tune", 10, 1e-2, 2)])
    assert [(row["phase"], row["epoch"]) for row in record.epochs] == [
        *[("head", 1), ("head", 2), ("fine_tune", 1), ("fine_tune", 2)]
    ]
    assert record.best_epoch["phase"] == "fine_tune"
    assert layers_of(changed) == {"c_conv", "d_conv", "predictions"}
    _, _, changed = run(shared, source, [head])
    assert layers_of(changed) == {"predictions"}


def test_adapting_batch_norm_moves_the_statistics_above_the_depth_alone(shared, source):
    phases = [Phase("fine_tune", 10, 1e-3, 1, batch_norm="adapt")]
    _, _, changed = run(shared, source, phases)
    assert {"c_bn/moving_mean", "d_bn/moving_variance", "d_bn/gamma"} <= changed
    assert not any(path.startswith(("stem_bn", "a_bn", "b_bn")) for path in changed)


def test_a_head_phase_ends_early_when_the_validation_loss_stops_falling(shared, source):
    _, record, _ = run(shared, source, [head_phase(shared, 50, rate=1.0, patience=2)])
    losses = [row["val_loss"] for row in record.epochs]
    assert len(losses) < 50
    assert min(losses[-2:]) >= min(losses[:-2])


def test_phases_are_data_so_that_a_third_is_a_list_entry(shared, source):
    phases = [head_phase(shared), Phase("top", 13, 1e-3, 1), Phase("more", 10, 1e-3, 1)]
    _, record, _ = run(shared, source, phases)
    assert [row["phase"] for row in record.epochs] == ["head", "head", "top", "more"]
    assert set(record.rates) == {"head", "top", "more"}


@pytest.mark.thorough
def test_features_are_not_taken_from_layers_that_an_earlier_phase_trained(shared, source, data):
    # The last phase freezes layers that the one before has changed.
    phases = [Phase("deep", 10, 3e-2, 1), Phase("shallow", 13, 1e-2, 1), head_phase(shared, 1)]
    reused, record, _ = run(shared, source, phases)
    whole, expected, _ = run(shared, StoredSource(data, reuse=False), phases)
    for row, other in zip(record.epochs, expected.epochs, strict=True):
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)
    assert reused is whole


def test_the_best_epoch_is_kept_over_all_phases(shared, source, data):
    phases = [head_phase(shared, 4), Phase("fine_tune", 10, 10.0, 2)]
    model, record, changed = run(shared, source, phases)
    assert record.best_epoch["phase"] == "head"
    assert layers_of(changed) == {"predictions"}
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    loss, accuracy = model.evaluate(data.validation, verbose=0)
    assert loss == pytest.approx(record.best_epoch["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(record.best_epoch["val_accuracy"])


@pytest.mark.parametrize(("error", "kept"), [(0.3, "fine_tune"), (0.1, "head")])
def test_a_head_is_kept_where_chance_does_not_explain_that_fine_tuning_is_worse(error, kept):
    record = TrainingRecord(monitor="val_loss")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    best = BestEpoch(record)
    model.stop_training = False
    best.set_model(model)
    for phase, loss in (("head", 0.5), ("fine_tune", 0.7)):
        best.start_phase(phase, 0, 1, model.variables)
        best.on_epoch_begin(0)
        model.layers[0].bias.assign([loss])
        best.on_epoch_end(0, {"val_loss": loss})
        if phase == "head":
            best.allow_for_chance(error)
    best.restore()
    assert record.best_epoch["phase"] == kept
    assert model.layers[0].bias.numpy() == np.float32(record.best_epoch["val_loss"])


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_a_head_tells_how_far_chance_moves_what_decides(shared, source, data, monitor):
    phases = [head_phase(shared, solve=True), Phase("fine_tune", 10, 1e-9, 1)]
    model, record, _ = run(shared, source, phases, monitor=monitor)
    outputs, labels = model.predict(data.validation, verbose=0), data.splits["validation"].labels
    each = -np.log(outputs[np.arange(len(labels)), labels])
    if monitor == "val_accuracy":
        each = (outputs.argmax(axis=1) == labels).astype(float)
    error = np.std(each, ddof=1) / np.sqrt(len(each))
    assert record.epochs[0]["standard_error"] == pytest.approx(error, rel=1e-4)
    assert "standard_error" not in record.epochs[1]


def test_among_equal_accuracies_the_lower_loss_wins(shared, source):
    _, record, _ = run(shared, source, [head_phase(shared, 6)], monitor="val_accuracy")
    top = max(row["val_accuracy"] for row in record.epochs)
    equals = [row["val_loss"] for row in record.epochs if row["val_accuracy"] == top]
    assert record.best_epoch["val_accuracy"] == top
    assert record.best_epoch["val_loss"] == min(equals)


def test_the_loss_of_validation_images_is_without_smoothing(shared, source):
    """It says how probable the labels are, and can be compared between amounts of smoothing."""
    model, record, _ = run(shared, source, [head_phase(shared, 1)], label_smoothing=0.3)
    validation = source.data.splits["validation"]
    said = np.asarray(model(validation.images.astype("float32")))
    likely = said[np.arange(len(said)), validation.labels]
    assert record.epochs[0]["val_loss"] == pytest.approx(-np.log(likely).mean(), rel=1e-4)
    _, plain, _ = run(shared, source, [head_phase(shared, 1)])
    assert record.epochs[0]["loss"] > plain.epochs[0]["loss"]  # that of training is with it


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.1] * 6),
        ("piecewise", [0.1] * 4 + [0.01, 0.001]),
        ("exponential", [0.1 * 0.01 ** (step / 6) for step in range(6)]),
        ("cosine", [0.0, *(0.05 * (1 + np.cos(np.pi * step / 5)) for step in range(5))]),
        (
            keras.optimizers.schedules.InverseTimeDecay(0.2, 1, 1.0),
            [0.2 / (1 + s) for s in range(6)],
        ),
        (lambda epoch, rate: 0.1 / (epoch + 1), [0.1] * 3 + [0.05] * 3),
    ],
)
def test_the_rate_of_every_step_is_recorded(shared, source, schedule, expected):
    _, record, _ = run(shared, source, [head_phase(shared, 2, rate=0.1, schedule=schedule)])
    assert record.rates["head"] == pytest.approx(expected, rel=1e-5)
    assert record.epochs[0]["learning_rate"] == pytest.approx(expected[2], rel=1e-5)


def test_plateau_lowers_the_rate(shared, source):
    phase = head_phase(shared, 12, rate=30.0, schedule="plateau")
    _, record, _ = run(shared, source, [phase])
    assert record.rates["head"][0] == 30.0
    assert record.rates["head"][-1] == pytest.approx(
        30.0 * 0.3 ** round(np.log(record.rates["head"][-1] / 30.0) / np.log(0.3))
    )
    assert record.rates["head"][-1] < 30.0


def test_a_rate_set_by_hand_between_epochs_is_used_and_recorded(shared, source):
    _, record, _ = run(shared, source, [head_phase(shared, 2)], callbacks=[ByHand()])
    assert record.rates["head"] == [0.5] * STEPS + [0.25] * STEPS


def test_the_kept_weights_are_the_averaged_ones(shared, source, data):
    phase = head_phase(shared, 3, rate=0.5, optimizer=OptimizerSettings("sgd", ema=0.9))
    model, record, _ = run(shared, source, [phase])
    assert len(record.epochs) == 3
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy())
    averaged = model.evaluate(data.validation, verbose=0, return_dict=True)["loss"]
    assert averaged == pytest.approx(record.best_epoch["val_loss"], rel=1e-4)
    plain = head_phase(shared, 3, rate=0.5, optimizer=OptimizerSettings("sgd"))
    _, other, _ = run(shared, source, [plain])
    # The same steps were taken, but their average lags behind.
    assert record.epochs[0]["loss"] == pytest.approx(other.epochs[0]["loss"], rel=1e-4)
    assert record.epochs[0]["val_loss"] != pytest.approx(other.epochs[0]["val_loss"], rel=1e-3)


def test_gradients_are_clipped(shared, source):
    clipped = OptimizerSettings("sgd", clip_norm=1e-3)
    model, _, _ = run(shared, source, [head_phase(shared, 1, rate=1.0, optimizer=clipped)])
    after = weights(model)[-2]
    start = weights(shared.reset(HEAD))[-2]
    assert 0 < np.linalg.norm(after - start) <= STEPS * 1e-3


def test_rates_differ_by_layer(shared, source):
    optimizer = OptimizerSettings("sgd", clip_norm=1e-4)
    steps = {}
    for decay in (None, 0.1):
        phase = Phase("fine_tune", 10, 1.0, 1, optimizer=optimizer, layer_decay=decay)
        model, _, _ = run(shared, source, [phase])
        after = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.variables}
        before = {
            v.path: np.array(keras.ops.convert_to_numpy(v)) for v in shared.reset(HEAD).variables
        }
        steps[decay] = {path: np.linalg.norm(after[path] - before[path]) for path in after}
    for path, factor in [
        ("predictions/kernel", 1),
        ("d_conv/kernel", 0.1),
        ("c_conv/kernel", 0.01),
    ]:
        assert steps[0.1][path] == pytest.approx(factor * steps[None][path], rel=0.05)


def test_equal_trials_are_equal_and_other_seeds_differ(shared, source):
    def losses(seed):
        head = Head("multiclass", 3, seed=seed)
        phases = [head_phase(shared, 1), Phase("fine_tune", 10, 1e-2, 1)]
        model, record, _ = run(shared, source, phases, head=head, seed=seed)
        return [row["loss"] for row in record.epochs], weights(model)

    first, first_weights = losses(0)
    other, _ = losses(1)
    again, again_weights = losses(0)
    assert first == again
    assert all(map(np.array_equal, first_weights, again_weights))
    assert first[0] != other[0]


def test_the_seed_of_a_training_is_that_of_the_order_of_the_images(shared, source):
    losses = [
        run(shared, source, [head_phase(shared, 1, rate=0.5)], seed=seed)[1].epochs[0]["val_loss"]
        for seed in (0, 1, 0)
    ]
    assert losses[0] == losses[2] != losses[1]


def test_a_callback_that_stops_training_in_mid_epoch_ends_it_there(shared, source):
    phases = [Phase("fine_tune", 10, 1e-2, 2)]
    _, record, _ = run(shared, source, phases, callbacks=[StopAtOnce()])
    assert len(record.epochs) == 1
    assert len(record.rates["fine_tune"]) == 1  # of three steps


@pytest.mark.parametrize(("steps", "expected"), [(4, 2.0), (3, 2.0), (2, 2.5)])
def test_an_epoch_is_measured_on_a_few_of_its_steps(
    shared, source, monkeypatch, capsys, steps, expected
):
    """On a clock that goes on by a second with every look, so that each stretch takes one."""
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)
    monkeypatch.setattr("finetune.training.phases.time", clock)
    shared.reset(HEAD)
    training = Training((head_phase(shared, 1), Phase("fine_tune", 10, 1e-2, 1)), HEAD)
    assert seconds_per_epoch(shared, training, source, steps) == pytest.approx(expected)
    assert capsys.readouterr().out == ""


def test_a_last_phase_without_epochs_takes_no_time(shared, source):
    training = Training((head_phase(shared, 1), Phase("fine_tune", 10, 1e-2, 0)), HEAD)
    assert seconds_per_epoch(shared, training, source) == 0.0


def test_a_second_trial_computes_no_feature_head_or_program_again(shared, source, monkeypatch):
    phases = [head_phase(shared, 1), Phase("fine_tune", 10, 1e-2, 1)]
    run(shared, source, phases)
    programs, heads = dict(shared.programs), dict(shared.heads.known)
    passes = []
    monkeypatch.setattr(StoredSource, "passes", lambda self, split: passes.append(split))
    for program in programs.values():
        # Keras calls it when it traces the step, not when it runs it.
        monkeypatch.setattr(program.trainee, "compute_loss", None)
    run(shared, source, phases)
    assert passes == []
    assert shared.programs == programs
    assert {key: id(head) for key, head in shared.heads.known.items()} == {
        key: id(head) for key, head in heads.items()
    }


def test_another_batch_size_is_another_head(shared, source, data):
    phases = [head_phase(shared, 1), Phase("fine_tune", 10, 1e-2, 1)]
    run(shared, source, phases)
    before = len(shared.heads)
    _, record, _ = run(shared, StoredSource(data.with_options(batch_size=64), True), phases)
    assert len(shared.heads) == before + 1
    assert len(record.rates["head"]) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"class_weight": {0: 2.0, 1: 1.0, 2: 1.0}},
        {"label_smoothing": 0.25},
        {"seed": 7},
        {"monitor": "val_accuracy"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_trials_share_a_head_only_where_it_would_be_the_same(shared, source, options):
    head = head_phase(shared, 1)
    run(shared, source, [head, Phase("fine_tune", 10, 1e-2, 1)])
    before = len(shared.heads)
    run(shared, source, [head, Phase("fine_tune", 10, 1e-3, 2)])  # another rate, more epochs
    assert len(shared.heads) == before
    run(shared, source, [head, Phase("fine_tune", 10, 1e-2, 1)], **options)
    assert len(shared.heads) == before + 1


def test_the_end_of_a_training_is_told_with_its_last_epoch_and_nothing_is_left(shared, source):
    ends = []
    callback = keras.callbacks.LambdaCallback(on_train_end=ends.append)
    phases = [head_phase(shared, 2, patience=1), Phase("fine_tune", 10, 1e-2, 2)]
    model, record, _ = run(shared, source, phases, callbacks=[callback, StopAtOnce()])
    (logs,) = ends
    last = {k: v for k, v in record.epochs[-1].items() if k not in ("phase", "epoch", "seconds")}
    assert logs == last
    assert (model.stop_training, model.compiled) == (False, False)


def test_stopping_keeps_the_best_epoch_until_then(shared, source):
    # The shared head reaches callbacks as epoch 0; 1 and 2 are those of fine-tuning.
    phases = [head_phase(shared, 2), Phase("fine_tune", 10, 1e-2, 3)]
    _, record, _ = run(shared, source, phases, callbacks=[Stop(2)])
    assert record.interrupted
    assert [row["phase"] for row in record.epochs] == ["head", "head", "fine_tune"]
    assert len(record.rates["fine_tune"]) == STEPS


def test_stopping_before_there_is_an_epoch_is_a_stop(shared, source):
    with pytest.raises(KeyboardInterrupt):
        run(shared, source, [Phase("fine_tune", 10, 1e-2, 2)], callbacks=[Stop(0)])


def test_stopping_a_shared_head_keeps_its_best_epoch_but_shares_it_not(shared, source, press):
    phases = [head_phase(shared, 5, rate=2e-2), Phase("fine_tune", 10, 1e-2, 1)]
    before = dict(shared.heads.known)
    shared.reset(HEAD)
    record = train(shared, Training(tuple(phases), HEAD), source, progress=[press(1)])
    assert record.interrupted
    assert [row["phase"] for row in record.epochs] == ["head"]
    assert shared.heads.known == before


def test_a_head_that_is_stopped_while_it_is_kept_goes_on_and_leaves_one_file(
    shared, source, press, tmp_path, monkeypatch
):
    monkeypatch.setattr(shared.heads, "folder", tmp_path)
    phases = [head_phase(shared, 4, rate=3e-2), Phase("fine_tune", 10, 1e-2, 1)]
    training = Training(tuple(phases), HEAD)
    shared.reset(HEAD)
    assert train(shared, training, source, progress=[press(2)]).interrupted
    assert [path.name.partition(".")[2] for path in tmp_path.iterdir()] == ["state.npz"]
    shared.reset(HEAD)
    record = train(shared, training, source)
    assert [row["epoch"] for row in record.phase("head")] == [1, 2, 3, 4]
    assert [path.name.partition(".")[2] for path in tmp_path.iterdir()] == ["npz"]
    monkeypatch.setattr(shared.heads, "folder", None)
    monkeypatch.setattr(shared.heads, "known", {})
    shared.reset(HEAD)
    unbroken = train(shared, training, source)
    assert [row["val_loss"] for row in unbroken.epochs] == [
        row["val_loss"] for row in record.epochs
    ]


@pytest.fixture
def press():
    """Ctrl-C at the start of an epoch, seen by nothing but what shows progress."""
    from finetune.training.progress import PhaseCallback

    class Press(PhaseCallback):
        def __init__(self, epoch):
            super().__init__()
            self.epoch = epoch

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.epoch:
                raise KeyboardInterrupt

    return Press


def test_a_head_that_never_has_a_finite_loss_is_an_error(shared, source):
    phases = [head_phase(shared, 2, rate=1e30), Phase("fine_tune", 10, 1e-2, 1)]
    with pytest.raises(TrainingError, match=r"no epoch of the head phase .* head_learning_rate"):
        run(shared, source, phases, label_smoothing=0.0, class_weight={0: 1e30, 1: 1e30, 2: 1e30})


def test_a_training_in_which_no_loss_is_finite_names_the_rate_of_every_phase(shared, source):
    phases = [Phase("fine_tune", 10, 1e30, 2), Phase("more", 13, 2e30, 1)]
    with pytest.raises(TrainingError) as caught:
        run(shared, source, phases)
    assert str(caught.value) == (
        "Expected a finite loss, but no epoch ended with one (learning rate 2e+30 in phase "
        "'more', 1e+30 in phase 'fine_tune'). Lower the learning rate, or "
        "clip_norm."
    )


def test_a_fine_tuning_without_a_finite_loss_leaves_the_head(shared, source):
    phases = [head_phase(shared, 2), Phase("fine_tune", 10, 1e30, 3)]
    model, record, _ = run(shared, source, phases)
    assert record.best_epoch["phase"] == "head"
    assert all(np.isfinite(w).all() for w in weights(model))
    assert len(record.phase("fine_tune")) < 3


def test_a_resumed_phase_goes_on_where_it_was(shared, source):
    phases = [head_phase(shared, 2), Phase("fine_tune", 10, 1e-2, 3, schedule="piecewise")]
    _, whole, _ = run(shared, source, phases)
    shared.reset(HEAD)
    resumed = train(shared, Training(tuple(phases), HEAD), source, initial_epoch=2)
    assert [row["phase"] for row in resumed.epochs] == ["fine_tune"]
    assert resumed.rates["fine_tune"] == whole.rates["fine_tune"][2 * STEPS :]


def test_nothing_to_train_is_an_error(shared, source):
    with pytest.raises(TrainingError, match="at least one epoch in one of the phases"):
        run(shared, source, [head_phase(shared, 0)])


@pytest.mark.parametrize(
    ("rate", "epochs", "text"),
    [
        (0.0, 1, "learning rate above 0 in phase 'head', received 0.0"),
        (0.1, -1, "0 epochs or more in phase 'head', received -1"),
    ],
)
def test_bad_phases_are_refused(rate, epochs, text):
    with pytest.raises(ArgumentError, match=text):
        Phase("head", 3, rate, epochs)
