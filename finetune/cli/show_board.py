"""`finetune board`: the trials of a search, also while it runs."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli.terminal import notes, say, start_tensorflow
from finetune.support import as_csv


def show_board(
    study: Annotated[Path, typer.Argument(help="Folder that `finetune search --out` made.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="A list of trials, the best first.")
    ] = False,
    as_table: Annotated[
        bool, typer.Option("--csv", help="A table of trials, the best first, for a spreadsheet.")
    ] = False,
) -> None:
    """Show the trials of a search, also while it runs."""
    start_tensorflow()
    with notes(as_json or as_table):
        from finetune.report import BEST_TRIAL
        from finetune.search import board_rows, error_lines, rank, read_monitor, read_trials, render

        trials = read_trials(study)
        monitor = read_monitor(study)
        ranking = rank(trials, monitor)
        if as_json:
            print(json.dumps(board_rows(ranking), indent=2))
            return
        if as_table:
            print(as_csv([_flat(row) for row in board_rows(ranking)]), end="")
            return
        if not ranking:
            say("No trial has begun yet.")
            return
        say(partial(render, ranking, monitor))
        for line in error_lines(ranking):
            say(line)
        alone = study / BEST_TRIAL
        if alone.exists():
            say(f"The best trial alone: finetune fit --config {alone}")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of plain values: a column for each hyperparameter and each end of an interval."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "hyperparameters":
            flat |= value
        elif name.endswith("interval"):
            flat[f"{name}_low"], flat[f"{name}_high"] = value or (None, None)
        elif name != "error":  # a traceback is no cell
            flat[name] = value
    return flat
