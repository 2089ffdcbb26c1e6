"""A model's blocks: where a person would say that one part ends and the next begins."""

import itertools
import re
from collections import Counter
from dataclasses import dataclass

import keras

from finetune.backbones.outline import Outline
from finetune.compat import own_variables


@dataclass(frozen=True)
class Block:
    """A run of layers with a name.

    Attributes:
        name: Such as "block_10" or "conv4_block3"; "stem" and "tail" for what lies around.
        end: Number of layers frozen when this block is the last frozen one.
    """

    name: str
    end: int


# How the families of keras.applications name the layers of a block, and what we call it.
_LAYER_NAMES = (
    (r"(?:adjust|normal|reduction)_.*?_((?:stem_|reduce_)?\d+)$", "cell_{}"),  # NASNet
    (r"(stem)(?=_|$)", "{}"),  # EfficientNet, ConvNeXt, NASNet
    (r"(stage_\d+_block_\d+)(?=_|$)", "{}"),  # ConvNeXt
    (r"downsampling_(?:layernorm|conv)_(\d+)$", "downsampling_{}"),  # ConvNeXt
    (r"(conv\d_block\d+)(?=_)", "{}"),  # ResNet, DenseNet
    (r"(pool[2-4])_", "{}"),  # DenseNet
    (r"conv_(?:pad|dw|pw)_(\d+)(?=_|$)", "block_{}"),  # MobileNet
    (r"(block_\d+)(?=_|$)", "{}"),  # MobileNetV2
    (r"(expanded_conv(?:_\d+)?)_", "{}"),  # MobileNetV2, MobileNetV3
    (r"(block\d+(?:[a-z]|_\d+)?)(?=_|$)", "{}"),  # EfficientNet, VGG, Xception, Inception-ResNet
    (r"(mixed(?:\d+|_\d[a-z]))$", "{}"),  # Inception, whose other layers have no block names
)
_PATTERNS = [(re.compile(f"(?:^|_){pattern}"), name) for pattern, name in _LAYER_NAMES]

_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
)


def find_blocks(outline: Outline) -> list[Block]:
    """Divides a model into blocks.

    Args:
        outline: The model's layers.

    Returns:
        Blocks in order; each begins where the one before ends, and the last ends with the
        model. Where fewer than two blocks can be told by name, a block begins at each layer
        with a kernel that a single tensor leads to.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((8,)), keras.layers.Dense(4), keras.layers.ReLU(), keras.layers.Dense(2)
        ... ])
        >>> find_blocks(Outline(model))
        [Block(name='block_1', end=2), Block(name='block_2', end=3)]
    """
    names = _name_leaves(outline)
    if len(set(names) - {None}) < 2:
        return _blocks_by_graph(outline)
    return _blocks_by_name(outline, names)


def _name_leaves(outline: Outline) -> list[str | None]:
    """Names the block of each leaf, None where neither its name nor what holds it tells."""
    uses = Counter(container.layer.name for container in outline.containers)
    names: list[str | None] = []
    for index, leaf in enumerate(outline.leaves):
        name = _match_layer_name(leaf.layer.name)
        if name is None:
            # What holds more than half of the layers is an encoder, not a block of one.
            holders = outline.holders(index)
            block = next((h for h in holders if len(h.span) <= len(outline.leaves) / 2), None)
            if block is not None:
                name = block.layer.name if uses[block.layer.name] == 1 else block.path
        names.append(name)
    return names


def _match_layer_name(layer_name: str) -> str | None:
    for pattern, name in _PATTERNS:
        match = pattern.search(layer_name)
        if match:
            return name.format(match.group(1))
    return None


def _blocks_by_name(outline: Outline, names: list[str | None]) -> list[Block]:
    total = len(names)
    last = {name: index + 1 for index, name in enumerate(names) if name is not None}
    first = next(index for index, name in enumerate(names) if name is not None)
    start = max(cut for cut in outline.cuts if cut <= first)
    blocks = []
    if "stem" not in last and _has_weights(outline, 0, start):
        blocks.append(Block("stem", start))
    for name, end in sorted(last.items(), key=lambda item: item[1]):
        blocks.append(Block(name, _closing_end(outline, names, end)))
    if blocks[-1].end < total:
        if _has_weights(outline, blocks[-1].end, total):
            blocks.append(Block("tail", total))
        else:
            blocks[-1] = Block(blocks[-1].name, total)
    return blocks


def _closing_end(outline: Outline, names: list[str | None], end: int) -> int:
    """Moves a block's end past unnamed layers that close it, such as an addition."""
    closing = end
    while closing not in outline.cuts:
        if names[closing] is not None:
            return end
        closing += 1
    return closing


def _has_weights(outline: Outline, start: int, end: int) -> bool:
    return any(leaf.layer.weights for leaf in outline.leaves[start:end])


def _blocks_by_graph(outline: Outline) -> list[Block]:
    cuts = sorted(outline.cuts)
    ends: list[int] = []
    has_kernel = False
    for start, end in itertools.pairwise(cuts):
        kernel = any(
            own_variables(part) and not isinstance(part, _NORMALIZATIONS)
            for leaf in outline.leaves[start:end]
            for part in leaf.parts
        )
        if ends and not (kernel and has_kernel):
            ends.pop()
        ends.append(end)
        has_kernel = has_kernel or kernel
    return [Block(f"block_{number}", end) for number, end in enumerate(ends, start=1)]
