"""The board as text."""

from dataclasses import replace

import pytest

from finetune.search.board import render
from finetune.search.ranking import rank
from finetune.search.trials import COMPLETED, FAILED, Outcome, Step, Trial
from finetune.support import text_width

VALUES = {
    "freeze_depth": 116,
    "learning_rate": 3e-4,
    "label_smoothing": 0.1,
    "augment": "light",
    "backbone": "EfficientNetV2B0",
    "weight_decay": 0.004,
    "optimizer": "[adamw]",  # no markup
}
GOOD = Outcome({"val_accuracy": 0.9}, 0.9, 0.4, 10, True, 41.6, 100, 116, "block_12")


def trial(number: str, values, status, outcome) -> Trial:
    return Trial(number, values, status=status, steps=[Step(None, 1, 2, outcome)])


@pytest.mark.parametrize("columns", ["40", "200"])
def test_nothing_is_cut_off_whatever_the_width_of_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    trials = [
        trial("0000", VALUES, COMPLETED, GOOD),
        trial("0001", VALUES, FAILED, Outcome(error="OSError: gone")),
    ]
    *_, first, second = render(rank(trials, "val_accuracy"), "val_accuracy").splitlines()
    cells = "1 0000 116 block_12 3.0e-04 light EfficientNetV2B0 0.1 [adamw] 0.004 10 0.900"
    assert first.split() == [*cells.split(), "[0.826,", "0.945]", "42", "completed"]
    assert second.split()[:2] == ["0001", "116"] and second.endswith("failed")


def test_a_rate_that_was_not_searched_has_no_column():
    values = {"freeze_depth": 116}
    text = render(rank([trial("0000", values, COMPLETED, GOOD)], "val_accuracy"), "val_accuracy")
    assert "rate" not in text


def test_a_row_says_where_its_training_did_not_improve_on_the_head():
    kept = replace(GOOD, head_kept=True)
    trials = [
        trial("0000", VALUES, COMPLETED, kept),
        trial("0001", VALUES, COMPLETED, replace(kept, epochs=0)),  # the head alone, as was asked
        trial("0002", VALUES, COMPLETED, GOOD),
    ]
    trials[0].batch_size, trials[0].out_of_memory = 16, 32
    rows = render(rank(trials, "val_accuracy"), "val_accuracy").splitlines()[-3:]
    ends = {row.split()[1]: row.partition("completed")[2].strip() for row in rows}
    assert ends == {"0000": "head kept; batch 16, out of memory at 32", "0001": "", "0002": ""}


def test_values_that_are_no_numbers_are_shown_as_they_are():
    values = {"freeze_depth": 116, "learning_rate": "fast"}
    text = render(rank([trial("0000", values, COMPLETED, GOOD)], "val_accuracy"), "val_accuracy")
    assert " fast " in text


@pytest.mark.parametrize(
    ("width", "heading"),
    [
        (200, "# trial frozen up to rate epochs accuracy [95%] s status"),
        (72, "# trial frozen up to rate accuracy [95%] status"),
        (50, "# trial frozen rate accuracy [95%]"),
    ],
)
def test_a_narrow_terminal_is_told_what_says_the_most(width, heading):
    values = {"freeze_depth": 116, "learning_rate": 3e-4}
    ranking = rank([trial("0000", values, COMPLETED, GOOD)], "val_accuracy")
    with text_width(width):
        lines = render(ranking, "val_accuracy").splitlines()
    assert " ".join(lines[0].split()) == heading
    assert max(map(len, lines)) <= width
    assert "0.900 [0.826, 0.945]" in lines[-1]
