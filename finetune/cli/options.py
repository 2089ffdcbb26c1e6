"""Options that several commands share."""

from typing import Annotated

import typer

DATA = "Images"

Data = Annotated[str, typer.Argument(help="Image folder, or a TFDS name as tfds:NAME.")]
Alpha = Annotated[float | None, typer.Option(help="Width of the MobileNet families.")]
Weights = Annotated[str, typer.Option(help="imagenet, a weights file, or none.")]
Preprocess = Annotated[
    str | None, typer.Option(help="For a .keras file: tf, torch, caffe or none.")
]
BatchSize = Annotated[int, typer.Option(rich_help_panel=DATA)]
Validation = Annotated[
    float, typer.Option(help="Share split off, where none is given.", rich_help_panel=DATA)
]
Resize = Annotated[str, typer.Option(help="pad, crop, squash", rich_help_panel=DATA)]
Strict = Annotated[
    bool, typer.Option("--strict", help="Unreadable images are errors.", rich_help_panel=DATA)
]
DataDir = Annotated[str | None, typer.Option(help="Prepared TFDS datasets.", rich_help_panel=DATA)]
Download = Annotated[bool, typer.Option(rich_help_panel=DATA)]
Seed = Annotated[int, typer.Option()]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
