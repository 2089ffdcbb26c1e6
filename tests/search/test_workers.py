"""Trials as Ray tasks: the same board, and nobody who dies costs a trial."""

from pathlib import Path

import pytest
import tensorflow as tf

import mortal
from extras import require
from finetune.exceptions import ArgumentError
from finetune.search import workers
from finetune.search.runner import Work
from finetune.search.study import read_trials
from finetune.search.trials import Job
from finetune.search.workers import RayWorkers

# Workers do not know where tests lie: these callbacks travel as code.
require("ray").cloudpickle.register_pickle_by_value(mortal)

# Ray leaves sockets and files to its own processes, which it does not wait for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.thorough
def test_board_of_two_workers_is_that_of_one_process_though_a_worker_is_killed(
    search, same_board, tmp_path: Path
):
    # Each trial of a worker is a process of its own, which has to load TensorFlow.
    grid = {"strategy": "grid", "max_trials": 3}
    whole = search(**grid, out=tmp_path / "whole")
    died = tmp_path / "died"
    result = search(**grid, workers=2, callbacks=[mortal.DiesOnce(died)])
    assert died.exists()
    same_board(result.folder, whole.folder)
    assert [trial.status for trial in read_trials(result.folder)] == ["completed"] * 3


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_given_up(tuner, data, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(workers, "RETRIES", 1)  # instead of 3: each starts a process
    values = {"freeze_depth": 10, "learning_rate": 1e-3}
    work = Work(tuner.trainer, data, tmp_path, 1, (mortal.AlwaysDies(),))
    ray_workers = RayWorkers(work, count=1, address=None, gpus=None)
    try:
        ray_workers.submit(Job("0000", values), None)
        job, outcome = ray_workers.wait()
    finally:
        ray_workers.close()
    assert job.trial == "0000"
    assert outcome.score is None and not outcome.out_of_memory
    assert outcome.error == (
        "WorkerCrashedError: the process that ran this was lost 2 times, which the job itself may "
        "have done: a crash, or memory that ran short. Train it alone, with workers=1, to see what "
        "it says."
    )


def test_cluster_that_is_not_there_is_said(search):
    with pytest.raises(ArgumentError, match=r"Expected a Ray cluster at '127.0.0.1:1'"):
        search(strategy="grid", ray_address="127.0.0.1:1")


def test_the_process_that_decides_leaves_the_gpus_to_the_workers(monkeypatch, caplog):
    # There may be none on this machine: what TensorFlow is asked for is looked at.
    hidden = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0"])
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: hidden.append((devices, kind))
    )
    with caplog.at_level("INFO", logger="finetune"):
        workers.leave_gpus_to_workers()
    assert hidden == [([], "GPU")]
    assert caplog.messages == [
        "The workers have the GPUs; this process uses the CPU from now on. To train on a GPU here "
        "later, begin a new process."
    ]
