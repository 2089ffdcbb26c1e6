"""What decides the outcome of a training: all arguments but a few, so that none is forgotten."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from finetune.backbones import find_name
from finetune.data import ImageData
from finetune.exceptions import UnknownBackboneError
from finetune.training import policy_name
from finetune.tuning.descriptions import describe
from finetune.tuning.inputs import pair
from finetune.tuning.trainer import Trainer

# Arguments of `FineTuner` that decide no result, and why.
NOT_OF_TUNER = {
    "cache_budget": "how much memory is taken",
    "cache_dir": "where features are kept",
    "refit": "done when all trainings are over",
    "calibrate": "likewise",
    "deterministic": "how exactly the same comes out again",
}

# The same for `load_data`.
NOT_OF_DATA = {
    "source": "the fingerprint tells which images they are",
    "calibration": "likewise, and which of them are set aside",
    "augment": "stands with FineTuner's own, which takes its place",
    "fixes": "the fingerprint tells which images and labels there are then",
    "strict": "either there are the same images, or none",
    "data_dir": "where images lie",
    "download": "how they come there",
    "memory_budget": "how much memory is taken",
}


def deciding(trainer: Trainer, data: ImageData, epochs: int) -> dict[str, Any]:
    """All that decides how trials with given hyperparameters are trained, as JSON can hold it.

    Args:
        trainer: Trains them.
        data: The images.
        epochs: Epochs of the second phase, in the place of the trainer's own.

    Returns:
        "FineTuner" and "load_data", their arguments by name, and "images", the fingerprint.
        Defaults are spelled out: whoever gives them by hand, or leaves them out, means the same.
    """
    given = {
        name: describe(value)
        for name, value in trainer.arguments.items()
        if name not in NOT_OF_TUNER
    }
    loaded: dict[str, Any] = {
        name: describe(value)
        for name, value in {**data.arguments, **_loaded(data)}.items()
        if name not in NOT_OF_DATA
    }
    tuner = spelled_out(given, trainer, data)
    return {
        "FineTuner": {**tuner, "epochs": epochs},
        "load_data": loaded,
        "images": data.fingerprint,
    }


def spelled_out(given: Mapping[str, Any], trainer: Trainer, data: ImageData) -> dict[str, Any]:
    """Arguments of `FineTuner`, described, with what they mean for these images.

    Args:
        given: As they were given, whichever `FineTuner` that was.
        trainer: Knows the backbone.
        data: Knows what was left to the data.

    Returns:
        The same names; the values without whatever means the same as another.
    """
    settings = trainer.settings()
    told = {
        "image_size": describe(data.image_size),
        "task": data.task,
        "num_classes": trainer.outputs,
        "label_smoothing": replace(settings, label_smoothing=None).smoothing(data.task),
        "augment": describe(data.augmentation),
        "reuse": bool(data.splits),
    }
    values: dict[str, Any] = {
        name: told.get(name) if value is None or (name, value) == ("reuse", "auto") else value
        for name, value in given.items()
    }
    if isinstance(values["image_size"], int):
        values["image_size"] = describe(pair(values["image_size"]))
    if not isinstance(values["mixed_precision"], list):
        values["mixed_precision"] = policy_name(values["mixed_precision"])
    if values["augment"] is None:
        values["augment"] = "none"
    values["backbone"] = _each(_backbone_name, values["backbone"])
    values["optimizer"] = _each(_lower, values["optimizer"])
    if not isinstance(values["freeze_depth"], dict):  # a range, or a hyperparameter
        values["freeze_depth"] = trainer.depth_space(settings, values["freeze_depth"])
    return values


def _each(name_of: Callable[[Any], Any], value: Any) -> Any:
    """One name, or all of a choice."""
    return [name_of(entry) for entry in value] if isinstance(value, list) else name_of(value)


def _backbone_name(value: Any) -> Any:
    """The one name of an architecture, of which there are many spellings."""
    if isinstance(value, str):
        with suppress(UnknownBackboneError):  # a path
            return find_name(value)
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _loaded(data: ImageData) -> dict[str, Any]:
    """What loading made of its arguments."""
    given = data.arguments
    shares = {
        name: given[name] if isinstance(given[name], (float, int, type(None))) else "another source"
        for name in ("validation", "test")
    }
    return {
        **shares,
        "image_size": data.image_size,
        "seed": data.seed,  # that of the split is told by the fingerprint
        "task": data.task,
        "class_names": list(data.class_names),
    }
