"""A model laid out in a line: its leaf layers, what holds them, and where it can be cut."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from finetune.backbones.stacks import open_stack
from finetune.compat import all_layers, calls_of, inner_layers, keras_class


@dataclass(frozen=True)
class Leaf:
    """One layer of the line.

    Attributes:
        layer: The layer.
        path: Its name, after those of the models and composite layers that hold it.
    """

    layer: keras.Layer
    path: str

    @property
    def parts(self) -> list[keras.Layer]:
        """The layer and what Keras built within it, outermost first."""
        return all_layers(self.layer)


@dataclass(frozen=True)
class Container:
    """A model or composite layer that is replaced by its inner layers.

    Attributes:
        layer: The model or layer.
        path: Its name, after those of what holds it; empty for the whole model.
        span: The indices of its leaves.
    """

    layer: keras.Layer
    path: str
    span: range


class Outline:
    """Leaf layers of a model in order from the input, with what holds them.

    Attributes:
        model: The model.
        leaves: What counts as a layer. A layer used twice stands at its first place.
        containers: The model and every model or composite layer in it, outermost first.

    Example:
        >>> inner = keras.Sequential([keras.layers.Dense(4, name="dense")], name="inner")
        >>> outline = Outline(keras.Sequential([keras.Input((8,)), inner]))
        >>> [leaf.path for leaf in outline.leaves]
        ['inner/dense']
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.leaves: list[Leaf] = []
        self.containers: list[Container] = []
        self._seen: set[int] = set()
        self._add_container(model, "", model.layers)

    def _add_container(self, layer: keras.Layer, path: str, children: list[keras.Layer]) -> None:
        place, start = len(self.containers), len(self.leaves)
        self.containers.append(Container(layer, path, range(0)))
        for child in children:
            if id(child) in self._seen:
                continue
            self._seen.add(id(child))
            child_path = f"{path}/{child.name}" if path else child.name
            inner = _replacements(child)
            if inner:
                self._add_container(child, child_path, inner)
            else:
                self.leaves.append(Leaf(child, child_path))
        self.containers[place] = Container(layer, path, range(start, len(self.leaves)))

    def holders(self, index: int) -> list[Container]:
        """Lists what holds a leaf, outermost first, without the whole model.

        Args:
            index: Index of the leaf.

        Returns:
            The models and composite layers around it.

        Example:
            >>> inner = keras.Sequential([keras.layers.Dense(4)], name="inner")
            >>> outline = Outline(keras.Sequential([keras.Input((8,)), inner]))
            >>> [container.path for container in outline.holders(0)]
            ['inner']
        """
        return [container for container in self.containers[1:] if index in container.span]

    @cached_property
    def cuts(self) -> frozenset[int]:
        """Numbers of leaves after which exactly one tensor crosses; ends included.

        Every number, where the model has no graph (a subclassed model).
        """
        if not _has_graph(self.model):
            return frozenset(range(len(self.leaves) + 1))
        trace = _Trace({id(leaf.layer) for leaf in self.leaves}, self._span_sizes())
        outputs = trace.run(self.model, [trace.new_tensor() for _ in self.model.inputs])
        return frozenset({0, len(self.leaves), *trace.single_crossings(outputs)})

    def _span_sizes(self) -> dict[int, int]:
        return {id(container.layer): len(container.span) for container in self.containers}


def _replacements(layer: keras.Layer) -> list[keras.Layer]:
    """Layers that stand in place of `layer`; none where it counts as one layer itself."""
    if isinstance(layer, keras.Model):
        return [inner for inner in layer.layers if not isinstance(inner, keras.layers.InputLayer)]
    if keras_class(layer) is not keras.Layer:
        return []
    return open_stack(layer) or inner_layers(layer)


def _has_graph(layer: Any) -> bool:
    """Whether it is a functional model, or a sequential one that knows its input."""
    if isinstance(layer, keras.Sequential):
        return hasattr(layer, "inputs")
    return isinstance(layer, keras.Model) and isinstance(layer, keras.Function)


class _Trace:
    """Runs through a graph, inner models included, noting when each tensor lives."""

    def __init__(self, leaves: set[int], sizes: dict[int, int]):
        self._sizes = {**dict.fromkeys(leaves, 1), **sizes}
        self._tensors = 0
        self._counts: list[int] = []
        self._made: dict[int, int] = {}
        self._used: dict[int, int] = {}

    def new_tensor(self) -> int:
        self._tensors += 1
        return self._tensors

    def run(self, model: keras.Model, arguments: list[int]) -> list[int]:
        tensors = dict(zip(map(id, model.inputs), arguments, strict=True))
        for call in calls_of(model):
            inputs = [tensors[id(tensor)] for tensor in call.inputs]
            if _has_graph(call.operation):
                outputs = self.run(call.operation, inputs)
            else:
                given = [tensors.get(id(tensor)) for tensor in call.outputs]
                outputs = [tensor or self.new_tensor() for tensor in given]
                self._note(call.operation, inputs, outputs)
            tensors.update(zip(map(id, call.outputs), outputs, strict=True))
        return [tensors[id(tensor)] for tensor in model.outputs]

    def _note(self, operation: Any, inputs: list[int], outputs: list[int]) -> None:
        step = len(self._counts)
        before = self._counts[-1] if self._counts else 0
        # A shared layer counts where it is first used.
        self._counts.append(before + self._sizes.pop(id(operation), 0))
        for tensor in inputs:
            self._used[tensor] = step
        for tensor in outputs:
            self._made.setdefault(tensor, step)

    def single_crossings(self, outputs: list[int]) -> Iterator[int]:
        alive: Counter[int] = Counter()
        for tensor in outputs:
            self._used[tensor] = len(self._counts)
        for tensor, made in self._made.items():
            alive[made] += 1
            alive[self._used.get(tensor, made)] -= 1
        crossing = 0
        for step, count in enumerate(self._counts):
            crossing += alive[step]
            if crossing == 1:
                yield count
