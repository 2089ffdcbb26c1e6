"""Where jobs run: in this process, or as Ray tasks on one machine or many."""

import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from finetune.exceptions import ArgumentError, FineTuneError, StorageError
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


# Times that a job is begun again after the process or machine that ran it was lost: what kills its
# process each time would do so for ever.
RETRIES = 3


@dataclass
class _Task:
    """A call that a worker is to make for a job.

    Args:
        call: The Ray function.
        job: The job.
        end: Monotonic time at which it has to stop; None for never.
        deaths: Workers that were lost while they ran it.
    """

    call: Any
    job: Job
    end: float | None = None
    deaths: int = 0


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
        key = f"{folder}/{os.getpid()}/{time.time()}"
        machines = sum(node["Alive"] for node in ray.nodes())
        place = _Place(key, threads=each, neighbours=math.ceil(count / machines))
        self._arguments = ray.put(replace(work, folder=folder)), place
        self._batch_size = work.data.batch_size
        # Ray's own retries know no bound where memory was short.
        options = {"num_cpus": each, "num_gpus": gpus, "max_retries": 0}
        self._run = ray.remote(**options)(_run)
        self._measure = ray.remote(**options)(_measure)
        self._tasks: dict[Any, _Task] = {}

    def submit(self, job: Job, seconds: float | None) -> None:
        """Give a job to the next worker that is free."""
        end = None if seconds is None else time.monotonic() + seconds
        self._begin(_Task(self._run, job, end))

    def wait(self) -> tuple[Job, Outcome]:
        """Wait for any of them."""
        task, result = self._next()
        if isinstance(result, StorageError):
            raise result
        if isinstance(result, Exception):
            result = self._failure(task, result)
        return task.job, result

    def measure(self, jobs: Sequence[Job], seconds: float | None) -> list[float]:
        """Measure them on the workers."""
        end = None if seconds is None else time.monotonic() + seconds
        for job in jobs:
            self._begin(_Task(self._measure, job, end))
        measured = {}
        for _ in jobs:
            task, result = self._next()
            if isinstance(result, FineTuneError):
                raise result
            if isinstance(result, Exception):
                log.warning("An epoch could not be measured: %s", self._failure(task, result).error)
                result = 0.0
            measured[id(task.job)] = result
        return [measured[id(job)] for job in jobs]

    def close(self) -> None:
        """Cancel what is under way."""
        for reference in self._tasks:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._tasks.clear()
        if self._own:
            self._ray.shutdown()

    def _begin(self, task: _Task) -> None:
        seconds = None if task.end is None else task.end - time.monotonic()
        self._tasks[task.call.remote(*self._arguments, task.job, seconds)] = task

    def _next(self) -> tuple[_Task, Any]:
        """The next task that is over, with its result or with why there is none."""
        while True:
            (reference,), _ = self._ray.wait(list(self._tasks), num_returns=1)
            task = self._tasks.pop(reference)
            try:
                return task, self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                return task, error.cause if isinstance(error.cause, FineTuneError) else error
            except self._ray.exceptions.RayError as error:
                if not isinstance(error, self._lost()) or task.deaths == RETRIES:
                    return task, error
                task.deaths += 1
                log.info("Job %s lost its worker, and is begun again.", task.job.name)
                self._begin(task)

    def _lost(self) -> tuple[type[Exception], ...]:
        """What Ray raises where a process or machine is gone, through no fault of the job's."""
        errors = self._ray.exceptions
        return errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError

    def _failure(self, task: _Task, error: Exception) -> Outcome:
        """What became of a job that has no outcome of its own."""
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            size = task.job.batch_size or self._batch_size
            return Outcome(error=str(error), out_of_memory=True, batch_size=size)
        if isinstance(error, self._lost()):
            told = (
                f"{type(error).__name__}: the process that ran this was lost {task.deaths + 1} "
                "times, which the job itself may have done: a crash, or memory that ran short. "
                "Train it alone, with workers=1, to see what it says."
            )
            return Outcome(error=told)
        return Outcome(error=f"{type(error).__name__}: {error}")


def leave_gpus_to_workers() -> None:
    """Keep this process, which only decides what is tried, off the GPUs that others train on."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return
    try:
        tf.config.set_visible_devices([], "GPU")
        log.info(
            "The workers have the GPUs; this process uses the CPU from now on. To train on a GPU "
            "here later, begin a new process."
        )
    except RuntimeError:
        log.info("This process has used a GPU before, and goes on holding what it took of it.")


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


@dataclass(frozen=True)
class _Place:
    """Where a worker is.

    Args:
        key: Names the search that it works for.
        threads: Cores that it has.
        neighbours: Workers of the search on one machine, itself included; they share its memory.
    """

    key: str
    threads: int
    neighbours: int


def _runner(work: Work, place: _Place) -> Runner:
    if place.key not in _RUNNERS:
        import tensorflow as tf

        # Else the trainer has set it to one already, as it was unpacked here.
        several = not work.trainer.arguments["deterministic"]
        with contextlib.suppress(RuntimeError):  # this process has trained before
            if several:
                tf.config.threading.set_intra_op_parallelism_threads(place.threads)
            tf.config.threading.set_inter_op_parallelism_threads(place.threads)
        work.trainer.share_memory(place.neighbours)
        _RUNNERS.clear()
        _RUNNERS[place.key] = Runner(work)
    return _RUNNERS[place.key]


def _run(work: Work, place: _Place, job: Job, seconds: float | None) -> Outcome:
    return _runner(work, place).run(job, seconds=seconds)


def _measure(work: Work, place: _Place, job: Job, seconds: float | None) -> float:
    return _runner(work, place).measure(job, seconds=seconds)
