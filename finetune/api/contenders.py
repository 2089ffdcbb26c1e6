"""What is to be compared: backbones as people name them, and the arguments that they stand for."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from finetune.backbones import (
    COMPARED,
    find_name,
    is_preset,
    looks_like_path,
    on_disk,
    weights_file,
)
from finetune.exceptions import ArgumentError, WeightsError

# MobileNetV2, MobileNetV2(alpha=0.35), MobileNetV2=weights.h5, or both.
_NAMED = re.compile(r"(?P<name>[^=()]+)(?:\((?P<options>[^()]*)\))?(?:=(?P<weights>.+))?")
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Contender:
    """A backbone that is compared with others.

    Args:
        name: What the table calls it.
        arguments: What `fine_tune` takes for it: "backbone", and "weights" and "backbone_options"
            where they are not the defaults.
        architecture: Whether it is one of `keras.applications`, which says itself how its images
            are prepared.
    """

    name: str
    arguments: dict[str, Any]
    architecture: bool = False


def contenders(backbones: Any = None, image_size: tuple[int, int] | None = None) -> list[Contender]:
    """Read what is to be compared.

    Args:
        backbones: See `compare`.
        image_size: Of all of them, where it was said.

    Returns:
        One for each; of those with one name the second is called "name (2)".

    Raises:
        ArgumentError: If nothing is named, or an option cannot be read.
        UnknownBackboneError: If a name is not known.
        WeightsError: If nothing is named, and nothing is on disk.

    Example:
        >>> for one in contenders(["MobileNetV2(alpha=0.35)=small.h5", "own.keras"]):
        ...     print(one.name, one.arguments)
        mobilenet_v2(alpha=0.35) {'backbone': 'mobilenet_v2', 'backbone_options': {'alpha': 0.35},
        'weights': 'small.h5'}
        own.keras {'backbone': 'own.keras'}
    """
    if backbones is None:
        found = [_named(name) for name in _at_hand(image_size)]
    elif isinstance(backbones, Mapping):
        found = [_with_weights(_named(name), weights) for name, weights in backbones.items()]
    elif isinstance(backbones, Sequence) and not isinstance(backbones, str):
        found = [_read(backbone) for backbone in backbones]
    else:
        found = [_read(backbones)]
    if not found:
        raise ArgumentError(
            "Expected backbones to compare, received none. Name some, such as "
            "['MobileNetV2', 'own.keras'], or leave backbones out for what is on disk."
        )
    return _told_apart(found)


def _at_hand(image_size: tuple[int, int] | None) -> list[str]:
    names = on_disk(image_size)
    if not names:
        raise WeightsError(
            "Expected ImageNet weights in Keras' cache to compare, but there are none of "
            f"{', '.join(COMPARED)}. Name backbones, such as backbones=['MobileNetV2', "
            "'own.keras'] (--backbones), where a name is downloaded once; give a weights file as "
            f"'MobileNetV2=FILE'; or put {weights_file(COMPARED[0], image_size)} or another of "
            "Keras' files into its cache."
        )
    return names


def _read(backbone: Any) -> Contender:
    if isinstance(backbone, keras.Model):
        return Contender(backbone.name, {"backbone": backbone})
    if not isinstance(backbone, str):
        name = Path(backbone).name if isinstance(backbone, os.PathLike) else repr(backbone)
        return Contender(name, {"backbone": backbone})
    text = backbone.strip()
    before = text.partition("=")[0]
    if is_preset(text) or looks_like_path(before) or os.path.exists(text):
        folder = os.path.isdir(text)
        return Contender(text if folder or is_preset(text) else Path(text).name, {"backbone": text})
    return _named(text)


def _named(text: str) -> Contender:
    """An architecture by its name, with its options and weights."""
    found = _NAMED.fullmatch(text.strip())
    if found is None:
        raise ArgumentError(
            "Expected a backbone as NAME, NAME(alpha=0.35), NAME=WEIGHTS or a path, received "
            f"{text!r}."
        )
    name = find_name(found["name"])
    options = dict(_option(text, part) for part in (found["options"] or "").split(",") if part)
    shown = ", ".join(f"{key}={value}" for key, value in options.items())
    arguments: dict[str, Any] = {"backbone": name}
    if options:
        arguments["backbone_options"] = options
    contender = Contender(f"{name}({shown})" if options else name, arguments, architecture=True)
    return _with_weights(contender, found["weights"]) if found["weights"] else contender


def _with_weights(contender: Contender, weights: Any) -> Contender:
    arguments = {**contender.arguments, "weights": weights}
    return Contender(contender.name, arguments, contender.architecture)


def _option(text: str, part: str) -> tuple[str, Any]:
    key, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals:
        raise ArgumentError(f"Expected options as alpha=0.35 in {text!r}, received {part!r}.")
    if value.lower() in _WORDS:
        return key, _WORDS[value.lower()]
    for number in (int, float):
        try:
            return key, number(value)
        except ValueError:
            continue
    return key, value


def _told_apart(found: list[Contender]) -> list[Contender]:
    """The same, with names that differ."""
    names: list[str] = []
    told = []
    for one in found:
        again = names.count(one.name) + 1
        names.append(one.name)
        name = one.name if again == 1 else f"{one.name} ({again})"
        told.append(Contender(name, one.arguments, one.architecture))
    return told
