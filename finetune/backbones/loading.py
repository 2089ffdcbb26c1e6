"""Backbones: what can be wrapped, and how its images must be prepared.

A named architecture brings its own preprocessing and sizes, and so do a preset of KerasHub and a
model that this package made. Any other model or `.keras` file of the user's is wrapped as it is,
with the preprocessing that the user names.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from finetune.backbones.architectures import ARCHITECTURES, check_options, find_name
from finetune.backbones.hub import image_model, is_hub_model, is_preset, load_preset
from finetune.backbones.model_files import looks_like_path, model_file, read_model
from finetune.backbones.preprocessing import Preprocess, resolve_preprocess
from finetune.backbones.weights import build_with_weights
from finetune.backbones.whole_models import WholeModel, take_apart
from finetune.compat import is_from_keras
from finetune.data import check_image_size
from finetune.exceptions import (
    ArgumentError,
    ImageSizeError,
    ModelFileError,
    PreprocessingError,
    WeightsError,
)
from finetune.support import first_not_finite


class _Unset:
    """Type of `UNSET`: tells "not given" from a None said aloud."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()  # stands where any type may


@dataclass(frozen=True)
class Backbone:
    """A pretrained feature extractor and what its images must look like.

    Attributes:
        name: Canonical name such as "mobilenet_v2"; the model's own name for a user's model.
        model: From prepared images to a feature map (rank 4), sequence (rank 3) or
            vector (rank 2).
        image_size: Height and width of the images, in pixels.
        preprocess: From 0..255 float pixels to prepared images. Made of Keras layers and
            operations only.
    """

    name: str
    model: keras.Model
    image_size: tuple[int, int]
    preprocess: Preprocess


def load_backbone(
    backbone: str | os.PathLike[str] | keras.Model,
    *,
    weights: str | os.PathLike[str] | None = "imagenet",
    image_size: int | tuple[int, int] | None = None,
    preprocess: Any = UNSET,
    **options: Any,
) -> Backbone:
    """Builds or wraps a backbone, and finds how its images must be prepared.

    Args:
        backbone: A name of `list_backbones()` (case, `_` and `-` do not matter); "hub:" and a
            preset of KerasHub's, its handle or its folder; a `keras.Model` with one image input;
            or the path of a `.keras` file or of the folder of a run. A model is wrapped as it is,
            not copied: what is later frozen or trained is that model. Of a model that this package
            made the backbone is taken, without the head.
        weights: "imagenet" (default, as in Keras; downloaded once to Keras' cache), the
            path of a weights file (`.h5`, `.weights.h5` or `.keras`, saved without the
            top), or None for random weights. A file for EfficientNet B0-B7 is taken for
            ImageNet weights, or some fine-tuned from them. A model or `.keras` file of
            yours keeps its own weights.
        image_size: Height and width in pixels, or one number for both. Default: what the
            architecture was trained on (224 for most), or the model's own input size.
        preprocess: For a model or file of yours, how it wants its images: "tf" (-1..1),
            "torch" (ImageNet's mean and deviation), "caffe" (BGR, minus the mean), a Keras
            layer, a function on Keras tensors, or None, which must be said aloud, for 0..255
            pixels as they are. For a name the default is the architecture's own. A model that
            this package made prepares its images itself.
        **options: Options of the architecture: `alpha` (width multiplier, default 1.0) for
            the MobileNets, `depth_multiplier` for MobileNet, `minimalistic` for MobileNetV3.

    Returns:
        The backbone; for a name or a file, a new model at each call.

    Raises:
        UnknownBackboneError: The name is not known.
        ArgumentError: An option is not the architecture's, or the model cannot be wrapped.
        ImageSizeError: The image size is not one that the backbone accepts.
        PreprocessingError: `preprocess` is missing for a model or file, or cannot be used.
        WeightsError: The weights cannot be found, downloaded or fitted.
        ModelFileError: The `.keras` file cannot be read.

    Example:
        >>> backbone = load_backbone("MobileNetV2", weights=None, image_size=32, alpha=0.35)
        >>> backbone.name, backbone.image_size, backbone.model.output_shape
        ('mobilenet_v2', (32, 32), (None, 1, 1, 1280))
    """
    size = None if image_size is None else check_image_size(image_size)
    loaded = _load(backbone, weights, size, preprocess, options)
    broken = first_not_finite(loaded.model.variables)
    if broken is not None:
        raise WeightsError(
            f"The weights of {loaded.name} cannot be trained on: {broken!r} holds NaN or infinity. "
            "Take others."
        )
    return loaded


