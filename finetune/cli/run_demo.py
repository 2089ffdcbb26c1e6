"""`finetune demo`: a search on handwritten digits that needs no network."""

from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import start_tensorflow


def run_demo(
    out: Annotated[Path | None, typer.Option(help="Folder. Default: runs/demo.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the digits and of the search.")] = 0,
) -> None:
    """Search freeze depth and learning rate on real handwritten digits; needs no network."""
    start_tensorflow()
    from finetune.cli.demo.demo_search import run_demo

    run_demo(out or Path("runs") / "demo", seed=seed)
