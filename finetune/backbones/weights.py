"""Weights of named architectures: Keras' ImageNet files, local files, or random ones."""

import inspect
import itertools
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras

from finetune.backbones.preprocessing import IMAGENET_STDDEV
from finetune.exceptions import ArgumentError, WeightsError

# Keras caches these under names that differ from those in their addresses.
_CACHE_NAMES = {
    "NASNet-mobile-no-top.h5": "nasnet_mobile_no_top.h5",
    "NASNet-large-no-top.h5": "nasnet_large_no_top.h5",
}

# What Keras calls the widths in the file names of MobileNet (the first).
_MOBILENET_WIDTHS = {"2_5": 0.25, "5_0": 0.5, "7_5": 0.75, "1_0": 1.0}

# Letters of what Keras says of a file, which may hold all of its values.
_LONGEST = 300

# How Keras' warning begins where a file has nothing for some layers.
_LEFT_OUT = "Skipping nested container"

# In file names of Keras' own the size of the images comes after the width.
_WIDTH_AND_SIZE = re.compile(r"(?<![\d.])(\d\.\d+)_\d{2,3}(?!\d)")


def build_with_weights(
    constructor: Callable[..., keras.Model],
    name: str,
    weights: str | os.PathLike[str] | None,
    **arguments: Any,
) -> keras.Model:
    """Builds an architecture of `keras.applications` and gives it its weights.

    Args:
        constructor: Such as `keras.applications.MobileNetV2`.
        name: The architecture's name, for error texts.
        weights: "imagenet", the path of a weights file, or None for random weights.
        **arguments: Handed to the constructor.

    Returns:
        The new model.

    Raises:
        ArgumentError: Keras has no ImageNet weights for these options.
        WeightsError: The weights cannot be found, downloaded or fitted.

    Example:
        >>> model = build_with_weights(
        ...     keras.applications.VGG16, "vgg16", None, include_top=False, input_shape=(32, 32, 3)
        ... )
        >>> model.output_shape
        (None, 1, 1, 512)
    """
    if weights is None:
        return constructor(weights=None, **arguments)
    if weights == "imagenet":
        return _build_with_imagenet(constructor, name, arguments)
    if not isinstance(weights, str | os.PathLike):
        raise WeightsError(
            "`weights` must be 'imagenet', the path of a weights file, or None. Received: "
            f"{weights!r} of type {type(weights).__name__}."
        )
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"No weights file at '{path}'. Expected 'imagenet', None, or the path of a .h5, "
            ".weights.h5 or .keras file."
        )
    model = constructor(weights=None, **arguments)
    try:
        # Of layers without values Keras only warns; mostly an error follows that says more.
        with warnings.catch_warnings(record=True) as told:
            warnings.filterwarnings("always", message=_LEFT_OUT)
            model.load_weights(path)
        left_out = [str(one.message) for one in told if str(one.message).startswith(_LEFT_OUT)]
        if left_out:
            raise ValueError(left_out[0])
    except Exception as error:
        raise WeightsError(
            f"The weights in '{path}' cannot be loaded into {name}"
            f"{_describe_options(arguments)}: {_in_short(error)}{_first_difference(model, path)}. "
            f"{_hint(path, constructor, arguments)}"
        ) from error
    _refuse_another_width(path, constructor, name, arguments)
    if name.startswith("efficientnet_b"):
        _match_imagenet_scaling(model)
    return model


def _build_with_imagenet(
    constructor: Callable[..., keras.Model], name: str, arguments: dict[str, Any]
) -> keras.Model:
    try:
        with warnings.catch_warnings():
            # Weights trained at 224 px are what one wants at any size without its own file.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            return constructor(weights="imagenet", **arguments)
    except Exception as error:
        if "imagenet weights are being loaded" in str(error):
            raise ArgumentError(f"{name}: {error}") from error
        place = keras_home() / "models"
        failed = re.match(r"URL fetch failure on (\S+/(\S+)): ", str(error))
        if failed is None:
            raise WeightsError(
                f"The ImageNet weights of {name} in '{place}' cannot be loaded: {error}. Delete "
                "the file there and try again, or pass a local file as weights='PATH'."
            ) from error
        url, file_name = failed.groups()
        file_name = _CACHE_NAMES.get(file_name, file_name)
        raise WeightsError(
            f"The ImageNet weights of {name} could not be downloaded: {file_name} from {url}. "
            f"Without a network, put that file into '{place}' (Keras' cache), pass a local one as "
            "weights='PATH', or weights=None for random weights."
        ) from error


