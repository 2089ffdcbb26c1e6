"""What every kind of stored source is turned into before its images are decoded."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from finetune.data.finding import Ignored
from finetune.data.images import Payload

# What folders and TFDS splits may be called.
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


class Item(NamedTuple):
    """One labelled image, not yet decoded."""

    id: str
    payload: Payload
    label: Any


@dataclass(frozen=True)
class Part:
    """The images of one split; `items` is gone through once."""

    count: int
    items: Iterable[Item]


@dataclass(frozen=True)
class Source:
    """Parts called "train", "validation", "test"; the first always, the others where present."""

    parts: dict[str, Part]
    class_names: list[str] | None = None
    ignored: Ignored = field(default_factory=Ignored)
