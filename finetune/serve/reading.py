"""Images as they come over the network: bounded before they are decoded."""

import io
from typing import Any

import numpy as np
from PIL import Image

from finetune.data import read_image
from finetune.exceptions import UnreadableImageError
from finetune.model import ModelCard
from finetune.serve.limits import Limits


class Refused(Exception):
    """A request that is not answered, with the status that HTTP has for the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def read_body(request: Any, limits: Limits) -> bytes:
    """The file that was sent, as far as it may go.

    Args:
        request: Starlette's.
        limits: Bounds.

    Raises:
        Refused: If it is empty, too large, or a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded", "application/json"):
        raise Refused(
            415,
            f"Expected the image file itself as the body, received {kind}. With curl: "
            "--data-binary @photo.jpg",
        )
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limits.bytes:
        raise _too_large(limits)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limits.bytes:  # whatever the header said
            raise _too_large(limits)
    if not body:
        raise Refused(400, "Expected an image file as the body, received nothing.")
    return bytes(body)


def decode(body: bytes, card: ModelCard, limits: Limits) -> np.ndarray:
    """Pixels as the model takes them.

    Args:
        body: An image file.
        card: Says which size.
        limits: Bounds.

    Raises:
        Refused: If it is no image, or has too many pixels.
    """
    try:
        # The header alone is read here.
        with Image.open(io.BytesIO(body)) as image:
            width, height = image.size
    # Of broken files Pillow raises errors of every class; the decoder below says what is wrong.
    except Exception:
        width = height = 0
    if width * height > limits.pixels:
        raise Refused(
            413,
            f"Expected at most {limits.pixels:,} pixels, received {width:,} x "
            f"{height:,}. Send a smaller copy.",
        )
    try:
        return read_image(body, card.image_size, card.resize)
    except UnreadableImageError as error:
        raise Refused(400, str(error)) from error


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"Expected at most {limits.bytes:,} bytes. Send a smaller copy.")
