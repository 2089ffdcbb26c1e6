"""What was found: images to look at, group by group, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass

# How much a finding matters: an error spoils training or its measure; a look is for people to
# decide; a note is good to know.
ERROR, LOOK, NOTE = "error", "look", "note"

# The kinds of findings in the order in which they are told: heading, and how much they matter.
KINDS: Mapping[str, tuple[str, str]] = {
    "unreadable": ("Files that cannot be read", ERROR),
    "two labels": ("Copies of one image under different labels", ERROR),
    "leak": ("Copies of one image on both sides of a split", ERROR),
    "label": ("Labels that look wrong", LOOK),
    "blank": ("Images that show nothing", LOOK),
    "copies": ("Copies of one image within a class", LOOK),
    "outlier": ("Images unlike all others", LOOK),
    "dark": ("Dark images", LOOK),
    "blurred": ("Blurred images", LOOK),
    "small": ("Images smaller than the model's input", NOTE),
    "stretched": ("Very wide or very tall images", NOTE),
    "suffix": ("Files whose name says another format", NOTE),
    "classes": ("How many images each class has", NOTE),
}


@dataclass(frozen=True)
class Group:
    """Images that belong together, or a single one.

    Args:
        rows: Numbers of the images; empty where it is about a file that could not be read, or
            about no single image.
        why: What is odd, in a few words.
        suggestion: The class that is more likely, of a label that looks wrong.
    """

    rows: tuple[int, ...]
    why: str
    suggestion: str = ""


@dataclass(frozen=True)
class Finding:
    """All that was found of one kind.

    Args:
        kind: One of `KINDS`.
        groups: What was found, what matters most first; at least one.
    """

    kind: str
    groups: tuple[Group, ...]

    @property
    def title(self) -> str:
        """What it is called."""
        return KINDS[self.kind][0]

    @property
    def weight(self) -> str:
        """How much it matters: "error", "look" or "note"."""
        return KINDS[self.kind][1]
