"""Arguments as JSON can hold them, the same for the same value in another process."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import keras
import numpy as np
from keras_tuner.engine.hyperparameters import HyperParameter

from finetune.backbones import UNSET, looks_like_path, model_file
from finetune.reuse import NOT_COMPUTED, UnknownCode, code_of, identity
from finetune.support import as_text

log = logging.getLogger("finetune")


def describe(value: Any) -> Any:
    """An argument as JSON can hold it.

    What has a content of its own (a file, a layer, a model, a function) is a mapping: "of" is what
    people call it, "content" a digest that decides. A layer's configuration is there too.

    Args:
        value: Whatever an argument may be.

    Returns:
        Numbers, texts, lists and mappings; a tuple, which means a range, is {"pair": [...]}.

    Example:
        >>> describe([1e-5, 1e-3]), describe((1e-5, 1e-3))
        ([1e-05, 0.001], {'pair': [1e-05, 0.001]})
    """
    if value is UNSET:
        return "its own"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (str, os.PathLike)):
        text, file = as_text(os.fspath(value)), _file(value)
        return text if file is None else {"of": text, "content": _digest_of_file(file)}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, tuple):
        return {"pair": describe(list(value))}
    if isinstance(value, Mapping):
        return {str(name): describe(entry) for name, entry in value.items()}
    if isinstance(value, Sequence):
        return [describe(entry) for entry in value]
    if isinstance(value, HyperParameter):
        return value.get_config()
    if isinstance(value, keras.Model) and not isinstance(value, keras.Sequential):
        return {"of": value.name, "content": _digest_of_layer(value)}
    if isinstance(value, keras.Layer):
        config = _plain(value.get_config())
        return {"of": type(value).__name__, "config": config, "content": _digest_of_layer(value)}
    return _describe_object(value)


def _describe_object(value: Any) -> dict[str, Any]:
    """A schedule, a function, or another object that can be called."""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    config = _plain(value.get_config() if hasattr(value, "get_config") else _numbers(value))
    described: dict[str, Any] = {"of": name, "config": config}
    code = value if isinstance(value, (FunctionType, MethodType, partial)) else type(value)
    try:
        texts = code_of(code)
    except UnknownCode as unknown:
        log.info("Of %s only its settings are compared: %s.", name, unknown)
        return described
    digest = hashlib.sha256(repr((texts, config)).encode()).hexdigest()[:16]
    return {**described, "content": digest}


def _numbers(value: Any) -> dict[str, Any]:
    """The public numbers and words of an object: as much as can be told of any.

    Not places, such as the folder that a callback logs to.
    """
    known = vars(value) if hasattr(value, "__dict__") else {}
    return {
        name: entry
        for name, entry in sorted(known.items())
        if not name.startswith("_")
        and (isinstance(entry, (int, float)) or (isinstance(entry, str) and os.sep not in entry))
    }


def _file(value: str | os.PathLike[str]) -> Path | None:
    """The file that is meant, which may be the model of a run folder; None where there is none.

    A file that is called like a choice, such as "adam", is not what was meant.
    """
    if isinstance(value, str) and not (Path(value).suffix or looks_like_path(value)):
        return None
    file = model_file(value)
    return file if os.path.isfile(file) else None


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _digest_of_layer(layer: keras.Layer) -> str:
    """Digest of what a layer or model computes; of its weights alone where that is not known."""
    weights = layer.get_weights()
    found = identity([layer], weights, frozen=False)
    return found.name if found.lasting else identity([], weights, frozen=False).name


def _plain(config: Any) -> Any:
    """A configuration as people read it, without what Keras adds when it is used."""
    if isinstance(config, (list, tuple)):
        return [_plain(entry) for entry in config]
    if not isinstance(config, Mapping):
        return describe(config)
    if "layers" in config:
        # A Sequential gets an input when it is first called.
        layers = [one for one in config["layers"] if one["class_name"] != "InputLayer"]
        config = {**config, "layers": layers}
    return {str(key): _plain(entry) for key, entry in config.items() if key not in NOT_COMPUTED}
