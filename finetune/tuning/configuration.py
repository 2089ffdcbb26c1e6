"""What a training was given, written out so that the same can be done again."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.backbones import UNSET
from finetune.data import ImageData
from finetune.support import write_config
from finetune.tuning.trainer import Trainer

# Where files may be named, to be found from another folder too.
_PATHS = ("data", "validation", "test", "data_dir", "backbone", "weights", "cache_dir")


CONFIG = "config.toml"


def write_arguments(
    folder: Path,
    trainer: Trainer,
    data: ImageData,
    command: str,
    further: Mapping[str, Any],
    *,
    name: str = CONFIG,
) -> None:
    """Write `config.toml`: all arguments of loading and training, defaults filled in.

    Args:
        folder: Run or study.
        trainer: Knows how it is trained.
        data: Knows how it was loaded.
        command: Name of the command that does the same again.
        further: Arguments that neither of them knows, or others in their place, by name.
        name: Of the file.

    Raises:
        StorageError: If it cannot be written.
    """
    loaded, own = data.arguments, trainer.arguments
    arguments = {
        "data": loaded.pop("source"),
        **loaded,
        **{name: value for name, value in own.items() if value is not UNSET},
        **further,
        "task": data.task,
    }
    if own["augment"] is None:
        arguments["augment"] = loaded["augment"]
    if own["image_size"] is None:
        height, width = data.image_size
        arguments["image_size"] = height if height == width else data.image_size
    if own["label_smoothing"] is None:
        arguments["label_smoothing"] = trainer.settings().smoothing(data.task)
    for path in _PATHS:
        arguments[path] = _absolute(arguments[path])
    # One seed in a file is that of everything.
    seeds = {loaded["seed"], own["seed"], further.get("seed", own["seed"])}
    write_config(
        folder / name,
        arguments,
        f"finetune {command} --config {name}",
        only_python=["seed"] if len(seeds) > 1 else [],
    )


def _absolute(value: Any) -> Any:
    if isinstance(value, (str, os.PathLike)) and os.path.exists(value):
        return os.path.abspath(value)
    return value