def _load(
    backbone: Any,
    weights: str | os.PathLike[str] | None,
    size: tuple[int, int] | None,
    preprocess: Any,
    options: dict[str, Any],
) -> Backbone:
    if is_preset(backbone):
        return _load_preset(backbone, weights, size, preprocess, options)
    if isinstance(backbone, str) and not looks_like_path(backbone):
        return _load_architecture(backbone, weights, size, preprocess, options)
    if isinstance(backbone, keras.Model):
        model, label = backbone, f"model {backbone.name!r}"
    elif isinstance(backbone, str | os.PathLike):
        model = _read_model(model_file(backbone))  # first: it may be misspelt
        label = f"file {os.fspath(backbone)!r}"
    else:
        raise ArgumentError(
            "A backbone must be a name of `finetune.list_backbones()`, 'hub:' and a preset of "
            "KerasHub, a `keras.Model` (such as the `keras_model` of a FineTunedModel) or the path "
            "of a .keras file or of a run. "
            f"Received: {backbone!r} of type {type(backbone).__name__}."
        )
    _refuse_for_own_model(label, weights, options)
    whole = take_apart(model)
    if whole is not None:
        return _go_on_from(whole, label, size, preprocess)
    _refuse_unsaid(label, preprocess)
    return _wrap_model(image_model(model, size) if is_hub_model(model) else model, size, preprocess)


def _load_architecture(
    name: str,
    weights: str | os.PathLike[str] | None,
    size: tuple[int, int] | None,
    preprocess: Any,
    options: dict[str, Any],
) -> Backbone:
    canonical = find_name(name)
    architecture = ARCHITECTURES[canonical]
    options = check_options(canonical, options)
    size = size or (architecture.default_size, architecture.default_size)
    if min(size) < architecture.min_size:
        raise ImageSizeError(
            f"{canonical} needs images of at least {architecture.min_size} x "
            f"{architecture.min_size} pixels. Received: image_size={size}. Its default is "
            f"{architecture.default_size}."
        )
    own = isinstance(preprocess, _Unset)
    prepare = resolve_preprocess(architecture.preprocess if own else preprocess, size)
    constructor: Callable[..., keras.Model] = getattr(keras.applications, architecture.constructor)
    model = build_with_weights(
        constructor, canonical, weights, include_top=False, input_shape=(*size, 3), **options
    )
    return Backbone(canonical, model, size, prepare)


def _load_preset(
    name: str,
    weights: str | os.PathLike[str] | None,
    size: tuple[int, int] | None,
    preprocess: Any,
    options: dict[str, Any],
) -> Backbone:
    if weights not in ("imagenet", None):
        raise ArgumentError(
            f"`weights` is for named architectures; the preset {name!r} brings its own. Received: "
            f"weights={weights!r}. Leave weights out, or pass None for random ones."
        )
    _refuse_options(f"preset {name!r}", options)
    own = isinstance(preprocess, _Unset)
    preset = load_preset(name, random=weights is None, size=size, prepare=own)
    wrapped = _wrap_model(preset.model, preset.image_size, preset.preprocess if own else preprocess)
    return replace(wrapped, name=preset.name)


def _refuse_for_own_model(label: str, weights: Any, options: dict[str, Any]) -> None:
    """Refuses what only a named architecture has."""
    if weights != "imagenet":
        raise ArgumentError(
            f"`weights` is for named architectures; the {label} keeps its own. Received: "
            f"weights={weights!r}. Call `model.load_weights(...)` before handing the model over."
        )
    _refuse_options(label, options)


