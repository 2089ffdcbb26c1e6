"""A model whose layers are frozen: what it computes at any of its places, once for every image."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import keras
import numpy as np

from finetune.backbones import apply_freeze_depth, leaf_layers
from finetune.compat import Call, calls_of
from finetune.reuse.choice import PIXELS
from finetune.reuse.cuts import Cut, extractor, find_cuts
from finetune.reuse.cuts import split as split_model
from finetune.reuse.effort import Pace, work_of
from finetune.reuse.features import FeatureCache, Features
from finetune.reuse.fold import foldable_pairs
from finetune.reuse.fold_source import FoldSource
from finetune.reuse.graph import CannotSplit, flatten
from finetune.reuse.identities import Identity, identity
from finetune.reuse.sources import TRAIN, VALIDATION, Source, pass_batch
from finetune.support import assign, values_of

_BOTH = (TRAIN, VALIDATION)

log = logging.getLogger("finetune")


class FrozenModel:
    """A pretrained model and the places in it whose values are kept.

    Args:
        model: The model. Its weights may be trained meanwhile.
        prepare: From pixels to what the model expects.
        weights: The values of the model's variables that count.
        cache: Where features are kept.

    Attributes:
        pace: How long it takes here, by the passes over pixels that were made.
    """

    def __init__(
        self,
        model: keras.Model,
        prepare: keras.Model,
        weights: Sequence[np.ndarray],
        cache: FeatureCache,
    ) -> None:
        self._model = model
        self._prepare = prepare
        self._weights = weights
        self._cache = cache
        self._places: dict[str, tuple[keras.KerasTensor, ...]] = {}
        self._cuts: dict[int, dict[str, Cut]] = {}
        self._extractors: dict[tuple[str, tuple[str, ...]], tuple[Any, int]] = {}
        self.pace = Pace()

    @cached_property
    def identity(self) -> Identity:
        """Names the features; worked out on first use, for it reads all the weights."""
        weights = values_of(self._prepare.weights)
        # Without the states of random generators, which differ from process to process.
        counted = {id(variable) for variable in self._model.weights}
        for variable, values in zip(self._model.variables, self._weights, strict=True):
            if id(variable) in counted:
                weights.append(values)
        return identity([self._prepare, self._model], weights, frozen=True)

    @cached_property
    def flat(self) -> keras.Model:
        """The model with the models within it inlined.

        Raises:
            CannotSplit: If it is no graph of layers.
        """
        return flatten(self._model)

    @cached_property
    def graph(self) -> keras.Model:
        """The flat model; where there is none, one with the whole model as its only layer."""
        try:
            return self.flat
        except CannotSplit:
            inputs = keras.Input(self._prepare.output_shape[1:])
            return keras.Model(inputs, self._model(inputs))

    def name_of(self, tensors: Sequence[keras.KerasTensor]) -> str:
        """A name of tensors of the flat model that is the same in every process.

        Layers are counted, for their names depend on how many others were made before.
        """
        outputs = {
            id(tensor): f"{number}:{output}"
            for number, call in enumerate(calls_of(self.flat))
            for output, tensor in enumerate(call.outputs)
        }
        return "+".join(outputs[id(tensor)] for tensor in tensors)

    def where(self, name: str) -> str:
        """The layers of the flat model whose outputs a marked place holds, for people."""
        owners = {
            id(tensor): call.operation.name
            for call in calls_of(self.flat)
            for tensor in call.outputs
        }
        return " + ".join(owners[id(tensor)] for tensor in self._places[name])

    def mark(self, name: str, tensors: Sequence[keras.KerasTensor]) -> None:
        """Name tensors that are computed in the graph, so that they can be asked for."""
        self._places.setdefault(name, tuple(tensors))

    def marked(self, name: str) -> bool:
        """Whether there is such a name."""
        return name in self._places

    def cuts(self, freeze_depth: int) -> dict[str, Cut]:
        """Where features can be kept for a freeze depth, by name; see `find_cuts`.

        Raises:
            CannotSplit: If there is no such place.
        """
        if freeze_depth not in self._cuts:
            apply_freeze_depth(self._model, freeze_depth)
            found = [cut for cut in find_cuts(self.flat, freeze_depth) if cut.depth]
            self._cuts[freeze_depth] = {self.name_of(cut.tensors): cut for cut in found}
            for name, cut in self._cuts[freeze_depth].items():
                self.mark(name, cut.tensors)
        return self._cuts[freeze_depth]

    def tensors_of(self, name: str) -> tuple[keras.KerasTensor, ...]:
        """The tensors of a marked place."""
        return self._places[name]

    def holds(self, source: Source, name: str) -> bool:
        """Whether the features of training images at a place are at hand."""
        return self._cache.holds(source, TRAIN, self._full(name))

    @property
    def pixel_bytes(self) -> int:
        """Bytes of an image."""
        return math.prod(self._prepare.input_shape[1:])

    def room(self, source: Source) -> int:
        """Bytes of memory that features of these images may still take."""
        return self._cache.room(source, self.identity.name)

    def disk(self, source: Source) -> tuple[int, float]:
        """Bytes that features of these images may take on disk, and seconds for each of them."""
        return self._cache.disk(source, lasting=self.identity.lasting)

    def features(
        self, source: Source, split: str, name: str, wanted: Sequence[str] = ()
    ) -> Features:
        """What is computed for every image at a marked place, kept or computed now.

        Args:
            source: The images.
            split: "train" or "validation".
            name: Name of the place.
            wanted: Names of other places that will be asked for, to be computed in the same pass.
        """
        if isinstance(source, FoldSource):
            parts = (self.features(source.whole, part, name, wanted) for part in _BOTH)
            return source.features(split, *parts)
        names = [self._full(place) for place in (name, *wanted)]
        if self._cache.holds(source, split, names[0]):
            names = names[:1]
        lasting = self.identity.lasting
        at_hand = self._cache.fetch(source, split, names, lasting=lasting)
        with nullcontext() if at_hand else self._pretrained():
            return self._cache.get(
                source, split, names[0], names[1:], self._extract, lasting=lasting
            )

    def computed(
        self, source: Source, split: str, name: str, beside: Sequence[str] = ()
    ) -> Features:
        """The same, computed now; nothing of it is kept.

        Args:
            source: The images.
            split: "train", "validation" or, where they are stored, "test".
            name: Name of the place.
            beside: Other places that passes before were about, see `features`: the compiled
                function that computed all of them serves once more.
        """
        if isinstance(source, FoldSource):
            parts = (self.computed(source.whole, part, name, beside) for part in _BOTH)
            return source.features(split, *parts)
        names = [*dict.fromkeys(self._full(place) for place in (name, *beside))]

        def extract(
            source: Source, split: str, _: Sequence[str]
        ) -> Iterator[tuple[list[tuple[np.ndarray, ...]], np.ndarray]]:
            for values, labels in self._extract(source, split, names):
                yield values[:1], labels

        with self._pretrained():
            return FeatureCache().get(source, split, names[0], (), extract, lasting=False)

    @contextmanager
    def _pretrained(self) -> Iterator[None]:
        """Features are of the pretrained model, whatever a trial has made of it by now."""
        now = values_of(self._model.variables)
        assign(self._model.variables, self._weights)
        try:
            yield
        finally:
            assign(self._model.variables, now)

    def _full(self, name: str) -> str:
        return f"{self.identity.name}/{name}"

    def _extract(
        self, source: Source, split: str, names: Sequence[str]
    ) -> Iterator[tuple[list[tuple[np.ndarray, ...]], np.ndarray]]:
        """What is computed at places: from the deepest features that do for all of them, if any."""
        places = [name.removeprefix(self._full("")) for name in names]
        shapes = [len(self._places[place]) for place in places]
        for inputs, labels in self._batches(source, split, places):
            values = iter(inputs)
            yield [tuple(np.asarray(next(values)) for _ in range(n)) for n in shapes], labels

    def _batches(
        self, source: Source, split: str, places: Sequence[str]
    ) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
        from_pixels, work = self._extractor(PIXELS, places)
        images = source.passes(split)
        pixels, labels = next(images)
        first = from_pixels(pixels)
        yield first, labels
        begin = self._deepest(source, split, places) if source.stored else None
        if begin is not None:
            kept = self._cache.kept[source.key, split, self._full(begin)]
            go_on, _ = self._extractor(begin, places)
            batches = kept.batches(pass_batch())
            rows, _ = next(batches)
            # The same layers, in another graph: where these round differently, so that what is
            # kept would depend on what was kept before, the pixels are gone through after all.
            if all(map(np.array_equal, go_on(rows), first)):
                log.debug("Features are computed from those that are kept at %s.", begin)
                yield from ((go_on(rows), labels) for rows, labels in batches)
                return
        # The first batch is not timed: the function is traced in it.
        yield from ((self.pace.time(work, from_pixels, batch), told) for batch, told in images)

    def _deepest(self, source: Source, split: str, places: Sequence[str]) -> str | None:
        """The last place at which exact features are at hand that yield those at all others."""
        wanted = {id(tensor) for place in places for tensor in self._places[place]}
        best, fewest = None, math.inf
        for place in self._places:
            kept = self._cache.kept.get((source.key, split, self._full(place)))
            if kept is None or any(array.dtype != np.float32 for array in kept.inputs):
                continue
            behind = self._behind(place)
            if wanted <= behind and len(behind) < fewest:
                best, fewest = place, len(behind)
        return best

    def _behind(self, place: str) -> set[int]:
        """Tensors of the graph that can be computed from those of a place alone."""
        known = {id(tensor) for tensor in self._places[place]}
        for call in calls_of(self.graph):
            if call.inputs and all(id(tensor) in known for tensor in call.inputs):
                known.update(id(tensor) for tensor in call.outputs)
        return known

    def work_spared(self, place: str) -> int:
        """What a training step spares of an image that begins at a marked place, see `work_of`.

        That is what all layers take as Keras runs them, less what those behind the place take with
        frozen batch norm folded, as it is where features are kept.

        Args:
            place: Its name.
        """
        before, behind = self._parted([place])
        norms = {id(norm) for _, norm in foldable_pairs(self.graph)}
        return work_of([*before, *behind]) - work_of(behind, norms)

    def _parted(self, places: Sequence[str]) -> tuple[list[Call], list[Call]]:
        """The calls of layers between the pixels and places, and the others."""
        reached = {id(tensor) for place in places for tensor in self._places[place]}
        beyond = set.intersection(*map(self._behind, places)) - reached
        before, behind = [], []
        for call in calls_of(self.graph):
            further = all(id(tensor) in beyond for tensor in call.outputs)
            (behind if further else before).append(call)
        return before, behind

    def _extractor(self, begin: str, places: Sequence[str]) -> tuple[Any, int]:
        """Computes the values at places from those at another one, or from pixels; and its work."""
        key = begin, tuple(places)
        if key not in self._extractors:
            apply_freeze_depth(self._model, len(leaf_layers(self._model)))
            body = keras.Model(
                self.graph.inputs, [t for place in places for t in self._places[place]]
            )
            folded = {id(norm) for _, norm in foldable_pairs(body)}
            work = work_of(self._parted(places)[0], folded)
            if begin == PIXELS:
                pixels = self._prepare.inputs[0]
                body = keras.Model(pixels, body(self._prepare(pixels)))
            else:
                _, body = split_model(body, self._places[begin])
            self._extractors[key] = extractor(body), work
        return self._extractors[key]
