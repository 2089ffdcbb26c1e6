"""Backbones of KerasHub: presets by name or folder, and models that the user made.

KerasHub is an extra and heavy, so it is imported where one of its presets is asked for.

Source: KerasHub's own classifiers, for how the families pool; DINOv2 (Oquab et al. 2023, section
7), which has none there, classifies by its class token.
"""

import difflib
import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from finetune.exceptions import ArgumentError, UnknownBackboneError, WeightsError

PREFIX = "hub:"

# Families whose first token stands for the image. All others: the mean, or a vector already.
_CLASS_TOKEN = ("ViTBackbone", "DeiTBackbone", "DINOV2Backbone", "DINOV3Backbone")

_DEFAULT_SIZE = 224  # of networks that take any size and name none


@dataclass(frozen=True)
class HubModel:
    """A backbone of KerasHub.

    Attributes:
        name: Such as "hub_dinov2_small".
        model: From prepared images to a feature map, sequence or vector.
        image_size: Height and width of the images, in pixels.
        preprocess: From 0..255 pixels to prepared images; None for pixels as they are.
    """

    name: str
    model: keras.Model
    image_size: tuple[int, int]
    preprocess: keras.layers.Layer | None


def is_preset(backbone: Any) -> bool:
    """Whether a backbone is named as a preset of KerasHub.

    Example:
        >>> [is_preset(name) for name in ("hub:dinov2_small", "resnet50")]
        [True, False]
    """
    return isinstance(backbone, str) and backbone.startswith(PREFIX)


def is_from_keras_hub(cls: type) -> bool:
    """Whether a class is one of KerasHub's.

    Example:
        >>> is_from_keras_hub(keras.layers.Dense)
        False
    """
    return cls.__module__.split(".")[0] == "keras_hub"


def is_hub_model(model: keras.Model) -> bool:
    """Whether a model is a backbone of KerasHub's, or derived from one."""
    return any(is_from_keras_hub(cls) and cls.__name__ == "Backbone" for cls in type(model).__mro__)


def copy_of(model: keras.Model) -> keras.Model:
    """A model of the same layers, new ones, with the same weights.

    Args:
        model: Functional or sequential, or a backbone of KerasHub.
    """
    if not is_hub_model(model):
        copy: Any = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return copy
    return _made_anew(model)


