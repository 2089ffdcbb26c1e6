"""Options that several commands share: what each is derived from, and the few written by hand."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.signatures import Option, merged, read_options

IMAGES = "Images"
TRAINING = "Training"

Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="Image folder, or a TFDS name as tfds:NAME. May stand in the file of --config.",
        show_default=False,
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        help="Width of the MobileNet families, short for --backbone-options alpha=WIDTH.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with any of these options, by their names in Python, such as the "
        "config.toml of a run. What is typed beats what the file says.",
        show_default=False,
    ),
]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Print where training could start and what it costs; stop."),
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard",
        help="Folder of logs for TensorBoard: losses, metrics and rate, and of a search its "
        "hyperparameters.",
        show_default=False,
    ),
]
MLflow = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="EXPERIMENT",
        help="Log settings, every epoch, model and report to this experiment of MLflow, once the "
        "run is over; MLFLOW_TRACKING_URI says where it is.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object at the end, and nothing else.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def loading_options(*without: str) -> tuple[Option, ...]:
    """The options of `load_data`, but for the images themselves."""
    return merged(
        read_options("finetune.data.load:load_data", IMAGES), without=("source", *without)
    )


def training_options(*without: str) -> tuple[Option, ...]:
    """The options of `FineTuner`."""
    options = read_options("finetune.api.fine_tuner:FineTuner", TRAINING)
    return merged(options, without=without)


def fixed(options: Iterable[Option]) -> tuple[Option, ...]:
    """The same options, of which nothing can be searched."""
    return tuple(replace(option, searchable=False) for option in options)


def with_alpha(given: dict, alpha: float | None) -> dict:
    """The options, with the width among those of the backbone."""
    if alpha is None:
        return given
    return {**given, "backbone_options": {**(given.get("backbone_options") or {}), "alpha": alpha}}


def with_tensorboard(given: dict, folder: Path | None) -> dict:
    """The options, with the callback that logs for TensorBoard."""
    if folder is None:
        return given
    import keras

    return {**given, "callbacks": [keras.callbacks.TensorBoard(str(folder))]}
