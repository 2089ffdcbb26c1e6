"""Where trainings on a frozen model begin: at features that are kept, or at the pixels."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import tensorflow as tf

from finetune.reuse.choice import DISK, MEMORY, PIXELS, Demand, Option, Plan, Prices, choose
from finetune.reuse.features import FeatureCache
from finetune.reuse.frozen import FrozenModel
from finetune.reuse.graph import CannotSplit
from finetune.reuse.sources import TRAIN, VALIDATION, Source

log = logging.getLogger("finetune")

# Multiply-adds a second of one core in the forward pass, and bytes a second from memory into a
# step, near what was measured on a CPU (docs/performance.md has both). Constants, not measured anew
# in every run: so equal commands start from equal places. Those of a GPU are estimates.
_CORE = 1e10
_GPU = 5e12
_LOADED = 2e9
_SENT = 5e9
# Seconds to build and trace what computes features for a depth that was not announced: 1.3 to 2.5
# of MobileNetV2, EfficientNetV2B0 and ResNet50.
_ANOTHER_PASS = 2.0


@dataclass(frozen=True)
class Candidate:
    """A start that may be chosen, as people read it.

    Args:
        where: The layers whose outputs are kept.
        option: What it takes.
        seconds: What it costs.
        remark: "chosen", or why it cannot be; empty otherwise.
    """

    where: str
    option: Option
    seconds: float
    remark: str


class Starts:
    """Chooses where trainings on a frozen model begin, within the room that there is.

    Args:
        frozen: The model.
        cache: Where features are kept.
    """

    def __init__(self, frozen: FrozenModel, cache: FeatureCache) -> None:
        self._frozen = frozen
        self._cache = cache
        self._chosen: dict[tuple[str, int], Option] = {}

    def at(self, source: Source, depth: int, others: Iterable[int], epochs: int) -> Option:
        """Where a training starts whose first layers are frozen.

        Args:
            source: The images.
            depth: Number of frozen layers.
            others: Depths of other trainings to come: room is shared among all of them.
            epochs: Epochs of a training.

        Returns:
            Its point is a place of the frozen model, or "pixels".
        """
        if (source.key, depth) not in self._chosen:
            depths = {depth, *others}
            new = sorted(one for one in depths if (source.key, one) not in self._chosen)
            wished, plan = self._choose(source, new, epochs)
            for one, option in plan.items():
                self._chosen[source.key, one] = option
                self._tell(source, one, option, wished[one])
        return self._chosen[source.key, depth]

    def points(self, source: Source) -> list[str]:
        """Places where features of these images are to be kept."""
        options = [option for (key, _), option in self._chosen.items() if key == source.key]
        return [*dict.fromkeys(option.point for option in options if option.place != PIXELS)]

    def options(self, source: Source, depth: int) -> list[Option]:
        """What may be chosen for a freeze depth; the pixels come last."""
        try:
            cuts = self._frozen.cuts(depth)
        except CannotSplit as refusal:
            log.info("Training the whole model: %s.", refusal.reason)
            cuts = {}
        frozen = max((cut.frozen for cut in cuts.values()), default=0)
        # What is kept for a smaller depth costs nothing but the layers between.
        kept = [
            replace(option, again=frozen - option.frozen + option.again, frozen=frozen, kept=True)
            for (key, other), option in self._chosen.items()
            if cuts and key == source.key and other <= depth and option.place != PIXELS
        ]
        done = [option.frozen - option.again for option in kept]
        options = [
            Option(
                *(name, place, self._cache.row_bytes(cut.values), cut.again, frozen),
                spared=max((work for work in done if work <= frozen - cut.again), default=0),
            )
            for name, cut in cuts.items()
            for place in (MEMORY, DISK)
        ]
        pixels = Option(PIXELS, PIXELS, self._frozen.pixel_bytes, frozen, frozen)
        return [*kept, *options, pixels]

    def candidates(self, source: Source, depth: int, epochs: int) -> list[Candidate]:
        """Every start for a freeze depth, from the pixels on; one of them is chosen."""
        chosen = self.at(source, depth, (), epochs)
        demand = self.demand(source, epochs)
        found = {o.point: o for o in self.options(source, depth) if o.place != DISK and not o.kept}
        found[chosen.point] = replace(chosen, kept=False)
        return [
            Candidate(
                "the pixels" if option.point == PIXELS else self._frozen.where(option.point),
                option,
                option.seconds(demand, prices(0.0)),
                self._remark(option, chosen, demand, source),
            )
            for option in sorted(found.values(), key=lambda o: (-o.again, o.row_bytes))
        ]

    def _remark(self, option: Option, chosen: Option, demand: Demand, source: Source) -> str:
        if option.point == chosen.point:
            return "chosen, on disk" if option.place == DISK else "chosen"
        return "no room in memory" if option.size(demand) > self._frozen.room(source) else ""

    def demand(self, source: Source, epochs: int) -> Demand:
        """How often rows of features are needed."""
        train, validation = (source.rows(split) or 1 for split in (TRAIN, VALIDATION))
        return Demand(train + validation, train // source.views + validation, max(epochs, 1))

    def _choose(self, source: Source, depths: list[int], epochs: int) -> tuple[Plan, Plan]:
        """What would be best if memory had no bounds, and what is best."""
        options = {depth: self.options(source, depth) for depth in depths}
        demand = self.demand(source, epochs)
        # Chosen before, and still to be computed.
        awaited = {
            option.point: option.row_bytes * demand.kept
            for (key, _), option in self._chosen.items()
            if (key, option.place) == (source.key, MEMORY)
            and not self._frozen.holds(source, option.point)
        }
        room = {MEMORY: max(0, self._frozen.room(source) - sum(awaited.values()))}
        wished = choose(_without(options, DISK), demand, prices(0.0), {MEMORY: 2**62})
        plan = choose(_without(options, DISK), demand, prices(0.0), room)
        if plan != wished:
            # Memory is short: only now is it worth measuring the disk.
            room[DISK], seconds = self._frozen.disk(source)
            plan = choose(options, demand, prices(seconds), room)
        return wished, plan

    def _tell(self, source: Source, depth: int, option: Option, wished: Option) -> None:
        if option.place != PIXELS:
            log.info(
                "Freeze depth %d starts from %s features of %.2f MB an image, %s; %.0f%% of the "
                "frozen work is run again in every step.",
                depth,
                "kept" if option.kept else "new",
                option.row_bytes / 1e6,
                "in memory" if option.place == MEMORY else "on disk",
                100 * option.share,
            )
        elif wished.place == PIXELS and option.frozen:
            log.info(
                "Freeze depth %d starts from the pixels: to have features would take longer than "
                "they spare.",
                depth,
            )
        elif option.frozen:
            log.warning(
                "Freeze depth %d starts from the pixels: there is no room, in memory or on a disk "
                "that is quick enough, for features of %d images. Raise cache_budget, or train "
                "with a larger freeze depth or a smaller image size.",
                *(depth, self.demand(source, 1).kept),
            )


def prices(disk: float) -> Prices:
    """What work and bytes cost on this machine.

    Args:
        disk: Seconds that its disk takes for a byte.
    """
    if tf.config.list_physical_devices("GPU"):
        work, load = 1 / _GPU, 1 / _SENT
    else:
        work, load = 1 / (_CORE * (os.cpu_count() or 1)), 1 / _LOADED
    return Prices(work, load, max(disk, load), disk, _ANOTHER_PASS)


def _without(options: dict[int, list[Option]], place: str) -> dict[int, list[Option]]:
    return {
        depth: [option for option in of_depth if option.place != place]
        for depth, of_depth in options.items()
    }
