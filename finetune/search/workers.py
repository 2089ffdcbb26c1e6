"""Where jobs run: in this process, or as Ray tasks on one machine or many."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from finetune.exceptions import ArgumentError, StorageError
from finetune.search.runner import Runner, Work
from finetune.search.trials import Job, Outcome

log = logging.getLogger("finetune")


class Workers(Protocol):
    """Runs jobs."""

    count: int

    def submit(self, job: Job, seconds: float | None) -> None:
        """Begin a job."""
        ...

    def wait(self) -> tuple[Job, Outcome]:
        """Wait for a job that was begun to end."""
        ...

    def measure(self, jobs: Sequence[Job], seconds: float | None) -> list[float]:
        """Seconds that an epoch of each job takes, 0 where that is not known in time."""
        ...

    def close(self) -> None:
        """Stop what is under way, and give back what was taken."""
        ...


class OwnProcess:
    """Runs one job at a time, here.

    Args:
        runner: Runs them.
    """

    count = 1

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._job: tuple[Job, float | None] | None = None

    def submit(self, job: Job, seconds: float | None) -> None:
        """Remember a job."""
        self._job = job, seconds

    def wait(self) -> tuple[Job, Outcome]:
        """Run it."""
        assert self._job is not None  # submit comes first
        job, seconds = self._job
        return job, self._runner.run(job, seconds=seconds)

    def measure(self, jobs: Sequence[Job], seconds: float | None) -> list[float]:
        """Measure them one after the other."""
        return [self._runner.measure(job, seconds=seconds) for job in jobs]

    def close(self) -> None:
        """Nothing was taken."""


# One runner for each search that this process has worked for: features, heads and compiled
# programs stay for the next job.
_RUNNERS: dict[str, Runner] = {}


class RayWorkers:
    """Runs jobs as Ray tasks; a worker or node that dies is replaced, and its job resumed.

    Args:
        work: What the jobs have in common. Its folder is on a disk that all nodes see; where one
            does not, a job that was under way there begins anew.
        count: Jobs at a time.
        address: Address of a cluster; None starts Ray on this machine.
        gpus: GPUs of each job; a fraction shares one.
    """

    def __init__(
        self,
        work: Work,
        *,
        count: int,
        address: str | None,
        gpus: float | None,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise ArgumentError(
                "Expected Ray to be installed for workers or ray_address. Install it with "
                "`pip install 'keras-finetuner[ray]'`."
            ) from error
        self._ray: Any = ray
        self.count = count
        self._own = not ray.is_initialized()
        if self._own:
            _start(ray, address)
        cores = ray.cluster_resources().get("CPU", 1)
        each = max(1, int(cores // count))
        if gpus is None:
            gpus = min(1.0, ray.cluster_resources().get("GPU", 0) / count)
        folder = work.folder.resolve()
        self._work = ray.put(replace(work, folder=folder))
        self._key = f"{folder}/{os.getpid()}/{time.time()}"
        # Tasks that are retried: whoever kills a worker or a node costs no trial.
        options = {"num_cpus": each, "num_gpus": gpus, "max_retries": -1}
        self._run = ray.remote(**options)(_run)
        self._measure = ray.remote(**options)(_measure)
        self._threads = each
        self._jobs: dict[Any, Job] = {}

    def submit(self, job: Job, seconds: float | None) -> None:
        """Give a job to the next worker that is free."""
        reference = self._run.remote(self._work, self._key, self._threads, job, seconds)
        self._jobs[reference] = job

    def wait(self) -> tuple[Job, Outcome]:
        """Wait for any of them."""
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1)
        job = self._jobs.pop(ready[0])
        try:
            return job, self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, StorageError):
                raise cause from error
            return job, Outcome(error=str(error))
        except self._ray.exceptions.RayError as error:
            return job, Outcome(error=f"{type(error).__name__}: {error}")

    def measure(self, jobs: Sequence[Job], seconds: float | None) -> list[float]:
        """Measure them on the workers."""
        arguments = self._work, self._key, self._threads
        return self._ray.get([self._measure.remote(*arguments, job, seconds) for job in jobs])

    def close(self) -> None:
        """Cancel what is under way."""
        for reference in self._jobs:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._jobs.clear()
        if self._own:
            self._ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    if address is not None and address.count(":") == 1:
        # Ray itself would go on trying for minutes.
        host, _, port = address.partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, ValueError) as error:
            raise _no_cluster(address, error) from error
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    if address is not None:
        del quiet["include_dashboard"]
    try:
        ray.init(address=address or "local", **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> ArgumentError:
    return ArgumentError(
        f"Expected a Ray cluster at {address!r}, but there is none: {error}. Start one with "
        "`ray start --head`, or leave ray_address out."
    )


def _runner(work: Work, key: str, threads: int) -> Runner:
    if key not in _RUNNERS:
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # this process has trained before
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        _RUNNERS.clear()
        _RUNNERS[key] = Runner(work)
    return _RUNNERS[key]


def _run(work: Work, key: str, threads: int, job: Job, seconds: float | None) -> Outcome:
    return _runner(work, key, threads).run(job, seconds=seconds)


def _measure(work: Work, key: str, threads: int, job: Job, seconds: float | None) -> float:
    return _runner(work, key, threads).measure(job, seconds=seconds)
