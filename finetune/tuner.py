"""FineTuner: a KerasTuner HyperModel that fine-tunes a pretrained backbone in two phases."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch
from rich.console import Console
from sklearn.utils.class_weight import compute_class_weight

from finetune.assembly import assemble
from finetune.backbones import UNSET, Backbone, load_backbone
from finetune.data import ImageData, load_data
from finetune.exceptions import ArgumentError, DataError, ImageSizeError
from finetune.freezing import BatchNorm, apply_freeze_depth, default_depths, resolve_depth
from finetune.heads import TASKS, Head, loss_for, metrics_for
from finetune.optimizers import OptimizerSettings, build_optimizer, layer_decay_factors
from finetune.phases import FINE_TUNE, HEAD, Phase, Training, TrainingRecord, train
from finetune.precision import dtype_policy, policy_name
from finetune.progress import PhaseCallback, TrainingProgress
from finetune.reuse.features import FeatureCache
from finetune.reuse.shared import SharedBackbone
from finetune.reuse.source import Source, StoredSource, StreamSource
from finetune.schedules import build_schedule
from finetune.spaces import choose, is_space

log = logging.getLogger("finetune")

# With several backbones to choose from a depth in layers means something else in each.
_FRACTIONS = [0.0, 0.25, 0.5, 0.75, 1.0]


@dataclass(frozen=True)
class Settings:
    """The values of one trial, every choice made. The names are those of `FineTuner`."""

    backbone: Any
    weights: Any
    image_size: Any
    backbone_options: Any
    freeze_depth: Any
    learning_rate: float
    head_learning_rate: float
    head_epochs: int
    epochs: int
    optimizer: str
    schedule: Any
    dropout: float
    hidden_units: int
    label_smoothing: float
    class_weight: Any
    batch_norm: BatchNorm
    layer_decay: float | None
    clip_norm: float | None
    weight_decay: float | None
    ema: float | None
    mixed_precision: bool | str
    patience: int | None
    views: int
    seed: int


@dataclass(frozen=True)
class _Facts:
    """What the data decides about the model."""

    task: str
    outputs: int
    image_size: tuple[int, int] | None


class FineTuner(keras_tuner.HyperModel):
    """Fine-tunes a pretrained backbone; every KerasTuner tuner can search over it.

    Training has two phases: the new head alone on the frozen backbone, until its validation
    loss stops falling; then the backbone from the freeze depth up, at a reduced rate. The best
    epoch of both is kept.

    Each argument may be a value (fixed); `(low, high)` for a range of numbers, logarithmic for
    rates; a list of choices; or a KerasTuner hyperparameter. By default `freeze_depth` and
    `learning_rate` are tunable and all else is fixed.

    Args:
        backbone: Name of a `keras.applications` architecture, a `keras.Model` or a `.keras`
            file. Default "MobileNetV2": small, and quick without a GPU.
        weights: "imagenet" (default), a weights file, or None for random weights.
        image_size: Pixels, an integer or (height, width). Default: that of the data.
        num_classes: Number of classes, at least 2. Default: that of the data, learned when
            the search begins.
        task: "binary", "multiclass", "multilabel" or "regression". Default: that of the data;
            before there is any, "binary" for 2 classes, "multiclass" for more.
        preprocess: See `load_backbone`; needed for a model of your own.
        backbone_options: Options of the architecture, such as {"alpha": 0.35}.
        freeze_depth: Number of backbone layers, from the input, that stay frozen in the second
            phase; or a fraction; or the name of the last layer or block that does. Default: a
            choice of block ends from "everything trains" to "head only".
        learning_rate: Rate of the second phase. Default (1e-5, 1e-3): the tutorials' 1e-5 is
            its low end.
        head_learning_rate: Rate of the head phase. Default 1e-3, Adam's own in Keras.
        head_epochs: Most epochs of the head phase. Default 60; it ends after 10 epochs without
            a lower validation loss.
        epochs: Epochs of the second phase. Default 10, as in Keras' tutorial.
        optimizer: Keras optimizer by name. Default "adam".
        schedule: How the rate moves in the second phase: "constant" (default),
            "exponential", "piecewise", "cosine", "plateau", a Keras schedule or a function.
        dropout: Share of features dropped before the outputs. Default 0.2, as in Keras'
            tutorial.
        hidden_units: Units of a ReLU layer in the head. Default 0: none.
        label_smoothing: Share of the label spread over the other classes. Default 0.
        class_weight: {class number: weight}, "balanced", or None (default).
        batch_norm: "frozen" (default, as Keras' guide advises) or "adapt".
        layer_decay: Factor on the rate from each trained layer to the one before it. Default
            None: one rate.
        clip_norm: Largest global norm of the gradients. Default None.
        weight_decay: Decoupled weight decay. Default None: the optimizer's own.
        ema: Momentum of the moving average of the weights. Default None: none.
        mixed_precision: True, False (default) or the name of a Keras dtype policy.
        patience: Epochs of the second phase without a lower validation loss before it ends.
            Default None: all epochs.
        reuse: Whether the frozen part's outputs are computed once and kept: "auto" (default:
            where the images are stored, so that their augmentation is known), True, or False.
        views: Augmented copies of each training image that are kept with `reuse`. Default 4.
        cache_budget: Bytes of memory for those outputs; more are kept on disk. Default: two
            fifths of the free memory.
        cache_dir: Where they are kept for later runs. Default: the environment variable
            `FINETUNE_CACHE`, or "~/.cache/finetune".
        cache_dtype: "float32" (default) or "float16", which takes half the room.
        seed: Seed of head, order and dropout. Default 0. Further executions of one trial
            count up from it.

    Raises:
        ArgumentError: If an argument is not allowed.

    Example:
        >>> tuner = FineTuner(weights=None, num_classes=3, image_size=32)
        >>> hp = keras_tuner.HyperParameters()
        >>> tuner.build(hp).output_shape
        (None, 3)
        >>> hp.values["freeze_depth"], hp.values["learning_rate"]
        (0, 1e-05)
    """

    def __init__(
        self,
        backbone: Any = "MobileNetV2",
        *,
        weights: Any = "imagenet",
        image_size: Any = None,
        num_classes: int | None = None,
        task: str | None = None,
        preprocess: Any = UNSET,
        backbone_options: Any = None,
        freeze_depth: Any = None,
        learning_rate: Any = (1e-5, 1e-3),
        head_learning_rate: Any = 1e-3,
        head_epochs: Any = 60,
        epochs: Any = 10,
        optimizer: Any = "adam",
        schedule: Any = "constant",
        dropout: Any = 0.2,
        hidden_units: Any = 0,
        label_smoothing: Any = 0.0,
        class_weight: Any = None,
        batch_norm: Any = "frozen",
        layer_decay: Any = None,
        clip_norm: Any = None,
        weight_decay: Any = None,
        ema: Any = None,
        mixed_precision: Any = False,
        patience: Any = None,
        reuse: bool | str = "auto",
        views: Any = 4,
        cache_budget: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_dtype: str = "float32",
        seed: Any = 0,
    ) -> None:
        super().__init__()
        if keras.backend.backend() != "tensorflow":
            raise ArgumentError(
                "Expected Keras to run on TensorFlow, but its backend is "
                f"{keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow."
            )
        if reuse not in ("auto", True, False):
            raise ArgumentError(f"Expected reuse to be 'auto', True or False, received {reuse!r}.")
        if num_classes is not None and num_classes < 2:
            raise ArgumentError(f"Expected num_classes of 2 or more, received {num_classes!r}.")
        if task is not None and task not in TASKS:
            raise ArgumentError(f"Expected task to be one of {TASKS}, received {task!r}.")
        given = locals()
        self._spaces = {field.name: given[field.name] for field in fields(Settings)}
        self._preprocess = preprocess
        self._reuse = reuse
        self._task = task
        self._facts: _Facts | None = None
        if num_classes is not None:
            self._facts = _Facts(task or _classification(num_classes), num_classes, None)
        self._cache = FeatureCache(cache_budget, cache_dir, cache_dtype)
        self._backbones: dict[str, SharedBackbone] = {}
        self._sources: dict[Any, Source] = {}
        self._inputs: list[tuple[Any, Any, Any]] = []
        self._executions: WeakKeyDictionary[SaveBestEpoch, int] = WeakKeyDictionary()
        # Refuse what can be refused now, not in the first trial.
        self._settings(keras_tuner.HyperParameters(), depth=False)

    def tunables(self) -> list[str]:
        """Names of the arguments that leave something to be chosen."""
        names = [
            name
            for name, value in self._spaces.items()
            if is_space(value) and not (name == "image_size" and isinstance(value, tuple))
        ]
        return [*names, *(["freeze_depth"] if self._spaces["freeze_depth"] is None else [])]

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Make a new model with pretrained weights and an untrained head.

        Args:
            hp: The trial's hyperparameters.

        Returns:
            The whole model, from float pixels 0..255 to predictions; frozen up to the freeze
            depth and compiled, as Keras' own `fit` needs it. `FineTuner.fit` does not.
        """
        settings = self._settings(hp)
        facts = self._facts or _Facts("multiclass", 2, None)
        with dtype_policy(policy_name(settings.mixed_precision)):
            assembly = assemble(self._load(settings), self._head(settings, facts))
        backbone = assembly.backbone.model
        depth = resolve_depth(backbone, settings.freeze_depth)
        apply_freeze_depth(backbone, depth, batch_norm=settings.batch_norm)
        optimizer = build_optimizer(self._optimizer(settings), settings.learning_rate)
        # A tuner's checkpoint holds the optimizer of the phase that the best epoch was in, which
        # has other variables: Keras would warn that it leaves them out.
        optimizer.load_own_variables = lambda store: None
        assembly.model.compile(
            optimizer,
            loss=loss_for(facts.task, settings.label_smoothing),
            metrics=metrics_for(facts.task),
        )
        return assembly.model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        x: Any = None,
        y: Any = None,
        *,
        validation_data: Any = None,
        epochs: int | None = None,
        initial_epoch: int = 0,
        batch_size: int = 32,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: Any = "auto",
    ) -> keras.callbacks.History:
        """Train in two phases and leave the best epoch's weights in `model`.

        Args:
            hp: The trial's hyperparameters.
            model: What `build(hp)` returned. Its weights count only where an earlier trial is
                continued (`initial_epoch` above 0).
            x: An `ImageData`; a batched `tf.data.Dataset`; or images.
            y: Labels, where `x` is an array of images.
            validation_data: Validation images in the form of `x`; not with an `ImageData`.
            epochs: Takes the place of the constructor's `epochs`, as KerasTuner's Hyperband
                does.
            initial_epoch: Epoch of the second phase to continue from.
            batch_size: Images in a batch, where `x` is an array.
            callbacks: Keras callbacks. They see the whole model; a head that trials share
                reaches them as one epoch.
            verbose: 0 for silence; otherwise a line per phase.

        Returns:
            History of the epochs that callbacks saw, `phase` among its columns (0 head, 1
            fine-tuning), with the best epoch's weights in `model`.
        """
        settings = self._settings(hp)
        if epochs is not None:
            settings = replace(settings, epochs=epochs)
        source = self._source(x, y, validation_data, batch_size, settings)
        checkpoint = next((c for c in callbacks or () if isinstance(c, SaveBestEpoch)), None)
        execution = self._executions.get(checkpoint, 0) if checkpoint else 0
        if checkpoint:
            self._executions[checkpoint] = execution + 1
        if execution:
            settings = replace(settings, seed=settings.seed + execution)
        trained, record = self.train(
            settings,
            source,
            callbacks=callbacks or (),
            progress=_printer(verbose),
            initial_epoch=initial_epoch,
            start=model.get_weights() if initial_epoch else None,
        )
        if record.interrupted:
            raise KeyboardInterrupt
        # A model built before the data was seen has an output for each of two classes.
        if model.output_shape == trained.output_shape and model.input_shape == trained.input_shape:
            model.set_weights(trained.get_weights())
        elif checkpoint is None:
            log.warning(
                "The model that was passed stays untrained: it was built before the data was seen, "
                "for %s and outputs %s instead of %s and %s. Pass num_classes and image_size.",
                *(model.input_shape, model.output_shape),
                *(trained.input_shape, trained.output_shape),
            )
        return _history(record, head_as_one=source.reuse)

    def settings(self) -> Settings:
        """The values to train with where nothing is tunable, or the first of each space."""
        return self._settings(keras_tuner.HyperParameters())

    def backbone(self, settings: Settings) -> Backbone:
        """The backbone that trainings with these settings share."""
        return self._shared(settings).backbone

    def train(
        self,
        settings: Settings,
        source: Source,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        progress: Sequence[PhaseCallback] = (),
        initial_epoch: int = 0,
        start: list[np.ndarray] | None = None,
    ) -> tuple[keras.Model, TrainingRecord]:
        """Train once with these settings on the backbone that trials share.

        Args:
            settings: The values of the trial.
            source: Training and validation images.
            callbacks: See `fit`.
            progress: Callbacks that only show.
            initial_epoch: See `fit`.
            start: Weights to start from; None for pretrained ones and a new head.

        Returns:
            The shared model with the best epoch's weights (the next training changes them),
            and what happened.
        """
        if self._facts is None:
            raise ArgumentError("num_classes is not known: pass it, or train on an ImageData.")
        shared = self._shared(settings)
        shared.freeze_depths.update(self._depths(settings, shared))
        head = self._head(settings, self._facts)
        model = shared.reset(head)
        phases = self._phases(settings, shared)
        if start is not None and phases[-1].epochs:
            model.set_weights(start)
        training = Training(
            tuple(phases),
            head,
            label_smoothing=settings.label_smoothing,
            class_weight=self._class_weight(settings, source),
            seed=settings.seed,
        )
        record = train(
            shared,
            training,
            source,
            callbacks=callbacks,
            progress=progress,
            initial_epoch=initial_epoch,
        )
        return model, record

    def _settings(self, hp: keras_tuner.HyperParameters, *, depth: bool = True) -> Settings:
        """The values of this trial; declares what is tunable."""
        values: dict[str, Any] = {
            # A pair is (height, width) here, never a range.
            name: value
            if name == "image_size" and isinstance(value, tuple)
            else choose(hp, name, value)
            for name, value in self._spaces.items()
            if name != "freeze_depth"
        }
        settings = Settings(**values, freeze_depth=0)
        self._check(settings)
        if not depth:
            return settings
        space = self._depth_space(settings)
        return replace(settings, freeze_depth=choose(hp, "freeze_depth", space))

    def _check(self, settings: Settings) -> None:
        """Refuse values that cannot work, whatever the data."""
        self._optimizer(settings)
        policy_name(settings.mixed_precision)
        Head("multiclass", 2, settings.hidden_units, settings.dropout)
        loss_for("multiclass", settings.label_smoothing)
        build_schedule(settings.schedule, 1.0, steps=1)
        if settings.layer_decay is not None:
            layer_decay_factors([], settings.layer_decay)
        for name in ("epochs", "head_epochs"):
            value = getattr(settings, name)
            if not isinstance(value, (int, np.integer)) or value < 0:
                raise ArgumentError(f"Expected {name} as a whole number, 0 or more; got {value!r}.")
        if settings.epochs + settings.head_epochs == 0:
            raise ArgumentError("Expected epochs or head_epochs above 0, received 0 for both.")
        for name in ("learning_rate", "head_learning_rate"):
            if not getattr(settings, name) > 0:
                raise ArgumentError(f"Expected {name} above 0, got {getattr(settings, name)!r}.")
        if not isinstance(settings.views, (int, np.integer)) or settings.views < 1:
            raise ArgumentError(f"Expected views of 1 or more, received {settings.views!r}.")
        if settings.batch_norm not in ("frozen", "adapt"):
            raise ArgumentError(
                f"Expected batch_norm to be 'frozen' or 'adapt', received {settings.batch_norm!r}."
            )

    def _depth_space(self, settings: Settings) -> Any:
        """The freeze depths to choose from, as KerasTuner can hold them."""
        space = self._spaces["freeze_depth"]
        if is_space(self._spaces["backbone"]):
            return _FRACTIONS if space is None else space
        if space is not None and not isinstance(space, list):
            return space
        model = self._shared(settings).backbone.model
        if space is None:
            return default_depths(model)
        return list(dict.fromkeys(resolve_depth(model, depth) for depth in space))

    def _depths(self, settings: Settings, shared: SharedBackbone) -> set[int]:
        """Every depth that trials on this backbone may use, as far as that is known."""
        space = self._depth_space(settings)
        depths = space if isinstance(space, list) else [settings.freeze_depth]
        return {resolve_depth(shared.backbone.model, depth) for depth in depths}

    def _image_size(self, settings: Settings) -> Any:
        if settings.image_size is None and self._facts is not None:
            return self._facts.image_size
        return settings.image_size

    def _load(self, settings: Settings) -> Backbone:
        backbone = settings.backbone
        if isinstance(backbone, keras.Model):
            # The user's own object stays as it is.
            backbone = keras.models.clone_model(backbone)
            backbone.set_weights(settings.backbone.get_weights())
        return load_backbone(
            backbone,
            weights=settings.weights,
            image_size=self._image_size(settings),
            preprocess=self._preprocess,
            **(settings.backbone_options or {}),
        )

    def _shared(self, settings: Settings) -> SharedBackbone:
        """The backbone that all trials with these settings train on."""
        size = self._image_size(settings)
        key = self._key(settings, size)
        if key not in self._backbones:
            precision = policy_name(settings.mixed_precision)
            with dtype_policy(precision):
                backbone = self._load(settings)
            full = self._key(settings, backbone.image_size)
            self._backbones[full] = SharedBackbone(backbone, full, self._cache, precision)
            self._backbones[key] = self._backbones[full]
        return self._backbones[key]

    def _key(self, settings: Settings, size: Any) -> str:
        name = settings.backbone
        if isinstance(name, keras.Model):
            name = f"{name.name}@{id(name)}"
        precision = policy_name(settings.mixed_precision)
        parts = (name, settings.weights, _pair(size), settings.backbone_options, precision)
        return "/".join(map(str, parts))

    def _head(self, settings: Settings, facts: _Facts) -> Head:
        return Head(
            facts.task, facts.outputs, settings.hidden_units, settings.dropout, settings.seed
        )

    def _optimizer(self, settings: Settings) -> OptimizerSettings:
        return OptimizerSettings(
            settings.optimizer, settings.clip_norm, settings.weight_decay, settings.ema
        )

    def _phases(self, settings: Settings, shared: SharedBackbone) -> list[Phase]:
        depth = resolve_depth(shared.backbone.model, settings.freeze_depth)
        optimizer = self._optimizer(settings)
        head = Phase(
            HEAD,
            shared.head_only,
            settings.head_learning_rate,
            settings.head_epochs,
            patience=10,
            optimizer=replace(optimizer, ema=None),
        )
        tune = Phase(
            FINE_TUNE,
            depth,
            settings.learning_rate,
            settings.epochs,
            schedule=settings.schedule,
            patience=settings.patience,
            optimizer=optimizer,
            batch_norm=settings.batch_norm,
            layer_decay=settings.layer_decay,
        )
        return [head, tune] if depth < shared.head_only else [head, replace(tune, epochs=0)]

    def _class_weight(self, settings: Settings, source: Source) -> dict[int, float] | None:
        weight = settings.class_weight
        if weight is None:
            return None
        if self._facts is not None and self._facts.task not in ("binary", "multiclass"):
            raise ArgumentError(f"class_weight has no meaning for task={self._facts.task!r}.")
        if isinstance(weight, Mapping):
            return {int(number): float(value) for number, value in weight.items()}
        if weight != "balanced":
            raise ArgumentError(
                "Expected class_weight to be {class number: weight}, 'balanced' or None, "
                f"received {weight!r}."
            )
        labels = source.labels()
        classes = np.unique(labels)
        values = compute_class_weight("balanced", classes=classes, y=labels)
        return dict(zip(map(int, classes), map(float, values), strict=True))

    def _source(
        self, x: Any, y: Any, validation: Any, batch_size: int, settings: Settings
    ) -> Source:
        """Bring what a tuner was given into the form that training takes; learn from it."""
        key = (id(x), id(y), id(validation), settings.image_size, settings.views)
        if key not in self._sources:
            self._sources[key] = self._make_source(x, y, validation, batch_size, settings)
            # Held with the source, so that no other object gets their ids.
            self._inputs.append((x, y, validation))
        return self._sources[key]

    def _make_source(
        self, x: Any, y: Any, validation: Any, batch_size: int, settings: Settings
    ) -> Source:
        if isinstance(x, ImageData):
            if validation is not None:
                raise ArgumentError(
                    "validation_data does not go with an ImageData, which brings its own. Give it "
                    "to load_data(validation=...)."
                )
            return self.source_of(x, settings)
        if isinstance(x, tf.data.Dataset):
            if not isinstance(validation, tf.data.Dataset):
                raise ArgumentError(
                    "Expected validation_data as a tf.data.Dataset like the training images, "
                    f"received {type(validation).__name__}."
                )
            self._learn_from_dataset(x, settings)
            return self._stream(self._readied(x), self._readied(validation), batch_size)
        if x is None or y is None or not isinstance(validation, (tuple, list)):
            raise ArgumentError(
                "Expected an ImageData, a tf.data.Dataset, or images and labels with "
                "validation_data=(images, labels); received "
                f"{type(x).__name__} and validation_data of type {type(validation).__name__}."
            )
        images = np.asarray(x)
        data = load_data(
            (images, y),
            validation=tuple(validation),
            image_size=images.shape[1:3],
            batch_size=batch_size,
            augment="none",
            task=self._task or "auto",
        )
        return self.source_of(data, settings)

    def _stream(
        self, train: tf.data.Dataset, validation: tf.data.Dataset, batch_size: int
    ) -> StreamSource:
        if self._reuse is not True:
            log.info(
                "Training on whole images in every epoch: the augmentation of a tf.data.Dataset "
                "cannot be seen. Pass stored images, or reuse=True if it has none."
            )
        return StreamSource(train, validation, self._reuse is True, batch_size)

    def source_of(self, data: ImageData, settings: Settings) -> Source:
        """Training and validation images of an `ImageData` as `train` takes them."""
        if "validation" not in data.counts:
            raise DataError(
                "Expected validation images: they decide which epoch is kept, but there are none. "
                "Load the data with validation=0.2."
            )
        size = _pair(settings.image_size)
        if size not in (None, data.image_size):
            data = data.at_size(size)
        if self._task not in (None, data.task):
            raise ArgumentError(
                f"Expected images for task={self._task!r}, received some for {data.task!r}. Give "
                "the task to load_data(task=...) too."
            )
        outputs = len(data.class_names)
        if data.task == "regression":
            shape = next(iter(data.splits.values())).labels.shape if data.splits else (0,)
            outputs = shape[1] if len(shape) > 1 else 1
        self._learn(_Facts(data.task, outputs, data.image_size))
        if not data.splits:
            assert data.validation is not None  # counted above
            return self._stream(data.train, data.validation, data.batch_size)
        views = settings.views if data.augment is not None else 1
        return StoredSource(data, self._reuse is not False, views)

    def _learn(self, facts: _Facts) -> None:
        known = self._facts
        if known is not None and known.outputs != facts.outputs:
            raise ArgumentError(
                f"Expected images of {known.outputs} classes, as in num_classes or in the data "
                f"before, received {facts.outputs}."
            )
        self._facts = facts

    def _learn_from_dataset(self, dataset: tf.data.Dataset, settings: Settings) -> None:
        spec: Any = dataset.element_spec
        if not isinstance(spec, tuple) or len(spec) != 2:
            raise DataError(f"Expected a dataset of (images, labels), received elements {spec}.")
        images, labels = spec
        if images.shape.rank != 4 or None in images.shape[1:3]:
            raise ImageSizeError(
                "Expected batches of images of one size, shape (None, height, width, 3); received "
                f"{images.shape}. Resize and batch the dataset first."
            )
        size = tuple(images.shape[1:3])
        if _pair(settings.image_size) not in (None, size):
            raise ImageSizeError(
                f"Expected images of {_pair(settings.image_size)} pixels, as in image_size; the "
                f"dataset's are {size}. Resize the dataset, or leave image_size out."
            )
        if self._facts is not None:
            self._facts = replace(self._facts, image_size=size)
            return
        columns = labels.shape[1] if labels.shape.rank == 2 else 1
        if columns == 1 and self._task != "regression":
            columns = 1 + max(int(np.max(batch)) for _, batch in dataset.as_numpy_iterator())
        self._facts = _Facts(self._task or _classification(columns), columns, size)

    def _readied(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The dataset with class numbers as labels; one that never ends is refused."""
        assert self._facts is not None  # learned before
        spec: Any = dataset.element_spec
        labels = spec[1]
        one_hot = labels.shape.rank == 2 and labels.shape[1] != 1
        if one_hot and self._facts.task in ("binary", "multiclass"):
            dataset = dataset.map(lambda images, rows: (images, tf.argmax(rows, axis=-1)))
        if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise DataError(
                "Expected a dataset that ends: leave out .repeat(), epochs are counted."
            )
        return dataset


def _classification(classes: int) -> str:
    return "binary" if classes == 2 else "multiclass"


def _pair(size: Any) -> tuple[int, int] | None:
    """(height, width), where one number stands for both; None where it is not given."""
    if size is None:
        return None
    return (int(size), int(size)) if isinstance(size, (int, np.integer)) else tuple(size)


def _printer(verbose: Any) -> list[PhaseCallback]:
    if verbose in (0, "0", False):
        return []
    return [TrainingProgress(Console())]


def _history(record: TrainingRecord, *, head_as_one: bool) -> keras.callbacks.History:
    """What KerasTuner scores: each epoch that its callbacks saw, with plain numbers alone."""
    history = keras.callbacks.History()
    rows = record.epochs
    if head_as_one:
        rows = [*_best_of(record.phase(HEAD), record.monitor), *record.phase(FINE_TUNE)]
    for row in rows:
        numbers = {k: v for k, v in row.items() if k not in ("phase", "epoch", "seconds")}
        for name, value in {**numbers, "phase": float(row["phase"] != HEAD)}.items():
            history.history.setdefault(name, []).append(value)
    history.epoch = list(range(len(rows)))
    return history


def _best_of(rows: list[dict[str, Any]], monitor: str) -> list[dict[str, Any]]:
    if not rows:
        return []
    sign = -1 if monitor == "val_loss" else 1
    return [max(rows, key=lambda row: (sign * row[monitor], -row["val_loss"]))]
