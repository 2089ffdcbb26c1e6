"""`finetune export`: a model as files that run without this package."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli.derived import with_options
from finetune.cli.signatures import merged, read_options
from finetune.cli.terminal import notes, say, start_tensorflow, without_notes

OPTIONS = merged(
    read_options("finetune.export.exporting:export_model", "Options"), without=("model", "data")
)


@with_options(OPTIONS)
def write_export(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Images to try it on: an image folder, or a TFDS name as tfds:NAME; the test part "
            "is preferred. Default: those that the run names; else made-up ones.",
            show_default=False,
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Write a model for ONNX Runtime, TensorFlow Serving or LiteRT, and try it there."""
    start_tensorflow()
    from finetune.export import export_model

    with notes(quiet=False), without_notes():  # of LiteRT's converter
        export = export_model(model, data=data, **given)
    say(export)
