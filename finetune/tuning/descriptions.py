"""Arguments as JSON can hold them, the same for the same value in another process."""

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras_tuner.engine.hyperparameters import HyperParameter

from finetune.backbones import UNSET

# What Keras says of an object besides what it computes.
_ASIDE = {"name", "build_config", "compile_config", "build_input_shape", "trainable"}


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
        text = os.fspath(value)
        return {"of": text, "content": _digest_of_file(text)} if _is_file(text) else text
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
        config = _as_json(_plain(value.get_config(), {}))
        return {
            "of": type(value).__name__,
            "config": config,
            "content": _digest_of_layer(value),
        }
    if isinstance(value, functools.partial):
        parts = {"func": value.func, "args": list(value.args), "keywords": value.keywords}
        return {"of": "partial", "config": describe(parts)}
    return _describe_object(value)


def _describe_object(value: Any) -> dict[str, Any]:
    """A schedule, a function, or another object that can be called."""
    if inspect.isfunction(value) or inspect.ismethod(value):
        return {"of": value.__qualname__, "content": _digest_of_function(value)}
    config = value.get_config() if hasattr(value, "get_config") else _numbers(value)
    of = getattr(value, "__qualname__", type(value).__qualname__)
    return {"of": of, "config": _as_json(_plain(config, {}))}


def _as_json(config: Any) -> Any:
    return json.loads(json.dumps(config, default=str))


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


def _is_file(text: str) -> bool:
    # A file that is called like a choice, such as "adam", is not what was meant.
    return os.path.splitext(text)[1] != "" and os.path.isfile(text)


def _digest_of_file(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _digest_of_layer(layer: keras.Layer) -> str:
    """Digest of what a layer or model computes, whatever its layers are called."""
    names: dict[str, str] = {}
    config = _plain(keras.saving.serialize_keras_object(layer), names)
    digest = hashlib.sha256()
    digest.update(json.dumps(_renamed(config, names), sort_keys=True, default=str).encode())
    for values in layer.get_weights():
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def _plain(config: Any, names: dict[str, str]) -> Any:
    """What Keras says of an object, without what using it adds; numbers the names in `names`."""
    if isinstance(config, (list, tuple)):
        return [_plain(entry, names) for entry in config]
    if not isinstance(config, dict):
        return config
    if "layers" in config and "input_layers" not in config:
        # A Sequential gets an input when it is first called.
        layers = [one for one in config["layers"] if one["class_name"] != "InputLayer"]
        config = {**config, "layers": layers}
    # Keras counts names up in every process.
    if isinstance(name := config.get("name"), str):
        names.setdefault(name, f"layer {len(names)}")
    return {key: _plain(entry, names) for key, entry in config.items() if key not in _ASIDE}


def _renamed(config: Any, names: dict[str, str]) -> Any:
    """The same with the numbers of layers in the place of their names, by which graphs refer."""
    if isinstance(config, dict):
        return {key: _renamed(entry, names) for key, entry in config.items()}
    if isinstance(config, list):
        return [_renamed(entry, names) for entry in config]
    return names.get(config, config) if isinstance(config, str) else config


def _digest_of_function(function: Any) -> str:
    """Digest of a function's source, and of what it was made with."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    try:
        text = inspect.getsource(function)
    except OSError:  # typed in, not in a file
        text = f"{function.__code__.co_code!r}{function.__code__.co_consts!r}"
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [describe(entry) for entry in (*cells, *(function.__defaults__ or ()))]
    return hashlib.sha256(f"{text}{held}".encode()).hexdigest()[:16]
