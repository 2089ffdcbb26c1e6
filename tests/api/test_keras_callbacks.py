"""Every callback that Keras ships, in every tuner that KerasTuner ships."""

import csv
import http.server
import json
import threading

import keras
import keras_tuner
import pytest

from finetune import FineTuner, fine_tune
from finetune.exceptions import ArgumentError

TUNERS = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 2}),
    "grid": (keras_tuner.GridSearch, {"max_trials": 2}),
    "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": 2}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 2, "factor": 2}),
}
REFUSED = {"BackupAndRestore", "SwapEMAWeights"}
# Base classes; what every `fit` has by itself; what needs a package that is not installed.
NOT_TRIED = {"Callback", "CallbackList", "History", "ProgbarLogger", "OrbaxCheckpoint"}


class Begun(keras.callbacks.Callback):
    """Refuses to begin twice, as those of TensorBoard's hyperparameters do."""

    def on_train_begin(self, logs=None):
        assert not hasattr(self, "begun"), "cannot be reused across training sessions"
        self.begun = True

    def on_train_end(self, logs=None):
        assert not hasattr(self, "ended"), "cannot end twice"
        self.ended = True


@pytest.fixture
def monitor():
    """A server that RemoteMonitor can report to, and what it was told."""
    told = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    server.server_close()


def callbacks_in(folder, root):
    """All that work, writing into a folder."""
    epochs = folder / "lambda.txt"

    def write(epoch, logs):
        with open(epochs, "a") as file:
            print(epoch, *sorted(logs), file=file)

    callbacks = [
        keras.callbacks.TensorBoard(folder / "logs", histogram_freq=1, update_freq="batch"),
        keras.callbacks.CSVLogger(folder / "epochs.csv"),
        keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(patience=5),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        keras.callbacks.LambdaCallback(on_epoch_end=write),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.RemoteMonitor(root, send_as_json=True),
    ]
    return [*callbacks, Begun()]


def logged(folder):
    return [*csv.DictReader((folder / "epochs.csv").read_text().splitlines())]


def tuner_for(make_backbone, cls, extra, folder, **arguments):
    hyper = FineTuner(
        make_backbone(),
        preprocess="tf",
        schedule="constant",
        head_epochs=2,
        epochs=2,
        freeze_depth=[7, 10],
        learning_rate=1e-2,
        **arguments,
    )
    return cls(hyper, objective="val_loss", directory=folder, project_name="s", **extra)


def test_the_list_of_callbacks_is_that_of_keras(tmp_path):
    shipped = {
        name for name in dir(keras.callbacks) if isinstance(getattr(keras.callbacks, name), type)
    }
    tried = {type(callback).__name__ for callback in callbacks_in(tmp_path, "")} - {"Begun"}
    # The last is not there yet in Keras 3.12.
    assert shipped | {"OrbaxCheckpoint"} == tried | REFUSED | NOT_TRIED


@pytest.mark.parametrize(
    ("cls", "extra"),
    [
        pytest.param(*tuner, id=name, marks=() if name == "grid" else pytest.mark.slow)
        for name, tuner in TUNERS.items()
    ],
)
def test_all_of_them_work_in_a_stock_search(make_backbone, data, tmp_path, monitor, cls, extra):
    root, told = monitor
    tuner = tuner_for(make_backbone, cls, extra, tmp_path / "search")
    tuner.search(data, verbose=0, callbacks=callbacks_in(tmp_path, root))
    trials = tuner.oracle.trials
    assert {trial.status for trial in trials.values()} == {"COMPLETED"}
    # A file of events for each trial, with its hyperparameters.
    for trial in trials:
        assert [*(tmp_path / "logs" / trial).rglob("events*")]
    # Of each trial the shared head as one epoch, then those of fine-tuning; CSVLogger writes the
    # file of one trial over that of the one before.
    seen = [int(line.split()[0]) for line in (tmp_path / "lambda.txt").read_text().splitlines()]
    rows = [int(row["epoch"]) for row in logged(tmp_path)]
    assert seen[-len(rows) :] == rows
    assert [epoch["epoch"] for epoch in told] == seen
    rates = [float(row["learning_rate"]) for row in logged(tmp_path)]
    # The head was solved, at no rate; and a half and a quarter of the other; Hyperband continues a
    # trial of one epoch for one more.
    expected = {keras_tuner.Hyperband: ([5e-3], [0, 1, 0, 1, 1])}
    last, epochs = expected.get(cls, ([0.0, 5e-3, 2.5e-3], [0, 1, 2] * 2))
    assert rates == pytest.approx(last)
    assert seen == epochs
    best = keras.models.load_model(tmp_path / "best.keras")
    lowest = min(float(row["val_loss"]) for row in logged(tmp_path))
    assert best.evaluate(data.validation, verbose=0)[0] == pytest.approx(lowest, abs=1e-5)


