"""`finetune report`: the page that shows a run or a search, made anew; or one about two."""

from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import start_tensorflow


def report(
    run: Annotated[
        Path,
        typer.Argument(help="Folder that `finetune fit --out` or `finetune search --out` made."),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(help="Another one, to be compared with it.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write about two of them.")] = Path(
        "comparison.html"
    ),
) -> None:
    """Make report.html of a run or a search anew, or compare two on the same images."""
    start_tensorflow()
    from finetune.report import compare_runs, make_report
    from finetune.search import report_study
    from finetune.support import STUDY

    if other is not None:
        print(compare_runs(run, other, out))
        print(out)
        return
    study = (run / STUDY).exists()
    print(report_study(run) if study else make_report(run))
