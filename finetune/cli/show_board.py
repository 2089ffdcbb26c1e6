"""`finetune board`: the trials of a search, also while it runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import notes


def show_board(
    study: Annotated[Path, typer.Argument(help="Folder that `finetune search --out` made.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="A list of trials, the best first.")
    ] = False,
) -> None:
    """Show the trials of a search, also while it runs."""
    with notes(as_json):
        from finetune.search import board_rows, error_lines, rank, read_monitor, read_trials, render

        trials = read_trials(study)
        monitor = read_monitor(study)
        ranking = rank(trials, monitor)
        if as_json:
            print(json.dumps(board_rows(ranking), indent=2))
            return
        if not ranking:
            print("No trial has begun yet.")
            return
        print(render(ranking, monitor))
        for line in error_lines(ranking):
            print(line)
