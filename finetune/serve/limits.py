"""What a server takes, and how much of it at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server, each with a default that one machine can hold.

    Args:
        bytes: Most bytes of an image file. Default 10 MB.
        pixels: Most pixels of an image, from its header: a small file may hold a large image.
            Default 40 million, about what cameras make.
        batch: Most images that the model looks at together. Default 32.
        wait: Seconds that the first image of a batch waits for others. Default 0.01.
        queue: Images that may wait; who comes then is told to come again. Default 128.
        decoders: Images that are decoded at a time. Default 2.
    """

    bytes: int = 10 * 2**20
    pixels: int = 40_000_000
    batch: int = 32
    wait: float = 0.01
    queue: int = 128
    decoders: int = 2
