"""`finetune evaluate`: how good a saved model is on labelled images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli.derived import with_options
from finetune.cli.shared_options import loading_options
from finetune.cli.terminal import start_tensorflow

# How the images were resized, and what the task is, stands in the model.
_OPTIONS = tuple(
    option for option in loading_options() if option.name in ("data_dir", "memory_budget")
)


@with_options(_OPTIONS)
def evaluate(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    data: Annotated[str, typer.Argument(help="Image folder, or a TFDS name as tfds:NAME.")],
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    *,
    given: dict[str, Any],
) -> None:
    """Measure a saved model on labelled images."""
    start_tensorflow()
    from finetune.data import load_data
    from finetune.model import load

    tuned = load(model)
    images = load_data(
        data,
        image_size=tuned.card.image_size,
        resize=tuned.card.resize,
        download=False,
        **given,
    )
    print(tuned.evaluate(images, split))
