"""The pictures of a page: each in it once, what matters most first, and as many as have room."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

# Characters that pictures may take: the page stays below 2 MB.
BUDGET = 1_400_000

# Pixels of the shade that is laid over a picture, which a browser enlarges smoothly.
_SHADE = 40
_DARKEST = 185

_NO_MAPS = np.empty((0, 0, 0), np.uint8)


@dataclass
class Pictures:
    """Pictures as addresses that hold their content.

    Args:
        photos: By their number in the gallery.
        shades: By the place of their image: dark where it does not speak for the answer.
        left_out: Number of pictures that there was no room for.
        size: Characters that all take together.
    """

    photos: dict[int, str] = field(default_factory=dict)
    shades: dict[int, str] = field(default_factory=dict)
    left_out: int = 0
    size: int = 0


def pictures_of(
    pictures: Sequence[bytes],
    images: Sequence[Mapping[str, Any]],
    maps: np.ndarray = _NO_MAPS,
    budget: int = BUDGET,
    first: Iterable[int] = (),
) -> Pictures:
    """The pictures that a page has room for: those of the images in their order, then similar ones.

    Args:
        pictures: WebP files.
        images: What the report says of the images, see `facts_of`.
        maps: See `Gallery`. Default: none.
        budget: Characters that all may take together.
        first: Numbers of pictures that come before all others. Default: none.
    """
    found = Pictures()

    def take(into: dict[int, str], key: int, kind: str, content: bytes) -> bool:
        if key in into:
            return True
        address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        if found.size + len(address) > budget:
            found.left_out += 1
            return False
        found.size += len(address)
        into[key] = address
        return True

    for number in first:
        take(found.photos, number, "webp", pictures[number])
    for image in images:
        place = image["place"]
        number = image["picture"]
        if take(found.photos, number, "webp", pictures[number]) and len(maps):
            take(found.shades, place, "webp", _shade(maps[place]))
    for one in (one for image in images for one in image["similar"]):
        take(found.photos, one["picture"], "webp", pictures[one["picture"]])
    return found


def _shade(strengths: np.ndarray) -> bytes:
    """A veil that is thinnest where an image speaks the most for the answer."""
    bright = Image.fromarray(strengths).resize((_SHADE, _SHADE), Image.Resampling.BICUBIC)
    veil = np.zeros((_SHADE, _SHADE, 4), np.uint8)
    veil[..., 3] = _DARKEST - np.asarray(bright, int) * _DARKEST // 255
    file = io.BytesIO()
    Image.fromarray(veil).save(file, "WEBP", quality=60, alpha_quality=80, method=4)
    return file.getvalue()
