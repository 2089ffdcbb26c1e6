"""Trials as Ray tasks: the same board, and nobody who dies costs a trial."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from finetune.exceptions import ArgumentError
from finetune.search.study import read_trials

pytest.importorskip("ray", reason="the extra keras-finetuner[ray] is not installed")

# Ray leaves sockets and files to its own processes, which it does not wait for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def workers_busy():
    """Processes of Ray that run a trial."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.name().startswith("ray::_run")
    ]


def test_board_of_two_workers_is_that_of_one_process_though_a_worker_is_killed(
    search, same_board, tmp_path: Path
):
    whole = search(strategy="grid", out=tmp_path / "whole")
    killed = []

    def kill_one():
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            for process in workers_busy()[:1]:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        result = search(strategy="grid", workers=2)
    finally:
        killer.join()
    assert killed
    same_board(result.folder, whole.folder)
    assert [trial.status for trial in read_trials(result.folder)] == ["completed"] * 6


def test_cluster_that_is_not_there_is_said(search):
    with pytest.raises(ArgumentError, match=r"Expected a Ray cluster at '127.0.0.1:1'"):
        search(strategy="grid", ray_address="127.0.0.1:1")
