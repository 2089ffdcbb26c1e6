"""What is shown while training goes on."""

import io

from rich.console import Console

from finetune.training.progress import TrainingProgress, describe_epoch

LOGS = {"loss": 1.25, "accuracy": 0.5, "val_loss": 1.5, "val_accuracy": 0.25}


def show(**options):
    text = io.StringIO()
    progress = TrainingProgress(Console(file=text, **options))
    progress.start_phase("fine_tune", 2, 1)
    progress.on_epoch_end(1, LOGS)
    progress.on_epoch_end(2, LOGS)
    progress.end_phase()
    return text.getvalue()


def test_epochs_are_described_in_one_line():
    assert describe_epoch(LOGS) == "loss 1.2500 acc 0.500 | val loss 1.5000 acc 0.250"
    assert describe_epoch({"loss": 2.0, "mae": 1.0}) == "loss 2.0000 mae 1.000"
    assert describe_epoch({}) == ""


def test_without_a_terminal_a_phase_is_one_line():
    assert show(width=120) == f"Fine-tuning: {describe_epoch(LOGS)}  0s\n"


def test_a_terminal_of_80_columns_shows_the_whole_line():
    shown = show(width=80, force_terminal=True, no_color=True)
    assert f"2/2 {describe_epoch(LOGS)}  0s" in shown


def test_a_phase_that_failed_leaves_no_bar_behind():
    text = io.StringIO()
    progress = TrainingProgress(Console(file=text, force_terminal=True))
    progress.start_phase("head", 2, 0)
    progress.end_phase()
    assert text.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back
