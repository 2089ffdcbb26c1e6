"""What a search deals in, as plain data: jobs, their outcomes, and trials."""

from dataclasses import dataclass, field
from typing import Any

from finetune.support import AnyFloat

RUNNING = "running"
PAUSED = "paused"
COMPLETED = "completed"
PRUNED = "pruned"
FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """Something to train: a trial, up to an epoch.

    Args:
        trial: Number of the trial, as "0003".
        values: Its hyperparameters by name.
        until: Epochs of the second phase to have trained then; None for all.
        execution: Counts the seeds that the same values are trained with, from 0.
        after: Trial whose state is the start, if there is no own one yet.
        batch_size: Images in a batch; None for the data's own.
        known: Whether its values were not drawn, but are known to do well.
    """

    trial: str
    values: dict[str, Any]
    until: int | None = None
    execution: int = 0
    after: str | None = None
    batch_size: int | None = None
    known: bool = False

    @property
    def name(self) -> str:
        """Names the files of this trial and execution."""
        return f"{self.trial}-{self.execution}" if self.execution else self.trial


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        metrics: Loss and metrics of the best epoch so far; empty where training failed.
        score: The one of them that decides; None where training failed.
        lowest_loss: Lowest validation loss of an epoch of the second phase, or of the head where
            there was none; None where training failed.
        epochs: Epochs of the second phase that were trained in all.
        finished: Whether nothing is left to train.
        seconds: Wall time of this job.
        n: Number of validation images.
        freeze_depth: Number of frozen layers.
        block: What that means in words, such as the block it reaches up to.
        epoch_seconds: Median wall time of the epochs of the second phase.
        batch_size: Images in a batch.
        error: The traceback, where training failed.
        cut: Whether the job was stopped before its end, to be taken up again.
        out_of_memory: Whether it failed because memory was short.
        history: Every epoch so far, as `TrainingRecord.epochs` has it; empty in studies that were
            begun before it was kept.
        head_kept: Whether the best epoch is one of the head phase: what was trained after it has
            not become better.
    """

    metrics: dict[str, AnyFloat] = field(default_factory=dict)
    score: float | None = None
    lowest_loss: float | None = None
    epochs: int = 0
    finished: bool = False
    seconds: float = 0.0
    n: int = 0
    freeze_depth: int | None = None
    block: str = ""
    epoch_seconds: float | None = None
    batch_size: int | None = None
    error: str | None = None
    cut: bool = False
    out_of_memory: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    head_kept: bool = False


@dataclass(frozen=True)
class KeptWeights:
    """What the file of a trial's weights says of them.

    Args:
        trial: Name of the trial, see `Trial.name`.
        epochs: Epochs of the second phase that it was trained for; None in files of version 0.1.0.
    """

    trial: str
    epochs: int | None = None


@dataclass
class Step:
    """A job of a trial as the study remembers it.

    Args:
        until: See `Job`.
        asked: Place in the order of all events of the study at which it was given out.
        told: Place at which its outcome came; None while there is none.
        outcome: What became of it.
        clock: Seconds that the search had taken then, all its runs together.
    """

    until: int | None
    asked: int
    told: int | None = None
    outcome: Outcome | None = None
    clock: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.outcome is not None and not self.outcome.cut


@dataclass
class Trial:
    """One choice of hyperparameters under one seed.

    Args:
        trial: Number, as "0003".
        values: Hyperparameters by name.
        execution: Counts the seeds, from 0.
        after: See `Job`.
        batch_size: See `Job`.
        out_of_memory: Size of the batches that memory was too short for, where it was.
        status: "running", "paused", "completed", "pruned" or "failed".
        same_as: Trial with the same values, whose outcome was taken over.
        steps: Its jobs.
        digest: Of the study's arguments and its own values; None in files of version 0.1.0.
        known: See `Job`.
    """

    trial: str
    values: dict[str, Any]
    execution: int = 0
    after: str | None = None
    batch_size: int | None = None
    out_of_memory: int | None = None
    status: str = RUNNING
    same_as: str | None = None
    steps: list[Step] = field(default_factory=list)
    digest: str | None = None
    known: bool = False

    @property
    def name(self) -> str:
        """Names the files of this trial and execution."""
        return self.job(None).name

    @property
    def outcome(self) -> Outcome | None:
        """The last outcome, if there is any."""
        return next((step.outcome for step in reversed(self.steps) if step.outcome), None)

    @property
    def seconds(self) -> float:
        """Wall time of all its jobs."""
        return sum(step.outcome.seconds for step in self.steps if step.outcome)

    @property
    def remark(self) -> str:
        """What is to be known when it is compared with others; empty where nothing is."""
        remarks = []
        if self.outcome is not None and self.outcome.head_kept and self.outcome.epochs:
            remarks.append("head kept")
        if self.out_of_memory is not None and self.batch_size is not None:
            remarks.append(f"batch {self.batch_size}, out of memory at {self.out_of_memory}")
        return "; ".join(remarks)

    def job(self, until: int | None) -> Job:
        """The job that trains this trial up to an epoch."""
        own = (self.trial, self.values, until, self.execution, self.after, self.batch_size)
        return Job(*own, self.known)

    def step(self, until: int | None) -> Step | None:
        """What is remembered of a job."""
        return next((step for step in self.steps if step.until == until), None)
