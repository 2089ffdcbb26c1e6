"""What trials on one backbone share: its pretrained weights, features, heads and programs."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune.backbones import Backbone, BatchNorm, apply_freeze_depth, leaf_layers, prepared
from finetune.reuse import (
    PIXELS,
    TEST,
    TRAIN,
    VALIDATION,
    Batches,
    Candidate,
    FeatureCache,
    Features,
    FrozenModel,
    JoinedRows,
    Option,
    RowBatches,
    Source,
    Spared,
    Starts,
    extractor,
    fold_batch_norm,
    in_inference_mode,
    pass_batch,
    split,
)
from finetune.support import assign, values_of, without_room
from finetune.training.adjustable import Adjustable, Amounts, structure_of
from finetune.training.assembly import Assembly, assemble
from finetune.training.distribution import scope
from finetune.training.head import Head, build_classifier, loss_for, metrics_for, pooling_layer
from finetune.training.head_store import HeadStore
from finetune.training.optimizers import OptimizerSettings, build_optimizer, layer_decay_factors
from finetune.training.precision import dtype_policy
from finetune.training.program import Program

log = logging.getLogger("finetune")

POOLED = "pooled"
_BOTH = (TRAIN, VALIDATION)

# Of a range of freeze depths each may need one; they take about 100 MB each.
MOST_PROGRAMS = 12


@dataclass
class SharedBackbone:
    """One backbone, and all that was computed with it so far.

    Args:
        backbone: What is wrapped. Its model is trained in place and reset before each trial.
        cache: Features, kept across backbones.
        precision: Dtype policy that its layers, and the head's, are made under.
        distribution: Strategy that its variables are made under, and that trains it; None for
            one device.
        freeze_depths: Depths that trials are going to use, or a few that stand for them. One pass
            over the images yields the features for all of them.
        epochs: Epochs that those of one depth train: what features spare depends on it.
        heads: Heads that were trained on it.

    Attributes:
        programs: Compiled steps by all that they depend on; the one that was used last comes last.
        began: Images that trainings began with, see `Program`.
    """

    backbone: Backbone
    cache: FeatureCache
    precision: str = "float32"
    distribution: tf.distribute.Strategy | None = None
    freeze_depths: set[int] = field(default_factory=set)
    epochs: int = 1
    heads: HeadStore = field(default_factory=HeadStore)

    def __post_init__(self) -> None:
        self._leaves = len(leaf_layers(self.backbone.model))
        self._pretrained = values_of(self.backbone.model.variables)
        self._assemblies: dict[Head, Assembly] = {}
        self.programs: dict[Any, Program] = {}
        self.began: Counter[str] = Counter()
        # Of the test images that were asked about last: no training needs them.
        self._tests: tuple[Source, Features] | None = None

    @cached_property
    def frozen(self) -> FrozenModel:
        """The pretrained backbone, whatever a trial has made of it by now."""
        with self._building():
            pixels = keras.Input((*self.backbone.image_size, 3))
            prepare = keras.Model(pixels, prepared(self.backbone.preprocess, pixels))
        return FrozenModel(self.backbone.model, prepare, self._pretrained, self.cache)

    @cached_property
    def _starts(self) -> Starts:
        return Starts(self.frozen, self.cache)

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Make layers and programs where, and of what, the user wants them."""
        with scope(self.distribution), dtype_policy(self.precision):
            yield

    @property
    def head_only(self) -> int:
        """The freeze depth at which nothing but the head trains."""
        return self._leaves

    def assembly(self, head: Head) -> Assembly:
        """The whole model with this head; heads of the same layers share one."""
        structure = structure_of(head)
        if structure not in self._assemblies:
            with self._building():
                self._assemblies[structure] = assemble(self.backbone, structure)
        return self._assemblies[structure]

    def reset(self, head: Head) -> keras.Model:
        """Put the pretrained weights and a new head drawn from its seed into the model."""
        assembly = self.assembly(head)
        assign(self.backbone.model.variables, self._pretrained)
        new = build_classifier(assembly.classifier.input_shape[-1], head)
        assign(assembly.classifier.variables, values_of(new.variables))
        for layer, drawn in zip(assembly.classifier.layers, new.layers, strict=True):
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = drawn.rate
        return assembly.model

    def program(
        self,
        head: Head,
        source: Source,
        *,
        freeze_depth: int,
        unchanged: int,
        batch_norm: BatchNorm,
        optimizer: OptimizerSettings,
        layer_decay: float | None,
        label_smoothing: float,
    ) -> Program:
        """The compiled step for this structure, built if no trial has needed it before.

        How much dropout, smoothing and decay there is does not matter, as long as there is any.

        Args:
            head: What is on top; its seed does not matter.
            source: The images; what matters is whether frozen work is kept.
            freeze_depth: Number of layers, from the input, that stay frozen.
            unchanged: Number of layers, from the input, that no earlier phase has trained: only
                their outputs may come from the cache.
            batch_norm: See `apply_freeze_depth`.
            optimizer: Which optimizer.
            layer_decay: See `layer_decay_factors`.
            label_smoothing: See `loss_for`.

        Returns:
            The program, to be restarted before it is used.
        """
        amounts = Amounts.of(head, optimizer, label_smoothing)
        start = self._point(source, min(freeze_depth, unchanged)) if source.reuse else PIXELS
        key = (
            structure_of(head),
            source.reuse,
            start,
            freeze_depth,
            batch_norm,
            replace(optimizer, weight_decay=amounts.kinds.weight_decay),
            layer_decay,
            amounts.kinds,
        )
        if key not in self.programs:
            with self._building():
                self.programs[key] = self._build(*key)
        program = self.programs[key] = self.programs.pop(key)  # the one that was used last
        while len(self.programs) > MOST_PROGRAMS:
            del self.programs[next(iter(self.programs))]
        program.adjustable.set(amounts)
        return program

    def _build(
        self,
        head: Head,
        reuse: bool,
        start: str,
        freeze_depth: int,
        batch_norm: BatchNorm,
        settings: OptimizerSettings,
        layer_decay: float | None,
        amounts: Amounts,
    ) -> Program:
        assembly = self.assembly(head)
        adjustable = Adjustable(amounts)

        def freeze() -> None:
            apply_freeze_depth(self.backbone.model, freeze_depth, batch_norm=batch_norm)

        freeze()
        trainee = self._trainee(assembly, adjustable.classifier(assembly.classifier), reuse, start)
        factors = []
        if layer_decay is not None:
            model = self.backbone.model
            factors = layer_decay_factors(
                leaf_layers(model), layer_decay, model.trainable_variables
            )
        optimizer = build_optimizer(settings, 1e-3, factors, adjustable.optimizer)
        trainee.compile(optimizer, loss=adjustable.loss(head.task), metrics=metrics_for(head.task))
        # The whole model's order, which callbacks that look into the optimizer go by.
        trainee.optimizer.build(assembly.model.trainable_variables)

        def compile_whole() -> None:
            assembly.model.compile(
                trainee.optimizer,
                loss=loss_for(head.task),  # what a callback measures is what the record says
                metrics=metrics_for(head.task),
            )

        fresh = [without_room(value) for value in values_of(trainee.optimizer.variables)]
        return Program(
            *(assembly.model, trainee, start, freeze, compile_whole, fresh, adjustable, self.began)
        )

    def _trainee(
        self, assembly: Assembly, classifier: keras.Model, reuse: bool, start: str
    ) -> keras.Model:
        """The part of the model that has to run in training."""
        if start == POOLED:
            vector = keras.Input(classifier.input_shape[1:])
            return keras.Model(vector, classifier(vector))
        if start == PIXELS:
            pixels = keras.Input(assembly.model.input_shape[1:])
            body = (fold_batch_norm if reuse else in_inference_mode)(self.backbone.model)
            features = body(assembly.prepare(pixels))
            return keras.Model(pixels, classifier(assembly.pool(features)))
        tensors = self.frozen.tensors_of(start)
        _, suffix = split(self.frozen.flat, tensors)
        inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in tensors]
        features = fold_batch_norm(suffix)(inputs[0] if len(inputs) == 1 else inputs)
        return keras.Model(inputs, classifier(assembly.pool(features)))

    def _point(self, source: Source, depth: int) -> str:
        """The place that a phase starts from which leaves the first layers as they are."""
        if depth >= self._leaves:
            return self.mark_pooled()
        return self.start(source, depth).point if depth else PIXELS

    def start(self, source: Source, depth: int) -> Option:
        """Where trainings start whose first layers hold the pretrained weights and stay frozen.

        Args:
            source: The images.
            depth: Number of these layers, above 0 and below all of them.
        """
        return self._starts.at(source, depth, self._announced, self.epochs)

    @property
    def _announced(self) -> list[int]:
        """The depths of trainings to come that can start from features."""
        return [depth for depth in sorted(self.freeze_depths) if 0 < depth < self._leaves]

    def candidates(self, source: Source, depth: int) -> list[Candidate]:
        """Every start for such a training, see `start`; none where nothing but the head trains."""
        if not 0 < depth < self._leaves:
            return []
        return self._starts.candidates(source, depth, self.epochs)

    def spared(self, seconds: float, *, pass_anyway: bool) -> Spared | None:
        """Estimate what reuse has spared so far, of all trainings on this backbone.

        Args:
            seconds: What they took, with all else that is told of as one.
            pass_anyway: Whether images would have gone through the frozen layers once without reuse
                too, as those do that a head is solved on.

        Returns:
            The estimate; None where nothing was spared, or no pass of this process over the images
            was long enough to be timed.
        """
        images = {point: n for point, n in self.began.items() if point != PIXELS and n}
        if not images or not self.frozen.pace.work:
            return None
        pace = self.frozen.pace
        unit = pace.seconds / pace.work
        work = sum(n * self.frozen.work_spared(point) for point, n in images.items())
        more = max(0.0, work * unit - (0.0 if pass_anyway else pace.seconds))
        count = sum(images.values())
        return Spared(
            round(more, 2),
            round(seconds + more, 2),
            count,
            round(1e3 * work * unit / count, 3),
            round(1e3 * pace.seconds / pace.images, 3),
        )

    def mark_pooled(self) -> str:
        """Name of the place where heads begin: the output, averaged over the image."""
        if not self.frozen.marked(POOLED):
            output: Any = self.frozen.graph.output
            with self._building():
                self.frozen.mark(POOLED, [pooling_layer(len(output.shape))(output)])
        return POOLED

    def pooled_of(self, pixels: np.ndarray) -> np.ndarray:
        """Compute pooled features of images that are no one's source; nothing is kept.

        Args:
            pixels: uint8 (n, height, width, 3) of the backbone's size.
        """
        parts = np.array_split(pixels, max(1, -(-len(pixels) // pass_batch())))
        return np.concatenate([np.asarray(self._pool(part.astype("float32"))[0]) for part in parts])

    @cached_property
    def _pool(self) -> Any:
        with self._building():
            pixels = keras.Input((*self.backbone.image_size, 3))
            # All frozen, so that batch norm is folded; programs freeze their own layers anew.
            apply_freeze_depth(self.backbone.model, self.head_only)
            features: Any = self.backbone.model(prepared(self.backbone.preprocess, pixels))
            return extractor(keras.Model(pixels, pooling_layer(len(features.shape))(features)))

    def _features(self, source: Source, split_name: str, point: str) -> Features:
        """What the frozen part computes for every image at a marked place."""
        for depth in self._announced:  # before the first pass, which yields the features of all
            self.start(source, depth)
        wanted = [self.mark_pooled(), *self._starts.points(source)]
        return self.frozen.features(source, split_name, point, wanted)

    def batches(self, program: Program, source: Source, *, seed: int) -> tuple[Batches, Batches]:
        """What a program is trained and validated on."""
        if program.point == PIXELS:
            return source.pixels(TRAIN, seed=seed), source.pixels(VALIDATION, seed=None)
        train, validation = self._features_of_both(program, source)
        size = source.batch_size
        return (
            RowBatches(train.inputs, train.labels, batch_size=size, seed=seed, views=source.views),
            RowBatches(validation.inputs, validation.labels, batch_size=size),
        )

    def all_batches(self, program: Program, source: Source, *, seed: int) -> Batches:
        """Training and validation images together, for a program to be trained on."""
        if program.point == PIXELS:
            return source.all_pixels(seed=seed)
        train, validation = self._features_of_both(program, source)
        joined = zip(train.inputs, validation.inputs, strict=True)
        return RowBatches(
            tuple(JoinedRows(one, other, source.views) for one, other in joined),
            np.concatenate([train.labels, validation.labels]),
            batch_size=source.batch_size,
            seed=seed,
            views=source.views,
        )

    def pooled(self, source: Source, split_name: str) -> Features:
        """What heads are made of and asked on: the pooled features of the images of a split.

        Args:
            source: The images.
            split_name: "train", "validation" or, where they are stored, "test".
        """
        point = self.mark_pooled()
        if split_name == TEST:
            if self._tests is None or self._tests[0] is not source:
                beside = self._starts.points(source) if source.reuse else ()
                self._tests = source, self.frozen.computed(source, TEST, point, beside)
            return self._tests[1]
        features = self._features if source.reuse else self.frozen.computed
        return features(source, split_name, point)

    def say(self, head: Head, source: Source, split_name: str) -> np.ndarray:
        """What the head, with the weights that it has now, says of images no layer is trained for.

        Returns:
            float32 (n, units): what the whole model says where the backbone is the pretrained one.
        """
        vectors = self.pooled(source, split_name).inputs[0]
        classifier = self.assembly(head).classifier
        return np.asarray(classifier(vectors[np.arange(len(vectors))], training=False), "float32")

    def _features_of_both(self, program: Program, source: Source) -> tuple[Features, Features]:
        """Those of the training images and of the validation images; the program is ready then."""
        train, validation = (self._features(source, split, program.point) for split in _BOTH)
        # Finding cuts and computing features has frozen other layers than the program's own.
        program.freeze()
        return train, validation