def keras_home() -> Path:
    """The folder of Keras, in which it keeps the weights that it downloads.

    Example:
        >>> keras_home().is_absolute()
        True
    """
    # Where Keras says that it is; it has no public function that tells.
    folder = os.environ.get("KERAS_HOME")
    if folder is None:
        home = os.path.expanduser("~")  # as it stands where nobody knows the home
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(folder))


def _describe_options(arguments: dict[str, Any]) -> str:
    options = {k: v for k, v in arguments.items() if k not in ("include_top", "input_shape")}
    return f" ({', '.join(f'{key}={value}' for key, value in options.items())})" if options else ""


def _in_short(error: Exception) -> str:
    """What Keras says of weights that do not fit, without their values."""
    text = " ".join(str(error).split())
    found = re.search(r"total of (\d+) objects .*? object <(\w+) name=([^,>]+)", text)
    shapes = re.search(r"variable\.shape=(\(.*?\)), Received: value\.shape=(\(.*?\))", text)
    if found is None:
        return text[:_LONGEST].rstrip(". ")
    number, kind, name = found.groups()
    told = f": expected {shapes[1]}, in the file {shapes[2]}" if shapes else ""
    return f"{number} of its layers differ, the first of them {name} ({kind}){told}"


def _first_difference(model: keras.Model, path: Path) -> str:
    """The first layer that a file of weights by layers calls otherwise; nothing where none is."""
    own = [layer.name for layer in model.layers if layer.weights]
    try:
        with h5py.File(path, "r") as file:
            group: Any = file.get("model_weights", file)
            names = [_named(name) for name in group.attrs["layer_names"]]
            saved = [name for name in names if len(group[name].attrs["weight_names"])]
    except (KeyError, OSError, TypeError, ValueError):
        return ""  # of another kind
    for expected, found in itertools.zip_longest(own, saved, fillvalue="no layer"):
        if expected != found:
            return f"; the first layer that differs: expected {expected}, in the file {found}"
    return ""


def _named(name: Any) -> str:
    """The name of a layer as HDF5 gives it, in bytes or not."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _refuse_another_width(
    path: Path, constructor: Callable[..., keras.Model], name: str, arguments: dict[str, Any]
) -> None:
    """Refuses weights that fit by chance: widths that are near have the same rounded channels."""
    said = _WIDTH_AND_SIZE.search(path.name)
    width = float(said[1]) if said else None
    if width is not None and _is_another_width(width, constructor, arguments):
        raise WeightsError(
            f"The weights in '{path}' are of another width than {name}"
            f"{_describe_options(arguments)}, by the file's name, though they fit: its channels "
            f"are rounded to the same. Pass alpha={width:g}."
        )


def _is_another_width(
    width: float, constructor: Callable[..., keras.Model], arguments: dict[str, Any]
) -> bool:
    takes_alpha = "alpha" in inspect.signature(constructor).parameters
    return takes_alpha and width != arguments.get("alpha", 1.0)


def _hint(path: Path, constructor: Callable[..., keras.Model], arguments: dict[str, Any]) -> str:
    """Reads the width from the file's name, where it differs from the one built."""
    decimal = re.search(r"(?<![\d.])\d\.\d+(?![\d.])", path.name)
    digits = re.search(r"mobilenet_(\d_\d)_", path.name)
    if decimal:
        width = float(decimal.group())
    else:
        width = _MOBILENET_WIDTHS.get(digits.group(1)) if digits else None
    if width is not None and _is_another_width(width, constructor, arguments):
        return f"Its name says {width:g}: try alpha={width:g}."
    return "Expected weights of the same architecture and options, saved without the top layers."


def _match_imagenet_scaling(model: keras.Model) -> None:
    """Scales the input of an EfficientNet as `weights="imagenet"` does.

    Only then Keras adds a layer that divides by the root of ImageNet's standard deviation;
    a file loaded by path would see inputs twice too small. The variance takes it in:
    sqrt(variance * stddev) = sqrt(variance) * sqrt(stddev).
    See https://github.com/tensorflow/tensorflow/issues/49930.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            stddev = keras.ops.convert_to_tensor(IMAGENET_STDDEV, "float32")
            layer.adapt_variance.assign(layer.adapt_variance * stddev)
            layer.finalize_state()
