"""The folder of a run: whose it is, what is in it, and what happens to it when a run is stopped."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from finetune import load
from finetune.api import run_folder
from finetune.api.one_call import fine_tune
from finetune.api.run_folder import _elsewhere
from finetune.exceptions import DataNotFoundError, RunFolderError, StorageError, TrainingError

resource = pytest.importorskip("resource", reason="limits of a process are known to Unix alone")

# Python 3.10's zip archive complains when it is let go of after a disk was full.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def backbone_file(make_backbone, tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "tiny.keras"
    make_backbone().save(path)
    return path


@pytest.fixture
def tune(backbone_file, data, tmp_path):
    """Fine-tunes the tiny backbone into `tmp_path / "run"`, in silence."""

    def run(**arguments):
        defaults = {
            "preprocess": "tf",
            "freeze_depth": 10,
            "head_epochs": 2,
            "refit": 0,
            "epochs": 4,
            "learning_rate": 1e-2,
            "out": tmp_path / "run",
            "verbose": 0,
        }
        return fine_tune(data, backbone=backbone_file, **{**defaults, **arguments})

    return run


def bytes_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def finished(folder):
    return json.loads((folder / "run.json").read_text())["finished"]


class Watch(keras.callbacks.Callback):
    """Notes the epochs that are trained, and may end the training in one of them."""

    def __init__(self, end_in=None, error=RuntimeError):
        super().__init__()
        self.seen = []
        self._end_in = end_in
        self._error = error

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._end_in:
            raise self._error
        self.seen.append(epoch)


@contextlib.contextmanager
def no_file_above(size):
    """A real limit of this process: what would grow beyond it raises OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_processes_that_begin_at_the_same_time_get_folders_of_their_own(tmp_path):
    script = (
        "import sys; from finetune.support import new_folder; sys.stdin.readline();"
        "print(*(new_folder() for _ in range(20)), sep='\\n')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    made = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert len(made) == 80
    assert len({*made}) == 80
    assert sorted(made) == sorted(f"runs/{path.name}" for path in (tmp_path / "runs").iterdir())


def test_a_finished_run_is_refused_and_stays_as_it_is(tune):
    folder = tune().folder
    before = bytes_of(folder)
    with pytest.raises(RunFolderError) as refused:
        tune(seed=3)
    assert str(refused.value) == (
        f"{folder} holds a finished run, which stays as it is. Name another folder with out= "
        "(--out), or replace it with overwrite=True (--overwrite)."
    )
    assert bytes_of(folder) == before


def test_what_a_kill_at_the_very_end_left_of_a_finished_run_is_removed(tune):
    folder = tune().folder
    before = bytes_of(folder)
    (folder / "state.npz").write_bytes(b"of its last epoch")
    (folder / ".partial").mkdir()
    with pytest.raises(RunFolderError, match="holds a finished run"):
        tune()
    assert bytes_of(folder) == before
    assert not (folder / ".partial").exists()


def test_a_replacement_that_was_killed_before_it_took_its_place_is_not_trained_again(
    tune, tmp_path, monkeypatch
):
    tune()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "_take_place", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(seed=3, overwrite=True)
    watch = Watch()
    again = tune(seed=3, overwrite=True, callbacks=[watch])
    assert watch.seen == []
    assert finished(again.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert not (again.folder / "state.npz").exists()


def test_a_run_of_the_first_version_is_refused_too(tune, tmp_path):
    legacy = Path(__file__).parents[1] / "legacy"
    (source,) = (path.parent for path in legacy.rglob("metrics.json"))
    shutil.copytree(source, tmp_path / "run")
    before = bytes_of(tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds a finished run"):
        tune()
    assert bytes_of(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("study.json", "holds a study of `finetune search`"),
        ("holiday.jpg", r"holds files that are of no run and no study \(holiday.jpg\)"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_refused_whatever_is_said(tune, tmp_path, name, said, overwrite):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("{}")
    with pytest.raises(RunFolderError, match=f"new or an empty folder.*{said}"):
        tune(overwrite=overwrite)
    assert bytes_of(tmp_path / "run") == {name: b"{}"}


def test_overwriting_replaces_the_run_as_a_whole(tune, tmp_path):
    first = tune()
    second = tune(seed=3, overwrite=True)
    assert second.folder == first.folder == tmp_path / "run"
    assert json.loads((first.folder / "config.json").read_text())["seed"] == 3
    images = np.zeros((1, 16, 16, 3))
    assert load(first.folder).predict(images).probabilities == pytest.approx(
        second.predict(images).probabilities, abs=1e-6
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_overwriting_spares_what_is_not_of_the_run(tune, tmp_path):
    folder = tune().folder
    (folder / "notes.txt").write_text("mine")
    before = bytes_of(folder)
    with pytest.raises(RunFolderError, match=r"nothing but a run.*notes.txt too. Move that away"):
        tune(overwrite=True)
    assert bytes_of(folder) == before


@pytest.mark.thorough
def test_a_failed_replacement_leaves_the_old_run_whole(tune, tmp_path, monkeypatch):
    folder = tune().folder
    before = bytes_of(folder)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    with no_file_above(20_000), pytest.raises(StorageError, match=r"no room.*any other place"):
        tune(seed=3, overwrite=True)
    assert bytes_of(folder) == before
    assert finished(folder)


def test_a_process_killed_while_it_replaces_a_run_loses_none(tune, tmp_path):
    folder = tune().folder
    before = bytes_of(folder)
    folder.rename(tmp_path / ".run.old")
    with pytest.raises(RunFolderError, match="holds a finished run"):
        tune()
    assert bytes_of(folder) == before


def test_a_model_that_cannot_be_written_is_written_elsewhere(tune, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))

    class Block(keras.callbacks.Callback):
        """Puts a file where a folder is to be made in the end."""

        def on_train_end(self, logs=None):
            (tmp_path / "run" / ".partial").touch()

    with pytest.raises(StorageError) as failed:
        tune(callbacks=[Block()])
    (place,) = elsewhere.iterdir()
    assert str(failed.value).endswith(f"The run is whole, but in {place}.")
    assert load(place).card.class_names == ("0", "1", "2")
    assert json.loads((place / "metrics.json").read_text())["validation"]["n"] == 17
    watch = Watch()
    (tmp_path / "run" / ".partial").unlink()
    assert finished(tune(callbacks=[watch]).folder)
    assert watch.seen == []  # nothing is trained again


@pytest.mark.parametrize("room", [True, False])
def test_another_place_is_looked_for_where_nobody_has_a_home(tmp_path, monkeypatch, room):
    """As in a container whose user has no entry in passwd."""
    pwd = pytest.importorskip("pwd", reason="users are in passwd on Unix alone")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    with pytest.raises(RuntimeError):
        Path.home()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)

    def write(folder):
        if folder.is_relative_to(tmp_path / "temporary") or not room:
            raise StorageError("no room")
        (folder / "model.keras").touch()

    said = _elsewhere(write)
    found = [path.parent.name for path in tmp_path.rglob("model.keras")]
    assert len(found) == room
    assert said == (
        f"The run is whole, but in {found[0]}."
        if room
        else "There was no room for the run in any other place either."
    )


def test_a_state_that_cannot_be_written_stops_no_training(tune, tmp_path, monkeypatch, caplog):
    with no_file_above(20_000), pytest.raises(StorageError) as failed:
        tune()
    assert caplog.text.count("Training goes on, but cannot be taken up again") == 1
    assert "File too large" in str(failed.value)


@pytest.mark.thorough
def test_a_run_that_was_killed_goes_on_from_its_last_epoch(tune, tmp_path):
    whole = tune(out=tmp_path / "whole")
    with pytest.raises(RuntimeError):
        tune(callbacks=[Watch(end_in=3)])
    assert not finished(tmp_path / "run")
    watch = Watch()
    result = tune(callbacks=[watch])
    assert watch.seen == [3, 4]
    assert finished(result.folder)
    assert not (result.folder / "state.npz").exists()
    assert [(row["phase"], row["epoch"]) for row in result.history] == [
        (row["phase"], row["epoch"]) for row in whole.history
    ]
    for one, other in zip(
        result.model.keras_model.get_weights(), whole.model.keras_model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.thorough
def test_a_run_that_the_user_stopped_has_a_model_and_goes_on(tune):
    stopped = tune(callbacks=[Watch(end_in=3, error=KeyboardInterrupt)])
    assert stopped.record.interrupted
    assert load(stopped.folder).card.class_names == ("0", "1", "2")
    assert not finished(stopped.folder)
    result = tune()
    assert not result.record.interrupted
    assert len(result.record.phase("fine_tune")) == 4
    assert finished(result.folder)
    rows = (result.folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + len(result.history)


@pytest.mark.thorough
def test_an_unfinished_run_of_something_else_is_refused_by_name(tune, data):
    stopped = tune(callbacks=[Watch(end_in=3, error=KeyboardInterrupt)])
    before = bytes_of(stopped.folder)
    with pytest.raises(RunFolderError) as refused:
        tune(seed=3, dropout=0.5)
    assert str(refused.value) == (
        f"{stopped.folder} holds an unfinished run of something else:\n"
        "  dropout: 0.2 in it, 0.5 now\n"
        "  seed of FineTuner: 0 in it, 3 now\n"
        "Give the same again to go on with it, replace it with overwrite=True (--overwrite), or "
        "name another folder with out= (--out)."
    )
    assert bytes_of(stopped.folder) == before
    assert finished(tune(seed=3, dropout=0.5, overwrite=True).folder)


@pytest.mark.thorough
def test_a_replacement_that_was_stopped_goes_on_beside_the_old_run(tune, tmp_path):
    folder = tune().folder
    before = bytes_of(folder)
    stopped = tune(seed=3, overwrite=True, callbacks=[Watch(end_in=3, error=KeyboardInterrupt)])
    assert bytes_of(folder) == before
    assert load(stopped.folder).card.class_names == ("0", "1", "2")
    watch = Watch()
    assert tune(seed=3, overwrite=True, callbacks=[watch]).folder == folder
    assert watch.seen == [3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert json.loads((folder / "config.json").read_text())["seed"] == 3


def test_two_runs_at_a_time_are_refused_one_folder(tune):
    class Second(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            with pytest.raises(RunFolderError) as refused:
                tune()
            self.said = str(refused.value)

    second = Second()
    folder = tune(callbacks=[second]).folder
    assert second.said.startswith(f"{folder} is being worked on by process ")


class Poison(keras.callbacks.Callback):
    """Makes every loss that follows not finite."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.set_weights([values * np.nan for values in self.model.get_weights()])


def test_a_run_without_a_finite_loss_leaves_the_folder_free(tune, tmp_path):
    with pytest.raises(TrainingError, match=r"finite loss.* \(learning rate .* 'fine_tune'\)"):
        tune(head_epochs=0, callbacks=[Poison()])
    assert not (tmp_path / "run").exists()
    assert finished(tune().folder)


@pytest.mark.parametrize("left", [[], ["runs"], ["runs/before"]])
def test_a_run_that_is_refused_leaves_no_folder_of_its_own(tmp_path, monkeypatch, left):
    monkeypatch.chdir(tmp_path)
    for name in left:
        Path(name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataNotFoundError):
        fine_tune("nowhere", verbose=0)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("left", ["process", "run.json", "state.npz"])
def test_what_a_killed_process_was_writing_is_in_nobodys_way(tune, tmp_path, left):
    partial = tmp_path / "run" / f".{left}.73.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"half")
    tune(epochs=1)  # killed in its first writes, nothing of the run is there yet
    assert not partial.exists()
    partial.write_bytes(b"half")
    tune(epochs=1, seed=1, overwrite=True)
    assert not partial.exists() and finished(tmp_path / "run")


@pytest.mark.parametrize("what", ["new", "old"])
def test_a_link_where_a_replacement_would_be_written_is_refused(tune, tmp_path, what):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f".run.{what}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match=rf"nothing at .*\.run\.{what}, but it is a link"):
        tune(overwrite=True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("mark", ["[" * 100_000, '{"finished": false, "identity": []}', "null"])
def test_a_mark_of_something_else_is_that_of_a_finished_run(tune, tmp_path, mark):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(mark)
    with pytest.raises(RunFolderError, match="holds a finished run, which stays as it is"):
        tune()


def test_a_hidden_file_of_the_users_is_none_of_ours(tune, tmp_path):
    own = tmp_path / "run" / ".my.partial"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    with pytest.raises(RunFolderError, match=r"holds files that are of no run .*\.my\.partial"):
        tune()
    assert own.read_bytes() == b"mine"
