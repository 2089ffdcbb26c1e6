"""`finetune lr-find`: which learning rates the second phase can use."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli.derived import with_options
from finetune.cli.shared_options import (
    Alpha,
    fixed,
    loading_options,
    training_options,
    with_alpha,
)
from finetune.cli.signatures import merged, read_options
from finetune.cli.terminal import notes, start_tensorflow

_TEST = merged(
    read_options("finetune.api.learning_rates:find_learning_rate", "The test"),
    without=("tuner", "data"),
)
# The test sets the rate of every step itself.
_RATES = ("learning_rate", "schedule", "warm_up", "epochs", "patience")
_LOADING = loading_options("image_size", "seed", "task")
_OPTIONS = merged(_TEST, _LOADING, fixed(training_options("augment", *_RATES)))


@with_options(_OPTIONS)
def find_rate(
    data: Annotated[str, typer.Argument(help="Image folder, or a TFDS name as tfds:NAME.")],
    alpha: Alpha = None,
    out: Annotated[Path | None, typer.Option(help="Draw the losses to this image file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: rates, losses, suggestions.")
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Suggest a learning rate: train some steps with a growing one, see where the loss falls."""
    with notes(as_json):
        start_tensorflow(deterministic=given.get("deterministic", False))
        from finetune.api import FineTuner, find_learning_rate
        from finetune.data import load_data
        from finetune.tuning import FREEZE_DEPTH

        options = {"freeze_depth": FREEZE_DEPTH, **with_alpha(given, alpha)}
        test, loading = (
            {option.name: options.pop(option.name) for option in group if option.name in options}
            for group in (_TEST, _LOADING)
        )
        tuner = FineTuner(**options)
        both = {name: options[name] for name in ("seed", "task") if name in options}
        size = tuner.trainer.shared(tuner.trainer.settings()).backbone.image_size
        images = load_data(data, image_size=size, **loading, **both)
        found = find_learning_rate(tuner, images, **test)
        if out is not None:
            found.plot(out)
        print(json.dumps(asdict(found)) if as_json else found)
