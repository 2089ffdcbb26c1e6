"""Which cut of each freeze depth features are kept at: the work it spares against what it takes."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

# Where the features of a cut are kept. PIXELS: nowhere, the images themselves are trained on.
PIXELS = "pixels"
MEMORY = "memory"
DISK = "disk"


@dataclass(frozen=True)
class Prices:
    """Seconds that things take on this machine.

    Args:
        multiply_add: One of them, in the forward pass of a frozen layer.
        load: To bring one byte from memory into a training step.
        disk_load: The same from disk.
        disk_write: To write one byte to disk.
        another_pass: To begin a pass after the first one, whatever it computes.
    """

    multiply_add: float
    load: float
    disk_load: float
    disk_write: float
    another_pass: float = 0.0


@dataclass(frozen=True)
class Demand:
    """How often features are needed.

    Args:
        kept: Rows that are kept: every view of every training image, and the validation images.
        loaded: Rows that are loaded in an epoch.
        epochs: Epochs still to come.
    """

    kept: int
    loaded: int
    epochs: int


@dataclass(frozen=True)
class Option:
    """A cut, and where its features would be.

    Args:
        point: Name of the cut; cuts of several freeze depths may be the same one.
        place: "memory", "disk" or "pixels".
        row_bytes: Bytes of one image's features, or pixels.
        again: Multiply-adds per image of frozen layers that every step runs again.
        frozen: Multiply-adds per image of all frozen layers.
        kept: Whether its features are there already.
        spared: Multiply-adds per image that the pass is spared which computes them, for it begins
            at other features that are there.
    """

    point: str
    place: str
    row_bytes: int
    again: int
    frozen: int
    kept: bool = False
    spared: int = 0

    @property
    def share(self) -> float:
        """Share of the frozen work that is run again in every step, 0 to 1."""
        return self.again / self.frozen if self.frozen else 0.0

    def size(self, demand: Demand) -> int:
        """Bytes that have to be found for it."""
        return 0 if self.kept or self.place == PIXELS else self.row_bytes * demand.kept

    def seconds(self, demand: Demand, prices: Prices) -> float:
        """What it costs from now on: to have features, to load them, and what is run again."""
        load = prices.disk_load if self.place == DISK else prices.load
        row = self.again * prices.multiply_add + self.row_bytes * load
        had = 0.0
        if not self.kept and self.place != PIXELS:
            work = self.frozen - self.again - self.spared
            had = work * prices.multiply_add * demand.kept
            had += prices.another_pass if self.spared else 0.0
        if self.place == DISK:
            had += self.size(demand) * prices.disk_write
        return row * demand.loaded * demand.epochs + had


# What is chosen for each freeze depth.
Plan: TypeAlias = dict[int, Option]


def choose(
    options: Mapping[int, Sequence[Option]],
    demand: Demand,
    prices: Prices,
    room: Mapping[str, int],
) -> Plan:
    """Choose an option for each freeze depth, together as quick as there is room for.

    Args:
        options: For each depth what may be chosen, one that takes no room among them.
        demand: How often features are needed.
        prices: What work and bytes cost.
        room: Bytes that are free, by place.

    Returns:
        Depths with their options. A cut that serves several depths takes its room once.

    Example:
        >>> prices = Prices(multiply_add=1e-11, load=1e-9, disk_load=1e-8, disk_write=1e-8)
        >>> near, far = (Option(name, MEMORY, size, again, 10**9)
        ...     for name, size, again in (("near", 100, 10**9), ("far", 10**6, 0)))
        >>> pixels = Option(PIXELS, PIXELS, 1000, 10**9, 10**9)
        >>> demand = Demand(kept=1000, loaded=1000, epochs=10)
        >>> for bytes in (10**10, 10**6, 10**3):
        ...     choose({5: [near, far, pixels]}, demand, prices, {MEMORY: bytes})[5].point
        'far'
        'near'
        'pixels'
    """

    def seconds(option: Option) -> float:
        return option.seconds(demand, prices)

    def best(given_up: Set[tuple[str, str]]) -> Plan:
        return {
            depth: min((o for o in of_depth if (o.point, o.place) not in given_up), key=seconds)
            for depth, of_depth in options.items()
        }

    def beyond(plan: Plan) -> int:
        """Bytes that there is no room for."""
        taken = {(o.point, o.place): o.size(demand) for o in plan.values()}
        return sum(
            max(0, sum(size for (_, at), size in taken.items() if at == place) - room.get(place, 0))
            for place in (MEMORY, DISK)
        )

    def total(plan: Plan) -> float:
        return sum(map(seconds, plan.values()))

    given_up: set[tuple[str, str]] = set()
    plan = best(given_up)
    while beyond(plan):
        # One cut less, for all depths: what costs the fewest seconds for each byte that it takes.
        _, dearest = min(
            (
                (total(best(given_up | {(o.point, o.place)})) - total(plan)) / size,
                (o.point, o.place),
            )
            for o in plan.values()
            if (size := o.size(demand))
        )
        given_up.add(dearest)
        plan = best(given_up)
    # Room that is left over after such steps may do for something better.
    while better := [
        (seconds(option) - seconds(plan[depth]), depth, option)
        for depth, of_depth in options.items()
        for option in of_depth
        if seconds(option) < seconds(plan[depth]) and not beyond({**plan, depth: option})
    ]:
        _, depth, option = min(better, key=lambda change: change[:2])
        plan[depth] = option
    return plan
