"""What is shown while training goes on."""

import io

from rich.console import Console

from finetune.training.progress import TrainingProgress, describe_epoch
from finetune.training.records import TrainingRecord

LOGS = {"loss": 1.25, "accuracy": 0.5, "val_loss": 1.5, "val_accuracy": 0.25}


def epochs(phase, *accuracies):
    """Rows of a record, whose losses do not tell one from another."""
    return [
        {"phase": phase, "epoch": number, **LOGS, "val_accuracy": accuracy}
        for number, accuracy in enumerate(accuracies, start=1)
    ]


def show(record, of, **options):
    """What is shown of the last phase of a record, which could have had so many epochs."""
    text = io.StringIO()
    progress = TrainingProgress(Console(file=text, **options))
    phase = record.epochs[-1]["phase"]
    rows = record.phase(phase)
    first = len(record.epochs) - len(rows)
    progress.start_phase(phase, of, first)
    for row in rows:
        progress.on_epoch_end(first + row["epoch"] - 1, row)
    progress.end_phase(record)
    return text.getvalue()


def test_epochs_are_described_in_one_line():
    assert describe_epoch(LOGS) == "loss 1.2500 acc 0.500 | val loss 1.5000 acc 0.250"
    assert describe_epoch({"loss": 2.0, "mae": 1.0}) == "loss 2.0000 mae 1.000"
    assert describe_epoch({}) == ""


def test_a_phase_ends_with_its_best_epoch_and_not_with_its_last():
    record = TrainingRecord(
        epochs("head", 0.25, 0.75, 0.5), best=1, finished=True, monitor="val_accuracy"
    )
    assert show(record, of=3) == "Head 3/3: val loss 1.5000 acc 0.750 (epoch 2)  0s\n"


def test_a_phase_that_ended_before_its_epochs_says_so():
    record = TrainingRecord(
        epochs("head", 0.25, 0.75, 0.5), best=1, finished=True, monitor="val_accuracy"
    )
    shown = show(record, of=60)
    assert shown == "Head 3/60: val loss 1.5000 acc 0.750 (epoch 2, early stop)  0s\n"


def test_fine_tuning_that_did_not_beat_the_head_says_that_the_head_is_kept():
    rows = [*epochs("head", 0.75), *epochs("fine_tune", 0.25, 0.5)]
    shown = show(TrainingRecord(rows, best=0, finished=True, monitor="val_accuracy"), of=2)
    assert shown == "Fine-tuning 2/2: val loss 1.5000 acc 0.500 (epoch 2, head kept)  0s\n"


def test_a_terminal_of_80_columns_shows_the_whole_line():
    rows = [*epochs("head", 0.75), *epochs("fine_tune", 0.25, 0.5)]
    record = TrainingRecord(rows, best=0, finished=True, monitor="val_accuracy")
    shown = show(record, of=2, width=80, force_terminal=True, no_color=True)
    assert "2/2 val loss 1.5000 acc 0.500 (epoch 2, head kept)  0s\n" in shown


def test_a_phase_that_failed_leaves_no_bar_behind():
    text = io.StringIO()
    progress = TrainingProgress(Console(file=text, force_terminal=True))
    progress.start_phase("head", 2, 0)
    progress.end_phase(TrainingRecord())
    assert text.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_a_narrow_terminal_shows_the_validation_images_alone():
    console = Console(file=io.StringIO(), width=60, force_terminal=True, no_color=True)
    progress = TrainingProgress(console)
    progress.start_phase("fine_tune", 3, 0)
    progress.on_epoch_end(0, LOGS)
    progress._bar.refresh()
    progress.end_phase(TrainingRecord())
    shown = console.file.getvalue()
    assert "1/3 val loss 1.5000 acc 0.250  0s left" in shown
    assert "loss 1.2500" not in shown and "..." not in shown


def test_a_head_that_was_solved_is_done():
    rows = [{"phase": "head", "epoch": 1, "learning_rate": 0.0, **LOGS}]
    shown = show(
        TrainingRecord(rows, best=0, finished=True, monitor="val_loss"),
        of=1,
        width=80,
        force_terminal=True,
        no_color=True,
    )
    assert "1/1 val loss 1.5000 acc 0.250 (solved)" in shown