def _refuse_options(label: str, options: dict[str, Any]) -> None:
    if options:
        raise ArgumentError(
            f"The {label} takes no options. Received: {', '.join(sorted(options))}. Options such "
            "as alpha are for named architectures."
        )


def _go_on_from(
    whole: WholeModel, label: str, size: tuple[int, int] | None, preprocess: Any
) -> Backbone:
    """The backbone of a model that this package made, which knows how to prepare its images."""
    if preprocess is not None and not isinstance(preprocess, _Unset):
        raise PreprocessingError(
            f"The {label} was made by this package and prepares its images itself. Received: "
            f"preprocess={preprocess!r}. Leave preprocess out."
        )
    backbone = _wrap_model(whole.backbone, size or whole.image_size, whole.preprocess)
    return replace(backbone, name=whole.name)


def _refuse_unsaid(label: str, preprocess: Any) -> None:
    """Refuses a preprocessing left unsaid where nothing but the user can tell."""
    if isinstance(preprocess, _Unset):
        raise PreprocessingError(
            f"How the {label} wants its images prepared is not known. Pass preprocess='tf' "
            "(pixels scaled to -1..1), 'torch' (ImageNet's mean and deviation), 'caffe' (BGR minus "
            "the mean), a Keras layer or function, or preprocess=None if it takes 0..255 pixels "
            "as they are."
        )


def _read_model(path: Path) -> keras.Model:
    if not path.is_file():
        raise ModelFileError(
            f"No model file at '{path}'. Expected a .keras file, or the folder of a run."
        )
    if path.suffix != ".keras":
        raise ModelFileError(
            f"'{path}' is not a .keras file. Weights alone do not make a backbone: pass the "
            "architecture's name as backbone, and the file as `weights`."
        )
    return read_model(path)


def _wrap_model(model: keras.Model, size: tuple[int, int] | None, preprocess: Any) -> Backbone:
    if not getattr(model, "inputs", None):
        raise ArgumentError(
            f"Model {model.name!r} has no known input. Expected a functional or Sequential model "
            "with an Input; wrap a subclassed one: `x = keras.Input((224, 224, 3)); "
            "keras.Model(x, model(x))`."
        )
    inputs = [tuple(tensor.shape) for tensor in model.inputs]
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][-1] != 3:
        raise ArgumentError(
            f"Model {model.name!r} must take one image, of shape (batch, height, width, 3). "
            f"Received a model with input shape {', '.join(map(str, inputs))}."
        )
    outputs = [tuple(tensor.shape) for tensor in model.outputs]
    if len(outputs) != 1 or len(outputs[0]) not in (2, 3, 4):
        raise ArgumentError(
            f"Model {model.name!r} must give one feature map (rank 4), sequence (rank 3) or vector "
            f"(rank 2). Received a model with output shape {', '.join(map(str, outputs))}."
        )
    own = inputs[0][1:3]
    if size is None and None in own:
        raise ImageSizeError(
            f"Model {model.name!r} takes images of any size ({own[0]} x {own[1]}). "
            "Pass image_size=(height, width)."
        )
    size = size or own
    if any(theirs is not None and theirs != mine for theirs, mine in zip(own, size, strict=True)):
        raise ImageSizeError(
            f"Model {model.name!r} takes images of {own[0]} x {own[1]} pixels. Received: "
            f"image_size={size}. Leave image_size out, or build the model for that size."
        )
    return Backbone(model.name, _at_size(model, size), size, resolve_preprocess(preprocess, size))


def _at_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The same layers on images of a fixed size: then it is known what passes between them."""
    if None not in model.inputs[0].shape[1:] or not is_from_keras(type(model)):
        return model
    return keras.models.clone_model(
        keras.Model(model.inputs[0], model.outputs[0], name=model.name),
        input_tensors=keras.Input((*size, 3), dtype=model.inputs[0].dtype),
        clone_function=lambda layer: layer,
    )
