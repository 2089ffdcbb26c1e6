"""The same seed gives the same weights to the bit: in other processes, and after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from extras import require
from finetune import FineTuner, load
from finetune.exceptions import ArgumentError

# Where to, how many cores there are, before which epoch it is killed, and the backbone.
SCRIPT = """
import os, sys
out, cores, killed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
import keras
from finetune import fine_tune
from finetune.training import relays
from tiny import SIZE, make_images
relays.SECONDS_BETWEEN_STATES = 0.0
class Dies(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == killed:
            os._exit(9)
fine_tune(
    make_images(24), backbone=sys.argv[4], preprocess="tf", image_size=SIZE, freeze_depth=6,
    epochs=3, dropout=0.3, augment="light", head_epochs=2, head_optimizer="adam", seed=3,
    deterministic=True, callbacks=[Dies()] if killed else [], out=out, verbose=0)
"""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, which takes as many threads as it likes."""
    environment = {name: value for name, value in os.environ.items() if "TF_NUM" not in name}
    here = Path(__file__).parents[1]
    environment["PYTHONPATH"] = os.pathsep.join([str(here), environment.get("PYTHONPATH", "")])
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def saved(make_backbone, tmp_path_factory):
    """A backbone in a file: one that is made there would begin with several threads."""
    path = tmp_path_factory.mktemp("backbone") / "tiny.keras"
    make_backbone().save(path)
    return path


def weights(folder: Path) -> list[np.ndarray]:
    return load(folder).keras_model.get_weights()


@pytest.mark.slow
def test_other_cores_and_a_kill_change_no_bit(tmp_path, saved):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder, cores, epoch, code in ((whole, 64, 0, 0), (killed, 1, 3, 9), (killed, 2, 0, 0)):
        done = run(str(script), folder, cores, epoch, saved)
        assert done.returncode == code, done.stderr
        assert (folder / "state.npz").exists() == bool(code)
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "killed"), strict=True):
        assert one.tobytes() == other.tobytes()


WORKERS = """
import sys
from finetune import FineTuner, load_data
from tiny import SIZE, make_images
if __name__ == "__main__":
    tuner = FineTuner(
        preprocess="tf", freeze_depth=[0, 6], learning_rate=1e-2, epochs=2, head_epochs=2,
        refit=0, deterministic=True, backbone=sys.argv[3])
    data = load_data(make_images(24), image_size=SIZE, batch_size=16)
    found = tuner.search(
        data, strategy="grid", workers=int(sys.argv[2]), out=sys.argv[1], keep=2, verbose=0)
    print(sorted((row["freeze_depth"], row["val_loss"].hex()) for row in found.rows(test=False)))
"""


@pytest.mark.slow
def test_another_number_of_workers_changes_no_bit(tmp_path, saved):
    require("ray")
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    told = []
    for count in (1, 2):
        done = run(str(script), tmp_path / str(count), count, saved)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines()[-1])
    assert told[0] == told[1] and told[0].count("0x") == 2


def test_it_is_refused_where_threads_have_begun_already(monkeypatch, backbone):
    tf.constant(1)  # whoever has computed anything
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    if tf.config.threading.get_intra_op_parallelism_threads() == 1:
        pytest.skip("this process computes with one thread")
    with pytest.raises(ArgumentError, match=r"Begin a new process.*TF_NUM_INTRAOP_THREADS=1"):
        FineTuner(backbone, preprocess="tf", deterministic=True)


def test_it_is_true_or_false(backbone):
    with pytest.raises(ArgumentError, match="Expected deterministic to be True or False"):
        FineTuner(backbone, preprocess="tf", deterministic="yes")
