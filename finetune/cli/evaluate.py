"""`finetune evaluate`: how good a saved model is on labelled images."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli.derived import with_options
from finetune.cli.shared_options import loading_options
from finetune.cli.terminal import notes, say, start_tensorflow

# How the images were resized, and what the task is, stands in the model.
_OPTIONS = tuple(
    option for option in loading_options() if option.name in ("data_dir", "memory_budget")
)


@with_options(_OPTIONS)
def evaluate(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    data: Annotated[str, typer.Argument(help="Image folder, or a TFDS name as tfds:NAME.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="train, validation or test: that part of the data, or the images among them that "
            "the model was trained on, validated with or tested on. Default: the test part, else "
            "all.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Measure a saved model on labelled images."""
    start_tensorflow()
    from finetune.model import load

    with notes(as_json):
        found = load(model).evaluate(data, split, download=False, **given)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    say(found)
    if found.classes:
        say("")
        say(found.table)
