"""The architectures of `keras.applications`: names, preprocessing, image sizes, options.

Each is one row of `ARCHITECTURES`, read off its source in Keras, never guessed.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.exceptions import ArgumentError, UnknownBackboneError


@dataclass(frozen=True)
class Architecture:
    """One constructor of `keras.applications`, and what its source says about its images."""

    constructor: str
    preprocess: str | None
    default_size: int = 224
    min_size: int = 32
    options: tuple[str, ...] = ()


# As `resolve_preprocess` takes them; names alone, for listing them must not wait for TensorFlow.
_TF, _TORCH, _CAFFE, _BUILT_IN = "tf", "torch", "caffe", None

ARCHITECTURES: Mapping[str, Architecture] = {
    "convnext_base": Architecture("ConvNeXtBase", _BUILT_IN),
    "convnext_large": Architecture("ConvNeXtLarge", _BUILT_IN),
    "convnext_small": Architecture("ConvNeXtSmall", _BUILT_IN),
    "convnext_tiny": Architecture("ConvNeXtTiny", _BUILT_IN),
    "convnext_xlarge": Architecture("ConvNeXtXLarge", _BUILT_IN),
    "densenet121": Architecture("DenseNet121", _TORCH),
    "densenet169": Architecture("DenseNet169", _TORCH),
    "densenet201": Architecture("DenseNet201", _TORCH),
    "efficientnet_b0": Architecture("EfficientNetB0", _BUILT_IN, 224),
    "efficientnet_b1": Architecture("EfficientNetB1", _BUILT_IN, 240),
    "efficientnet_b2": Architecture("EfficientNetB2", _BUILT_IN, 260),
    "efficientnet_b3": Architecture("EfficientNetB3", _BUILT_IN, 300),
    "efficientnet_b4": Architecture("EfficientNetB4", _BUILT_IN, 380),
    "efficientnet_b5": Architecture("EfficientNetB5", _BUILT_IN, 456),
    "efficientnet_b6": Architecture("EfficientNetB6", _BUILT_IN, 528),
    "efficientnet_b7": Architecture("EfficientNetB7", _BUILT_IN, 600),
    "efficientnet_v2_b0": Architecture("EfficientNetV2B0", _BUILT_IN, 224),
    "efficientnet_v2_b1": Architecture("EfficientNetV2B1", _BUILT_IN, 240),
    "efficientnet_v2_b2": Architecture("EfficientNetV2B2", _BUILT_IN, 260),
    "efficientnet_v2_b3": Architecture("EfficientNetV2B3", _BUILT_IN, 300),
    "efficientnet_v2_l": Architecture("EfficientNetV2L", _BUILT_IN, 480),
    "efficientnet_v2_m": Architecture("EfficientNetV2M", _BUILT_IN, 480),
    "efficientnet_v2_s": Architecture("EfficientNetV2S", _BUILT_IN, 384),
    "inception_resnet_v2": Architecture("InceptionResNetV2", _TF, 299, 75),
    "inception_v3": Architecture("InceptionV3", _TF, 299, 75),
    "mobilenet": Architecture("MobileNet", _TF, options=("alpha", "depth_multiplier")),
    "mobilenet_v2": Architecture("MobileNetV2", _TF, options=("alpha",)),
    "mobilenet_v3_large": Architecture(
        "MobileNetV3Large", _BUILT_IN, options=("alpha", "minimalistic")
    ),
    "mobilenet_v3_small": Architecture(
        "MobileNetV3Small", _BUILT_IN, options=("alpha", "minimalistic")
    ),
    "nasnet_large": Architecture("NASNetLarge", _TF, 331),
    "nasnet_mobile": Architecture("NASNetMobile", _TF),
    "resnet101": Architecture("ResNet101", _CAFFE),
    "resnet101_v2": Architecture("ResNet101V2", _TF),
    "resnet152": Architecture("ResNet152", _CAFFE),
    "resnet152_v2": Architecture("ResNet152V2", _TF),
    "resnet50": Architecture("ResNet50", _CAFFE),
    "resnet50_v2": Architecture("ResNet50V2", _TF),
    "vgg16": Architecture("VGG16", _CAFFE),
    "vgg19": Architecture("VGG19", _CAFFE),
    "xception": Architecture("Xception", _TF, 299, 71),
}


def _normalize(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


def list_backbones() -> list[str]:
    """Lists the names that `load_backbone` knows.

    Returns:
        The canonical names, sorted.

    Example:
        >>> list_backbones()[:2]
        ['convnext_base', 'convnext_large']
    """
    return sorted(ARCHITECTURES)


def find_name(name: str) -> str:
    """Finds an architecture's canonical name.

    Args:
        name: As a user writes it; case, `_` and `-` do not matter.

    Returns:
        The key of `ARCHITECTURES`.

    Raises:
        UnknownBackboneError: No architecture has that name; the text gives the nearest.

    Example:
        >>> find_name("MobileNet-V2")
        'mobilenet_v2'
    """
    by_key = {_normalize(canonical): canonical for canonical in ARCHITECTURES}
    if _normalize(name) in by_key:
        return by_key[_normalize(name)]
    nearest = difflib.get_close_matches(_normalize(name), by_key, n=4, cutoff=0.5)
    hint = f" Nearest: {', '.join(by_key[key] for key in nearest)}." if nearest else ""
    raise UnknownBackboneError(
        f"Unknown backbone {name!r}.{hint} `finetune.list_backbones()` lists all names; a "
        "`keras.Model`, or the path of a .keras file or of a run such as ./a, is also accepted."
    )


# Of what multiplies the width of a network that is a few times too wide at 4.
_LARGEST_OPTION = 100


def _is_positive_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= _LARGEST_OPTION


# float(): Keras builds file names from alpha, and knows no file for "1" in place of "1.0".
_OPTIONS: dict[str, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    "alpha": ("a positive number", _is_positive_number, float),
    "depth_multiplier": (
        "a positive integer",
        lambda value: isinstance(value, int) and _is_positive_number(value),
        int,
    ),
    "minimalistic": ("True or False", lambda value: isinstance(value, bool), bool),
}


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Checks the options of an architecture, and converts them to the types Keras expects.

    Args:
        name: Canonical name of the architecture.
        options: What the user gave, such as `{"alpha": 0.35}`.

    Returns:
        The same options, ready for the constructor.

    Raises:
        ArgumentError: The architecture has no such option, or the value is not allowed.

    Example:
        >>> check_options("mobilenet_v2", {"alpha": 1})
        {'alpha': 1.0}
    """
    allowed = ARCHITECTURES[name].options
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ArgumentError(
            f"{name} has no option {', '.join(unknown)}. Its options: "
            f"{', '.join(allowed) or 'none'}."
        )
    checked = {}
    for key, value in options.items():
        expected, accepts, convert = _OPTIONS[key]
        if not accepts(value):
            raise ArgumentError(f"`{key}` must be {expected}. Received: {value!r}.")
        checked[key] = convert(value)
    return checked
