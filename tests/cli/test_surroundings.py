"""A command where little is as usual: no home, no terminal, and a clock that is set back."""

import json
import os
import subprocess
import sys

import pytest

from tiny import build_backbone

# The wall clock goes back by an hour each time that somebody looks at it.
_CLOCK = """
import time
now = time.time()
def back():
    global now
    now -= 3600
    return now
time.time = back
"""


@pytest.mark.slow
def test_a_run_needs_no_home_no_terminal_and_no_clock_that_goes_on(write_folder, tmp_path):
    build_backbone().save(tmp_path / "tiny.keras")
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(_CLOCK)
    arguments = [
        *("fit", str(write_folder(12)), "--backbone", "tiny.keras", "--preprocess", "tf"),
        *("--epochs", "2", "--head-epochs", "2", "--out", "run"),
    ]
    kept = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "FINETUNE_CACHE")
    surroundings = {name: os.environ[name] for name in kept if name in os.environ}
    places = [str(tmp_path / "clock"), *filter(None, [surroundings.get("PYTHONPATH")])]
    surroundings["PYTHONPATH"] = os.pathsep.join(places)
    done = subprocess.run(
        [sys.executable, "-m", "finetune.cli", *arguments],
        cwd=tmp_path,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,  # without a terminal that could be asked for
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 < metrics["seconds"] < 600
