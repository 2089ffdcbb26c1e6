"""Which freeze depths are worth training, and linear probes of what the layers up to them know."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from finetune.api.fine_tuner import FineTuner
from finetune.backbones import describe, leaf_layers, resolve_depth, shallowest
from finetune.compat import all_layers, calls_of
from finetune.data import ImageData
from finetune.exceptions import ArgumentError
from finetune.reuse import TRAIN, VALIDATION, CannotSplit, Source
from finetune.training import TASKS, SharedBackbone
from finetune.tuning import Settings

log = logging.getLogger("finetune")

# Enough for a linear classifier on up to some thousand features; more only take longer.
_MOST_IMAGES = 5000

# Strengths of the penalty, as shares of the number of images.
_PENALTIES = np.logspace(-3, 1, 5)


@dataclass(frozen=True)
class Probe:
    """A linear classifier on the features at one depth, averaged over the image.

    Args:
        depth: Number of layers before the place where it looks.
        block: What the depth means, in words.
        score: Share of right answers on the validation images; for regression the share of the
            variance that is explained.
    """

    depth: int
    block: str
    score: float


@dataclass(frozen=True)
class ProbedDepths:
    """Freeze depths that are worth training, and what probes found.

    Args:
        depths: The depths to train, increasing.
        probes: One probe for each depth that was asked about; empty where the backbone cannot be
            looked into.
    """

    depths: tuple[int, ...]
    probes: tuple[Probe, ...]

    def __str__(self) -> str:
        lines = [
            f"{'*' if probe.depth in self.depths else ' '} {probe.depth:>5}  {probe.score:.3f}  "
            f"{probe.block}"
            for probe in self.probes
        ]
        return "\n".join([f"  depth  probe  (* is trained: {list(self.depths)})", *lines])


def narrow_depths(
    tuner: FineTuner,
    data: ImageData,
    *,
    keep: int = 3,
    settings: Settings | None = None,
) -> ProbedDepths:
    """Narrow the freeze depths of a tuner to those worth training, and probe all of them.

    Args:
        tuner: Its depths are narrowed: those that it may choose from.
        data: Training and validation images.
        keep: How many depths, 1 or more. Default 3.
        settings: Backbone, weights and size. Default: those of `tuner.trainer.settings()`.

    Returns:
        The depths, chosen by `shallowest`, and a probe of each depth.

    Raises:
        ArgumentError: If `keep` is below 1.

    Example:
        >>> from finetune import FineTuner, load_data
        >>> layers = [keras.layers.Conv2D(4, 3, name=name) for name in ("first", "second", "third")]
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
        >>> data = load_data((images, [0, 1, 2] * 8), image_size=16)
        >>> tuner = FineTuner(model, preprocess="tf")
        >>> narrow_depths(tuner, data, keep=2).depths
        (0, 1)
    """
    settings = tuner.trainer.settings() if settings is None else settings
    source = tuner.trainer.source_of(data, settings)
    depths = sorted(tuner.trainer.freeze_depths(settings))
    return narrow(tuner.trainer.shared(settings), source, depths, keep, task=data.task)


def narrow(
    shared: SharedBackbone,
    source: Source,
    depths: Sequence[int],
    keep: int = 3,
    *,
    task: str | None = None,
) -> ProbedDepths:
    """What `narrow_depths` does, for a backbone and images that are at hand.

    Args:
        shared: The backbone.
        source: Training and validation images.
        depths: Depths to choose from, in layers.
        keep: How many depths, 1 or more.
        task: See `probe_depths`.

    Returns:
        Depths and probes.
    """
    kept = shallowest(depths, shared.head_only, keep)
    return ProbedDepths(kept, probe_depths(shared, source, depths, task=task))


def probe_depths(
    shared: SharedBackbone, source: Source, depths: Sequence[int], *, task: str | None = None
) -> tuple[Probe, ...]:
    """Fit a linear classifier to the pretrained features at each depth.

    One pass over the images yields the features of all depths. They are kept, and are small:
    each channel's mean over the image.

    Args:
        shared: The backbone; pretrained weights are used whatever it holds now.
        source: Training and validation images. Of augmented images the first view is used.
        depths: Depths in layers.
        task: See `finetune.training.TASKS`. Default: whole numbers are classes, rows of 0 and 1
            several labels an image, all else regression.

    Returns:
        One probe per depth, in increasing order; none where the backbone is no graph of layers.

    Raises:
        ArgumentError: If the task is unknown, or a depth is outside the backbone.

    Example:
        >>> from finetune import FineTuner, load_data
        >>> layers = [keras.layers.Conv2D(4, 3, name=name) for name in ("first", "second", "third")]
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
        >>> data = load_data((images, [0, 1, 2] * 8), image_size=16)
        >>> tuner = FineTuner(model, preprocess="tf", freeze_depth=0)
        >>> source = tuner.trainer.source_of(data, tuner.trainer.settings())
        >>> probes = probe_depths(tuner.trainer.shared(tuner.trainer.settings()), source, [0, 2])
        >>> [probe.depth for probe in probes]
        [0, 2]

    Source: G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier
    probes" (2016).
    """
    if task is not None and task not in TASKS:
        raise ArgumentError(f"Expected task to be one of {TASKS}, received {task!r}.")
    model = shared.backbone.model
    known = sorted({resolve_depth(model, depth) for depth in depths})
    try:
        train, validation = (
            _features(shared, source, split, known) for split in (TRAIN, VALIDATION)
        )
    except CannotSplit as refusal:
        log.info("No probes of the layers: %s.", refusal.reason)
        return ()
    return tuple(
        Probe(depth, _where(model, depth), _score(train[depth], validation[depth], task))
        for depth in known
    )


_Rows = tuple[np.ndarray, np.ndarray]


def _where(model: keras.Model, depth: int) -> str:
    described = describe(model, depth)
    if depth == 0:
        return "pixels"
    return described.place


def _features(
    shared: SharedBackbone, source: Source, split: str, depths: Sequence[int]
) -> dict[int, _Rows]:
    """Pooled features at each depth with their labels, from the cache or one pass."""
    names = _mark(shared, depths)
    found = {}
    for depth, name in names.items():
        features = shared.frozen.features(source, split, name, [*names.values()])
        # The first view of each image; rows are taken by number where they lie on disk.
        rows = np.linspace(
            0, len(features.labels), min(len(features.labels), _MOST_IMAGES), False
        ).astype(int)
        found[depth] = features.inputs[0][rows], features.labels[rows]
    return found


def _mark(shared: SharedBackbone, depths: Sequence[int]) -> dict[int, str]:
    """Names of what crosses each depth, averaged over the image; at the last, where heads begin."""
    names = {
        depth: f"probe {depth}" if depth < shared.head_only else shared.mark_pooled()
        for depth in depths
    }
    new = [depth for depth, name in names.items() if not shared.frozen.marked(name)]
    leaves = [id(leaf) for leaf in leaf_layers(shared.backbone.model)]
    for depth, tensors in zip(new, _crossings(shared.frozen.flat, leaves, new), strict=True):
        pooled: Any = keras.ops.concatenate([_pool(tensor) for tensor in tensors], axis=-1)
        shared.frozen.mark(names[depth], [pooled])
    return names


def _pool(tensor: Any) -> Any:
    return keras.ops.cast(
        keras.ops.mean(tensor, axis=tuple(range(1, len(tensor.shape) - 1)))
        if len(tensor.shape) > 2
        else tensor,
        "float32",
    )


def _crossings(flat: keras.Model, leaves: list[int], depths: Sequence[int]) -> list[list[Any]]:
    """The tensors that the layers up to each depth pass on to those behind it.

    Not the cut that features for training are kept at: that one may lie before the depth.
    """
    place = {leaf: number for number, leaf in enumerate(leaves, start=1)}
    needed = {id(tensor): 0 for tensor in flat.inputs}  # layers that a tensor is made with
    used: dict[int, tuple[Any, int]] = {}  # tensor, and the layers that its last user needs
    for call in calls_of(flat):
        if call.is_input:
            continue
        own = max((place.get(id(layer), 0) for layer in all_layers(call.operation)), default=0)
        layers = max([own, *(needed[id(tensor)] for tensor in call.inputs)])
        for tensor in call.inputs:
            last = used.get(id(tensor), (tensor, 0))[1]
            used[id(tensor)] = tensor, max(last, layers)
        needed.update({id(tensor): layers for tensor in call.outputs})
    for tensor in flat.outputs:
        used[id(tensor)] = tensor, len(leaves) + 1
    return [
        [tensor for key, (tensor, last) in used.items() if needed[key] <= depth < last]
        for depth in depths
    ]


def _score(train: _Rows, validation: _Rows, task: str | None) -> float:
    """Quality on the validation images of a ridge regression fitted to the training images."""
    (features, labels), (new_features, truth) = train, validation
    if task is None:
        task = _guess_task(labels)
    classes = np.unique(labels) if task in ("binary", "multiclass") else None
    targets = labels if classes is None else labels[:, None] == classes
    model = make_pipeline(
        StandardScaler(),
        # One penalty for all outputs, chosen by leaving out one image at a time.
        RidgeCV(alphas=_PENALTIES * len(features)),
    )
    model.fit(features, targets.astype("float64"))
    predicted = np.asarray(model.predict(new_features))
    if classes is not None:
        return float(np.mean(classes[predicted.argmax(axis=1)] == truth))
    if task == "multilabel":
        return float(np.mean((predicted >= 0.5) == (truth >= 0.5)))
    return float(model.score(new_features, truth.astype("float64")))


def _guess_task(labels: np.ndarray) -> str:
    if labels.dtype.kind in "iub" and labels.ndim == 1:
        return "multiclass"
    return "multilabel" if labels.ndim == 2 and set(np.unique(labels)) <= {0, 1} else "regression"
