"""Where the seconds of a call go."""

import time


class Laps:
    """A stopwatch whose laps have names.

    Attributes:
        parts: Seconds by name; laps of one name are added up.

    Example:
        >>> laps = Laps()
        >>> laps.end("loading")
        >>> list(laps.parts)
        ['loading']
    """

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._began = time.perf_counter()

    def end(self, name: str) -> None:
        """End a lap; the next one begins."""
        now = time.perf_counter()
        self.parts[name] = self.parts.get(name, 0.0) + now - self._began
        self._began = now