@pytest.mark.parametrize("kind", ["data", pytest.param("dataset", marks=pytest.mark.slow)])
def test_tensorboard_works_with_images_and_with_plain_datasets(make_backbone, data, tmp_path, kind):
    cls, extra = TUNERS["random"]
    tuner = tuner_for(make_backbone, cls, extra, tmp_path / "search", num_classes=3)
    images = {"data": [data], "dataset": [data.dataset("train")]}[kind]
    validation = {"dataset": {"validation_data": data.dataset("validation")}}.get(kind, {})
    board = keras.callbacks.TensorBoard(tmp_path / "logs")
    tuner.search(*images, **validation, verbose=0, callbacks=[board])
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["COMPLETED"] * 2
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {*tuner.oracle.trials}


def train(make_backbone, data, folder, callback, **settings):
    return fine_tune(
        data,
        backbone=make_backbone(),
        preprocess="tf",
        freeze_depth=10,
        head_epochs=2,
        head_optimizer="adam",
        refit=0,
        epochs=2,
        out=folder,
        callbacks=[callback],
        verbose=0,
        **settings,
    )


def test_a_training_of_two_phases_begins_and_ends_once(make_backbone, data, tmp_path):
    begun = Begun()
    logger = keras.callbacks.CSVLogger(tmp_path / "epochs.csv")
    train(make_backbone, data, tmp_path / "a", begun, reuse=False)
    assert begun.ended
    train(make_backbone, data, tmp_path / "b", logger, reuse=False)
    assert [row["epoch"] for row in logged(tmp_path)] == ["0", "1", "2", "3"]


@pytest.mark.skipif(
    keras.__version__.startswith("3.12"),
    reason="EarlyStopping of Keras 3.12 goes on counting after it has stopped",
)
def test_early_stopping_counts_the_epochs_of_each_phase_anew(make_backbone, data, tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100.0)
    result = train(
        make_backbone, data, tmp_path / "run", stopping, reuse=False, head_learning_rate=1e-9
    )
    # Each phase improves on nothing by 100, so the second epoch of each is its last.
    assert [(row["phase"], row["epoch"]) for row in result.history] == [
        ("head", 1),
        ("head", 2),
        ("fine_tune", 1),
        ("fine_tune", 2),
    ]


class PutsBackZeros(keras.callbacks.Callback):
    """As one that holds the first epoch for the best."""

    def on_train_end(self, logs=None):
        for variable in self.model.trainable_variables:
            variable.assign(0 * variable)


def test_what_a_callback_puts_back_at_the_end_is_not_the_result(make_backbone, data, tmp_path):
    result = train(make_backbone, data, tmp_path / "run", PutsBackZeros())
    best = result.record.best_epoch
    assert result.validation.accuracy == pytest.approx(best["val_accuracy"])
    assert result.model.keras_model.get_layer("head").get_weights()[-2].any()


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (
            lambda folder: keras.callbacks.BackupAndRestore(folder / "backup"),
            "BackupAndRestore would put an epoch's weights back, but not the phase",
        ),
        (
            lambda folder: keras.callbacks.SwapEMAWeights(),
            "SwapEMAWeights needs an optimizer that averages weights.*pass ema=0.99",
        ),
        (
            lambda folder: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
            "LearningRateScheduler sets the learning rate, but so does schedule='cosine'",
        ),
        (
            lambda folder: keras.callbacks.ReduceLROnPlateau(),
            "ReduceLROnPlateau sets the learning rate, but so does schedule='cosine'",
        ),
        (lambda folder: print, "Expected Keras callbacks, received a builtin_function_or_method"),
    ],
)
def test_those_that_cannot_work_are_refused_before_anything_is_trained(
    make_backbone, data, tmp_path, callback, text
):
    hyper = FineTuner(make_backbone(), preprocess="tf", freeze_depth=[10, 16])
    stock = keras_tuner.RandomSearch(
        hyper, objective="val_loss", max_trials=1, directory=tmp_path, project_name="s"
    )
    with pytest.raises(ArgumentError, match=text):
        stock.search(data, callbacks=[callback(tmp_path)], verbose=0)
    with pytest.raises(ArgumentError, match=text):
        hyper.search(data, callbacks=[callback(tmp_path)], out=tmp_path / "study", verbose=0)
    with pytest.raises(ArgumentError, match=text):
        train(make_backbone, data, tmp_path / "run", callback(tmp_path))
