"""What is shown while a search runs: trials done, the best so far, time left."""

from rich.console import Console
from rich.progress import Progress, TextColumn

from finetune.search.ranking import Ranked
from finetune.search.trials import Outcome, Trial
from finetune.support import format_seconds, new_bar, start_bar, stop_bar
from finetune.training import describe_validation


class SearchDisplay:
    """A bar on a terminal; elsewhere a line a trial.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def start(self) -> None:
        """Show that it begins."""
        if self._console.is_terminal and not self._console.quiet:
            self._bar = bar = new_bar(
                self._console,
                TextColumn("Search"),
                TextColumn("{task.completed:.0f}{task.fields[of]}  {task.fields[text]}"),
                beside=52,
                transient=True,
            )
            task = self._task = bar.add_task("", total=None, of="", text="training the head")
            start_bar(bar, lambda text: bar.update(task, text=text))

    def done(
        self,
        trial: Trial,
        outcome: Outcome,
        best: Ranked | None,
        over: int,
        total: int | None,
        left: float | None,
    ) -> None:
        """Show a job that has ended.

        Args:
            trial: Whose it was.
            outcome: What became of it.
            best: The best trial so far.
            over: Number of jobs that have ended.
            total: Number of jobs in all, where that is known.
            left: Seconds that are left, where that is known.
        """
        of = f"/{total}" if total else ""
        if outcome.score is None:
            told = "failed: " + (outcome.error or "").strip().splitlines()[-1][:120]
        else:
            told = f"{describe_validation(outcome.metrics)} after {outcome.epochs} epochs"
        rate = trial.values.get("learning_rate")
        what = f"frozen {outcome.freeze_depth} ({outcome.block})" if outcome.block else ""
        parts = [what, f"rate {rate:.1e}" if rate is not None else "", told]
        again = f" seed {trial.execution}" if trial.execution else ""
        line = f"{over}{of} trial {trial.trial}{again}: " + ", ".join(filter(None, parts))
        ends = f", {format_seconds(left)} left" if left else ""
        self._console.print(line)
        if self._bar is not None:
            text = f"best {best.score:.3f} (trial {best.trial.trial})" if best else ""
            self._bar.update(self._task, completed=over, total=total, of=of, text=text + ends)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            stop_bar(self._bar)
            self._bar = None
