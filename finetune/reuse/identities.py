"""What layers compute, in words that are the same in every process."""

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import PIL
import tensorflow as tf

from finetune.reuse.code import UnknownCode, code_of_layers

log = logging.getLogger("finetune")

# To be counted up when what is kept for the same model and images changes: other values, another
# decoder's or another file's format.
_FORMAT = 2

MAKERS = (
    f"format {_FORMAT}, keras {keras.__version__}, tensorflow {tf.__version__}, "
    f"numpy {np.__version__}, pillow {PIL.__version__}"
)

# What Keras says of an object besides what it computes.
NOT_COMPUTED = {"name", "build_config", "compile_config", "build_input_shape", "trainable"}


@dataclass(frozen=True)
class Identity:
    """What layers compute.

    Args:
        name: A digest of it; equal names mean equal outputs for equal images.
        lasting: Whether the same layers have the same name in another process.
    """

    name: str
    lasting: bool


def identity(
    layers: Sequence[keras.Layer], weights: Sequence[np.ndarray] = (), *, frozen: bool
) -> Identity:
    """Name what layers compute.

    Names that Keras counts up, and all else that is not part of the computation, are left out.

    Args:
        layers: Layers or models.
        weights: Values of their weights.
        frozen: Whether they run as in inference: then no random state matters.

    Returns:
        The name; one that is never met again where a layer's code cannot be read.

    Example:
        >>> def named(name):
        ...     layer = keras.layers.Rescaling(2.0, name=name)
        ...     return identity([layer], frozen=True)
        >>> named("rescaling_3") == named("rescaling_7") != named("mine")
        True
    """
    digest, lasting = hashlib.sha256(), True
    try:
        for layer in layers:
            described = _plain(keras.saving.serialize_keras_object(layer), frozen, {})
            texts = [json.dumps(described, sort_keys=True), *code_of_layers(layer)]
            digest.update(repr(texts).encode())
    except (UnknownCode, TypeError, ValueError, NotImplementedError) as unknown:
        log.info("Features are not kept for later runs: %s.", unknown)
        digest.update(secrets.token_bytes())
        lasting = False
    for values in weights:
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return Identity(digest.hexdigest()[:24], lasting)


def _plain(value: Any, frozen: bool, places: dict[str, int]) -> Any:
    """What Keras says of an object, the layers of a graph named by their places in it."""
    if isinstance(value, (list, tuple)):
        if len(value) == 3 and isinstance(value[0], str) and value[0] in places:
            return [places[value[0]], *value[1:]]  # the output of a layer
        return [_plain(entry, frozen, places) for entry in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    if "class_name" not in value or not isinstance(config, dict):
        return {key: _plain(entry, frozen, places) for key, entry in value.items()}
    if "input_layers" in config and "layers" in config:
        places = {layer["name"]: place for place, layer in enumerate(config["layers"])}
    elif value["class_name"] == "Sequential":  # gets an input when it is first called
        layers = [layer for layer in config["layers"] if layer["class_name"] != "InputLayer"]
        config = {**config, "layers": layers}
    aside = set(NOT_COMPUTED)
    if not _is_automatic(config.get("name"), value["class_name"]):
        aside.remove("name")
    if frozen and str(value.get("module")).split(".")[0] == "keras":
        aside.add("seed")  # nothing of Keras' own is random then
    kept = {key: entry for key, entry in config.items() if key not in aside}
    rest = {key: entry for key, entry in value.items() if key not in NOT_COMPUTED | {"config"}}
    described = {**rest, "config": sorted(kept.items())}
    return {key: _plain(entry, frozen, places) for key, entry in described.items()}


def _is_automatic(name: Any, class_name: str) -> bool:
    """Whether Keras made the name, of the class and how many of it there were before."""
    made_of = re.sub(r"_\d+$", "", str(name)).replace("_", "")
    # The input of a copied model is named for the tensor.
    return made_of == class_name.lower() or (class_name, made_of) == ("InputLayer", "kerastensor")
