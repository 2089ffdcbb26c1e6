"""What a server has done, as Prometheus reads it."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

# Upper ends of the classes in which requests are counted, in seconds; Prometheus' own defaults.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32)


@dataclass
class _Histogram:
    ends: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.ends) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.ends, value)] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        lines, below = [], 0
        for end, count in zip((*self.ends, "+Inf"), self.counts, strict=True):
            below += count
            lines.append(f'{name}_bucket{{le="{end}"}} {below}')
        return [*lines, f"{name}_sum {self.total:g}", f"{name}_count {below}"]


class Counters:
    """Counts of requests, their time, and the sizes of batches.

    Example:
        >>> counters = Counters()
        >>> counters.request(200, 0.02)
        >>> print(counters.text(waiting=3).splitlines()[2])
        finetune_requests_total{status="200"} 1
    """

    def __init__(self) -> None:
        self._requests: Counter[int] = Counter()
        self._seconds = _Histogram(_SECONDS)
        self._batches = _Histogram(_IMAGES)

    def request(self, status: int, seconds: float) -> None:
        """Count a request for a prediction."""
        self._requests[status] += 1
        self._seconds.add(seconds)

    def batch(self, images: int) -> None:
        """Count a batch."""
        self._batches.add(images)

    def text(self, waiting: int) -> str:
        """All of it, in Prometheus' text format.

        Args:
            waiting: Images in the queue.

        Source: https://prometheus.io/docs/instrumenting/exposition_formats/
        """
        lines = []
        for name, kind, told, values in (
            (
                "finetune_requests_total",
                "counter",
                "Requests for a prediction, by status.",
                [
                    f'finetune_requests_total{{status="{status}"}} {count}'
                    for status, count in sorted(self._requests.items())
                ],
            ),
            (
                "finetune_request_seconds",
                "histogram",
                "Time from a request to its answer.",
                self._seconds.lines("finetune_request_seconds"),
            ),
            (
                "finetune_batch_images",
                "histogram",
                "Images that the model looked at together.",
                self._batches.lines("finetune_batch_images"),
            ),
            (
                "finetune_waiting_images",
                "gauge",
                "Images in the queue.",
                [f"finetune_waiting_images {waiting}"],
            ),
        ):
            lines += [f"# HELP {name} {told}", f"# TYPE {name} {kind}", *values]
        return "\n".join(lines) + "\n"
