"""backbone="auto": the backbone that a comparison of what is on disk suggests."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from finetune.api.backbone_choice import compare_all
from finetune.api.contenders import contenders
from finetune.api.sized_images import SizedImages
from finetune.backbones import UNSET
from finetune.exceptions import ArgumentError
from finetune.tuning import Trainer

AUTO = "auto"

# What holds for every backbone that is compared.
_SHARED = ("seed", "cache_budget", "cache_dir", "cache_dtype")


def check_auto(arguments: Mapping[str, Any]) -> None:
    """Refuse what goes with one backbone, where none is named.

    Args:
        arguments: Of `FineTuner`.

    Raises:
        ArgumentError: If there is any.
    """
    if not is_auto(arguments):
        return
    for name, usual in (("weights", "imagenet"), ("backbone_options", None), ("preprocess", UNSET)):
        value = arguments[name]
        if value is not usual and value != usual:
            raise ArgumentError(
                f"Expected no {name} with backbone={AUTO!r}, which compares architectures with "
                f"their ImageNet weights; received {value!r}. Leave {name} out, or name a backbone."
            )


def is_auto(arguments: Mapping[str, Any]) -> bool:
    """Whether the backbone is left to a comparison."""
    return isinstance(arguments["backbone"], str) and arguments["backbone"] == AUTO


def with_backbone(
    trainer: Trainer, images: SizedImages, console: Console, before: Any = None
) -> Trainer:
    """A trainer with the backbone that is suggested; the same one where the user named it.

    Args:
        trainer: As the user asked for it.
        images: What it is to be trained on.
        console: Where a line says which backbone it is, and why.
        before: The backbone of the run that is gone on with, if any: how long an image takes is
            measured, so that another comparison could suggest another.

    Returns:
        The trainer to use.

    Raises:
        WeightsError: If no weights are on disk.
        DataError: If the images cannot be used.
    """
    if not is_auto(trainer.arguments):
        return trainer
    if isinstance(before, str):
        console.print(f"Backbone: {before}, which this run was begun with")
        return Trainer({**trainer.arguments, "backbone": before})
    size = trainer.arguments["image_size"]
    size = (size, size) if isinstance(size, int) else size
    if images.given is not None:
        size = size or images.given.image_size
        images = (
            SizedImages(images.given.at_size(size), {})
            if size != images.given.image_size
            else images
        )
    options = {name: trainer.arguments[name] for name in _SHARED}
    quiet = Console(quiet=True)
    found = compare_all(contenders(None, size), images, size, UNSET, options, quiet, tell=False)
    console.print(f"Backbone: {found.suggestion}")
    return Trainer({**trainer.arguments, **found.suggestion.arguments})
