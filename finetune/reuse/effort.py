"""What layers take: counted from their shapes, and timed in passes that are made anyway."""

import math
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.compat import Call
from finetune.support import format_seconds

# Multiply-adds that take as long as one value that a layer writes: convolutions of few channels,
# activations and batch normalization wait for memory, not for arithmetic. Between what MobileNetV2
# and EfficientNet-Lite0 took on a CPU; docs/performance.md says how far that holds.
_VALUE = 30


@dataclass
class Pace:
    """How long work takes here, by passes that were made anyway.

    Attributes:
        seconds: What was timed, without the batches in which functions were traced.
        work: What was done in them, see `work_of`.
        images: Images that went through.

    Example:
        >>> pace = Pace()
        >>> pace.time(6, lambda batch: (2 * batch,), np.ones((3, 2)))[0].shape
        (3, 2)
        >>> pace.work, pace.images, pace.seconds > 0
        (18, 3, True)
    """

    seconds: float = 0.0
    work: int = 0
    images: int = 0

    def time(
        self, work: int, run: Callable[[Any], Sequence[Any]], batch: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """What a function gives for a batch, once it is there; its time is noted.

        Args:
            work: Of one image.
            run: The function.
            batch: (n, ...).
        """
        started = time.perf_counter()
        values = tuple(np.asarray(value) for value in run(batch))  # a GPU may still be at it
        self.seconds += time.perf_counter() - started
        self.work += work * len(batch)
        self.images += len(batch)
        return values


@dataclass(frozen=True)
class Spared:
    """What it would have taken longer to run frozen layers in every epoch: an estimate.

    Args:
        seconds: So much longer.
        whole: Seconds that it would have taken in all.
        images: Images that frozen layers were not run for, those of every epoch counted.
        image_ms: Milliseconds that each of them would have taken longer.
        pass_ms: Milliseconds that the whole backbone took for an image, in the pass of this run
            that features were computed in: what the estimate is made from.
    """

    seconds: float
    whole: float
    images: int
    image_ms: float
    pass_ms: float

    @property
    def share(self) -> float:
        """Share of what it would have taken in all, 0 to 1."""
        return self.seconds / self.whole if self.whole else 0.0

    def __str__(self) -> str:
        spared, whole = format_seconds(self.seconds), format_seconds(self.whole)
        return f"reuse spared about {spared} of {whole}"


def work_of(calls: Iterable[Call], free: Container[int] = ()) -> int:
    """What calls of layers take for an image, in multiply-adds.

    Args:
        calls: The calls.
        free: Ids of the operations that take nothing, for another one does what they do.

    Returns:
        Their multiply-adds, and 30 for each value that they give.
    """
    counted = (call for call in calls if not call.is_input and id(call.operation) not in free)
    return sum(
        multiply_adds(call, [call.operation])
        + _VALUE * sum(math.prod(n or 1 for n in tensor.shape[1:]) for tensor in call.outputs)
        for call in counted
    )


def multiply_adds(call: Call, layers: Sequence[Any]) -> int:
    """Multiply-adds per image of products with kernels, which are nearly all that a network does.

    Args:
        call: A call.
        layers: What is counted of what it calls.
    """
    weights = [weight for layer in layers for weight in getattr(layer, "weights", ())]
    kernels = {id(weight): weight for weight in weights if "kernel" in weight.name}
    if not kernels:
        return 0
    places = max(math.prod(n or 1 for n in tensor.shape[1:-1]) for tensor in call.outputs)
    return places * sum(math.prod(kernel.shape) for kernel in kernels.values())