def _made_anew(model: keras.Model, **changes: Any) -> keras.Model:
    """A backbone of KerasHub, made of its own settings: those of its layers are not all whole."""
    config = {**model.get_config(), **changes}
    name = config.pop("name")
    if any(layer.name.startswith(f"{name}_") for layer in model.layers):
        config["name"] = name  # some families name their layers after a name that was given
    copy: Any = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def import_keras_hub(needed_for: str) -> Any:
    """Imports KerasHub.

    Args:
        needed_for: What needs it, for the error text.

    Raises:
        ArgumentError: It is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ArgumentError(
            f"Expected KerasHub to be installed for {needed_for}. Install it with "
            "`pip install 'keras-finetuner[hub]'` (Python 3.11 or newer)."
        ) from error
    return keras_hub


def load_preset(
    backbone: str, *, random: bool, size: tuple[int, int] | None, prepare: bool
) -> HubModel:
    """Builds a preset of KerasHub, with the preparation of images that belongs to it.

    Args:
        backbone: "hub:" and the preset: a name of KerasHub's, a "kaggle://" or "hf://" handle,
            or the folder of a preset.
        random: Whether to leave its weights random.
        size: Height and width of the images, in pixels; None for the preset's own.
        prepare: Whether to read how its images are prepared.

    Returns:
        The new model and what belongs to it.

    Raises:
        ArgumentError: KerasHub is not installed, or the preset has no image backbone.
        UnknownBackboneError: There is no such preset.
        WeightsError: The preset cannot be downloaded or read.
    """
    preset = backbone.removeprefix(PREFIX)
    hub = import_keras_hub(f"backbone={backbone!r}")
    _refuse_unknown(hub, preset)
    try:
        model = hub.models.Backbone.from_preset(preset, load_weights=not random)
        if size is not None and _moves_positions(model) and size != _own_size(model):
            model = hub.models.Backbone.from_preset(
                preset, load_weights=not random, image_shape=(*size, 3)
            )
        converter = hub.layers.ImageConverter.from_preset(preset) if prepare else None
    # KerasHub downloads by several libraries, which have errors of their own.
    except Exception as error:
        raise WeightsError(
            f"The preset {preset!r} of KerasHub could not be loaded: {_first_line(error)} Without "
            "a network, pass a folder that holds it (config.json, model.weights.h5 and "
            "image_converter.json) as backbone='hub:./folder'."
        ) from error
    size = size or _default_size(model, converter)
    return HubModel(
        # Of characters that the name of a model may have.
        name=f"hub_{re.sub(r'[^A-Za-z0-9_.-]', '_', Path(preset).name)}",
        model=image_model(model, size),
        image_size=size,
        preprocess=converter and _rescaling(converter),
    )


def image_model(model: keras.Model, size: tuple[int, int] | None) -> keras.Model:
    """What a backbone of KerasHub makes of images, as a model of one input and one output.

    Args:
        model: The backbone. Of one that takes images and text the part for images is taken.
        size: Height and width of the images, in pixels, for one that takes any; None for the
            backbone's own.

    Returns:
        A model over the same variables; where the family pools by class token, it gives that.

    Raises:
        ArgumentError: It takes no images.
    """
    tower = model if len(model.inputs) == 1 else getattr(model, "vision_encoder", None)
    if tower is None or len(tower.inputs) != 1 or len(tower.inputs[0].shape) != 4:
        takes = ", ".join(f"{tensor.name} {tuple(tensor.shape[1:])}" for tensor in model.inputs)
        raise ArgumentError(
            f"Expected a backbone that takes images, such as 'hub:dinov2_small'. Received: "
            f"{type(model).__name__}, which takes {takes}."
        )
    if size is not None and None in tower.inputs[0].shape[1:3]:
        # For images of one size it is known what passes between the layers.
        named = {"image_shape", "input_shape"} & set(tower.get_config())
        tower = _made_anew(tower, **dict.fromkeys(named, (*size, 3)))
    _correct_shapes(tower)
    images: Any = keras.Input(tower.inputs[0].shape[1:], name="images")
    features = tower(keras.tree.pack_sequence_as(tower.input, [images]))
    if _has_class_token(tower):
        last = features.shape[1] - 1
        features = keras.layers.Cropping1D((0, last), name="class_token")(features)
        features = keras.layers.Flatten(name="class_token_vector")(features)
    return keras.Model(images, features, name=f"{tower.name}_of_images")


def _refuse_unknown(hub: Any, preset: str) -> None:
    """Refuses the name of no preset, before anything is downloaded."""
    if "://" in preset or Path(preset).is_dir():
        return
    if os.sep in preset or "/" in preset:
        raise WeightsError(
            f"No folder at '{preset}'. Expected one that holds a preset of KerasHub (config.json, "
            "model.weights.h5 and image_converter.json), the name of a preset, or a handle such as "
            "'hub:hf://user/model'."
        )
    known = hub.models.Backbone.presets
    if preset in known:
        return
    nearest = difflib.get_close_matches(preset, known, n=4, cutoff=0.5)
    hint = f" Nearest: {', '.join(PREFIX + name for name in nearest)}." if nearest else ""
    raise UnknownBackboneError(
        f"KerasHub {hub.__version__} has no preset {preset!r}.{hint} All are listed at "
        "https://keras.io/keras_hub/presets/; a folder is also accepted: 'hub:./folder'."
    )


def _moves_positions(model: keras.Model) -> bool:
    """Whether a backbone fits its position embeddings to the size of the images."""
    return "position_embedding_shape" in inspect.signature(type(model)).parameters


def _correct_shapes(model: keras.Model) -> None:
    """Has layers tell the shape of what they really compute.

    KerasHub 0.32 has SigLIP's embedding tell of one position more than there is, so that a model of
    what comes behind it would refuse its features.
    """
    layers = [
        layer
        for layer in model.layers
        if is_from_keras_hub(type(layer))
        and "compute_output_shape" in vars(type(layer))
        and keras.utils.is_keras_tensor(layer.output)
    ]
    if not layers or None in model.inputs[0].shape[1:]:
        return
    image = np.zeros((1, *model.inputs[0].shape[1:]), "float32")
    outputs: Any = keras.Function(model.inputs, [layer.output for layer in layers])([image])
    for layer, output in zip(layers, outputs, strict=True):
        if layer.output.shape[1:] != output.shape[1:]:
            layer.compute_output_shape = _always(tuple(output.shape[1:]))


def _always(shape: tuple[int, ...]) -> Any:
    def compute_output_shape(input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], *shape)

    return compute_output_shape


def _default_size(model: keras.Model, converter: Any) -> tuple[int, int]:
    """The size of images that a preset was trained on."""
    told = converter.image_size if converter is not None else None
    return told or _own_size(model) or (_DEFAULT_SIZE, _DEFAULT_SIZE)


def _own_size(model: keras.Model) -> tuple[int, int] | None:
    """The size of images that a backbone was made for; None where it takes any."""
    images = next((tensor for tensor in model.inputs if len(tensor.shape) == 4), None)
    height, width = (None, None) if images is None else images.shape[1:3]
    return None if height is None or width is None else (height, width)


def _has_class_token(model: keras.Model) -> bool:
    names = {cls.__name__ for cls in type(model).__mro__}
    return not names.isdisjoint(_CLASS_TOKEN) and getattr(model, "use_class_token", True)


def _rescaling(converter: Any) -> keras.layers.Layer | None:
    """What a converter does to images of the right size, as a layer of Keras' own."""
    if converter.scale is None and converter.offset is None:
        return None
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return keras.layers.Rescaling(scale, offset=offset)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."
