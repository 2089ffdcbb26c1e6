"""`finetune report`: the page that shows a run or a search, made anew from its folder."""

from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import start_tensorflow


def report(
    run: Annotated[
        Path,
        typer.Argument(help="Folder that `finetune fit --out` or `finetune search --out` made."),
    ],
) -> None:
    """Make report.html of a run or a search anew, from its folder alone."""
    start_tensorflow()
    from finetune.report import make_report
    from finetune.search import report_study
    from finetune.support import STUDY

    study = (run / STUDY).exists()
    print(report_study(run) if study else make_report(run))
