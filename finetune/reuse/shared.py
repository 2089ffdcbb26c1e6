"""What trials on one backbone share: its pretrained weights, features, heads and programs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from finetune.assembly import Assembly, assemble
from finetune.backbones import Backbone
from finetune.freezing import apply_freeze_depth, leaf_layers
from finetune.heads import Head, build_classifier, loss_for, metrics_for
from finetune.optimizers import OptimizerSettings, build_optimizer, layer_decay_factors
from finetune.precision import dtype_policy
from finetune.reuse.batches import RowBatches
from finetune.reuse.features import FeatureCache, Features
from finetune.reuse.fold import fold_batch_norm
from finetune.reuse.source import TRAIN, VALIDATION, Source
from finetune.reuse.extract import extractor
from finetune.reuse.graph import CannotSplit, flatten
from finetune.reuse.split import Cut, find_cut, split

log = logging.getLogger("finetune")

PIXELS = "pixels"
POOLED = "pooled"


@dataclass
class Program:
    """A compiled training step, used again by every trial of the same structure.

    Args:
        model: The whole model, which callbacks see.
        trainee: The part of it that is run in training, compiled; it shares its variables.
        point: Where in the model the trainee begins: "pixels", "pooled" or the name of a cut.
        freeze: Sets the trainable flags that the step was compiled for.
        fresh: The optimizer's variables before the first step.
    """

    model: keras.Model
    trainee: keras.Model
    point: str
    freeze: Any
    fresh: list[np.ndarray]

    def restart(self, learning_rate: float) -> None:
        """Make the optimizer as good as new, and show it to callbacks on the whole model."""
        self.freeze()
        optimizer = self.trainee.optimizer
        for variable, value in zip(optimizer.variables, self.fresh, strict=True):
            variable.assign(value)
        optimizer.learning_rate = learning_rate
        self.model.optimizer = optimizer

    def fit(
        self,
        batches: Any,
        validation: Any,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        initial_epoch: int,
        epochs: int,
        class_weight: dict[int, float] | None,
    ) -> None:
        """Train; callbacks see the whole model."""
        steps = len(batches) if hasattr(batches, "__len__") else None
        seen = keras.callbacks.CallbackList(
            list(callbacks), model=self.model, epochs=epochs, steps=steps, verbose=0
        )
        self.trainee.history = None
        self.trainee.fit(
            batches,
            validation_data=validation,
            callbacks=seen,
            initial_epoch=initial_epoch,
            epochs=epochs,
            class_weight=class_weight,
            shuffle=False,  # the order comes with the batches
            verbose=0,
        )


@dataclass
class TrainedHead:
    """A head that was trained to convergence, for trials to start from.

    Args:
        epochs: What the record says of its epochs.
        rates: Rate of every step.
        best: Index of the epoch that was kept.
        weights: Its variables' values at that epoch.
    """

    epochs: list[dict[str, Any]]
    rates: list[float]
    best: int
    weights: list[np.ndarray]


@dataclass
class SharedBackbone:
    """One backbone, and all that was computed with it so far.

    Args:
        backbone: What is wrapped. Its model is trained in place and reset before each trial.
        key: Names the backbone, its weights, size and precision.
        cache: Features, kept across backbones.
        precision: Dtype policy that its layers, and the head's, are made under.
        freeze_depths: Depths that trials are going to use, so that one pass over the images
            yields the features of all of them.
    """

    backbone: Backbone
    key: str
    cache: FeatureCache
    precision: str = "float32"
    freeze_depths: set[int] = field(default_factory=set)
    heads: dict[Any, TrainedHead] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._leaves = len(leaf_layers(self.backbone.model))
        self._pretrained = _values(self.backbone.model.variables)
        self._assemblies: dict[Head, Assembly] = {}
        self._programs: dict[Any, Program] = {}
        self._cuts: dict[str, Cut] = {}
        self._extractors: dict[tuple[str, ...], Any] = {}
        self._flat: keras.Model | None = None

    @property
    def head_only(self) -> int:
        """The freeze depth at which nothing but the head trains."""
        return self._leaves

    def assembly(self, head: Head) -> Assembly:
        """The whole model with this head; heads that differ in their seed alone share one."""
        structure = replace(head, seed=0)
        if structure not in self._assemblies:
            with dtype_policy(self.precision):
                self._assemblies[structure] = assemble(self.backbone, structure)
        return self._assemblies[structure]

    def reset(self, head: Head) -> keras.Model:
        """Put the pretrained weights and a new head drawn from its seed into the model."""
        assembly = self.assembly(head)
        _assign(self.backbone.model.variables, self._pretrained)
        new = build_classifier(assembly.classifier.input_shape[-1], head)
        _assign(assembly.classifier.variables, _values(new.variables))
        return assembly.model

    def program(
        self,
        head: Head,
        source: Source,
        *,
        freeze_depth: int,
        batch_norm: str,
        optimizer: OptimizerSettings,
        layer_decay: float | None,
        label_smoothing: float,
    ) -> Program:
        """The compiled step for this structure, built if no trial has needed it before."""
        structure = replace(head, seed=0)
        key = (
            structure,
            source.reuse,
            freeze_depth,
            batch_norm,
            optimizer,
            layer_decay,
            label_smoothing,
        )
        if key not in self._programs:
            self._programs[key] = self._build(
                structure, source, freeze_depth, batch_norm, optimizer, layer_decay, label_smoothing
            )
        return self._programs[key]

    def _build(
        self,
        head: Head,
        source: Source,
        freeze_depth: int,
        batch_norm: str,
        settings: OptimizerSettings,
        layer_decay: float | None,
        label_smoothing: float,
    ) -> Program:
        assembly = self.assembly(head)

        def freeze() -> None:
            apply_freeze_depth(self.backbone.model, freeze_depth, batch_norm=batch_norm)

        freeze()
        point, trainee = self._trainee(assembly, source, freeze_depth)
        factors = None
        if layer_decay is not None:
            factors = layer_decay_factors(leaf_layers(self.backbone.model), layer_decay)
        optimizer = build_optimizer(settings, 1e-3, factors)
        trainee.compile(
            optimizer, loss=loss_for(head.task, label_smoothing), metrics=metrics_for(head.task)
        )
        # The whole model's order, which callbacks that look into the optimizer go by.
        trainee.optimizer.build(assembly.model.trainable_variables)
        return Program(assembly.model, trainee, point, freeze, _values(trainee.optimizer.variables))

    def _trainee(
        self, assembly: Assembly, source: Source, freeze_depth: int
    ) -> tuple[str, keras.Model]:
        """The part of the model that has to run in training, and where it begins."""
        whole = PIXELS, keras.Model(assembly.model.inputs, assembly.model.outputs)
        if not source.reuse:
            return whole
        if freeze_depth >= self._leaves:
            classifier = assembly.classifier
            return POOLED, keras.Model(classifier.inputs, classifier.outputs)
        try:
            cut = self._cut(freeze_depth)
        except CannotSplit as refusal:
            log.info("Training the whole model: %s.", refusal.reason)
            return whole
        if cut.depth == 0:
            return whole
        _, suffix = split(self._flattened(), cut)
        inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in cut.tensors]
        features = fold_batch_norm(suffix)(inputs[0] if len(inputs) == 1 else inputs)
        outputs = assembly.classifier(assembly.pool(features))
        return _name(cut), keras.Model(inputs, outputs)

    def _flattened(self) -> keras.Model:
        if self._flat is None:
            self._flat = flatten(self.backbone.model)
        return self._flat

    def _cut(self, freeze_depth: int) -> Cut:
        """Where to cut for a depth, whose flags must be set."""
        cut = find_cut(self._flattened(), freeze_depth)
        return self._cuts.setdefault(_name(cut), cut)

    def features(self, program: Program, source: Source, split_name: str) -> Features:
        """What the frozen part computes for every image where this program begins."""
        return self.cache.get(
            source,
            split_name,
            self._full_name(program.point),
            [self._full_name(point) for point in self._wanted()],
            self._extract,
        )

    def _wanted(self) -> list[str]:
        points = [POOLED]
        for depth in sorted(self.freeze_depths):
            if 0 < depth < self._leaves:
                apply_freeze_depth(self.backbone.model, depth)
                try:
                    cut = self._cut(depth)
                except CannotSplit:
                    continue
                if cut.depth:
                    points.append(_name(cut))
        return points

    def _full_name(self, point: str) -> str:
        return f"{self.key}/{point}"

    def _extract(self, names: Sequence[str], pixels: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        points = tuple(name.removeprefix(f"{self.key}/") for name in names)
        if points not in self._extractors:
            self._extractors[points] = self._build_extractor(points)
        counts = [1 if point == POOLED else len(self._cuts[point].tensors) for point in points]
        values = iter(self._extractors[points](pixels))
        return [tuple(np.asarray(next(values)) for _ in range(count)) for count in counts]

    def _build_extractor(self, points: tuple[str, ...]) -> Any:
        assembly = next(iter(self._assemblies.values()))
        apply_freeze_depth(self.backbone.model, self._leaves)
        flat = self._flattened()
        tensors = [t for point in points if point != POOLED for t in self._cuts[point].tensors]
        if POOLED in points:
            position = [p for p in points].index(POOLED)
            before = sum(len(self._cuts[p].tensors) for p in points[:position])
            tensors.insert(before, assembly.pool(flat.output))
        body = keras.Model(flat.inputs, tensors)
        outputs = body(assembly.prepare(assembly.prepare.inputs[0]))
        return extractor(keras.Model(assembly.prepare.inputs, outputs))

    def rows(
        self, program: Program, source: Source, *, seed: int, first_epoch: int
    ) -> tuple[Any, Any]:
        """What `fit` is fed with: training batches and validation batches."""
        if program.point == PIXELS:
            return (
                source.pixels(TRAIN, seed=seed, first_epoch=first_epoch),
                source.pixels(VALIDATION, seed=None, first_epoch=0),
            )
        train = self.features(program, source, TRAIN)
        validation = self.features(program, source, VALIDATION)
        return (
            RowBatches(
                train.inputs,
                train.labels,
                batch_size=source.batch_size,
                seed=seed,
                views=source.views,
                first_epoch=first_epoch,
            ),
            RowBatches(validation.inputs, validation.labels, batch_size=source.batch_size),
        )


def _name(cut: Cut) -> str:
    """A name that tells cuts of one backbone apart and stays the same in the next process."""
    names = []
    for tensor in cut.tensors:
        history = tensor._keras_history
        names.append(f"{history.operation.name}:{history.tensor_index}")
    return "+".join(names)


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
