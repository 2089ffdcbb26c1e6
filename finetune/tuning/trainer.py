"""The Trainer: prepares and trains trials on the backbones that they share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from finetune.backbones import apply_freeze_depth, resolve_depth
from finetune.data import ImageData
from finetune.exceptions import ArgumentError
from finetune.reuse import FeatureCache, Source
from finetune.support import check_number, use_one_order
from finetune.training import (
    CALIBRATED,
    LOSS,
    TASKS,
    PhaseCallback,
    Refitted,
    SharedBackbone,
    StateFile,
    Training,
    TrainingRecord,
    assemble,
    build_optimizer,
    check_refit,
    check_select,
    dtype_policy,
    loss_for,
    metrics_for,
    policy_name,
    refit,
    resolve_distribution,
    train,
)
from finetune.tuning.inputs import Inputs
from finetune.tuning.pool import BackbonePool
from finetune.tuning.settings import SOLVER, Facts, Settings
from finetune.tuning.space import SearchSpace

# How many trials of a search will start from the same features, before anyone can know.
_TRIALS_OF_A_DEPTH = 3


class Trainer:
    """Prepares and trains trials; what they have in common is made once.

    Args:
        arguments: A value, or what can be chosen from, for each argument of `FineTuner`.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = dict(arguments)
        reuse, task, classes = (arguments[name] for name in ("reuse", "task", "num_classes"))
        _check(reuse, task, classes)
        check_select(arguments["select"], task)
        if not isinstance(arguments["calibrate"], bool):
            raise ArgumentError(
                f"Expected calibrate to be True or False, received {arguments['calibrate']!r}."
            )
        if not isinstance(arguments["deterministic"], bool):
            raise ArgumentError(
                "Expected deterministic to be True or False, received "
                f"{arguments['deterministic']!r}."
            )
        if arguments["deterministic"]:
            use_one_order()
        if not isinstance(arguments["refit"], bool):  # True is once
            check_number("refit", arguments["refit"], least=0, most=100, whole=True, optional=True)
        self._inputs = Inputs(task, classes, reuse)
        self._cache = FeatureCache(
            *(arguments[f"cache_{name}"] for name in ("budget", "dir", "dtype"))
        )
        self._pool = BackbonePool(
            arguments["preprocess"], self._cache, resolve_distribution(arguments["distribution"])
        )
        self._space = SearchSpace(
            {field.name: arguments[field.name] for field in fields(Settings)},
            lambda settings: self.shared(settings).backbone.model,
        )
        # Refuse what can be refused now, not in the first trial.
        self._space.check()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to other processes as what it was made of."""
        return Trainer, (self.arguments,)

    def tunables(self) -> list[str]:
        """Names of the arguments that leave something to be chosen."""
        return self._space.tunables()

    def settings(self, hp: keras_tuner.HyperParameters | None = None) -> Settings:
        """The values to train with; declares in `hp` what is tunable.

        Args:
            hp: A trial's hyperparameters. Default: the first value of each space.
        """
        return self._space.settings(keras_tuner.HyperParameters() if hp is None else hp)

    def freeze_depths(self, settings: Settings) -> tuple[int, ...]:
        """The depths that trials on this backbone may use, see `SearchSpace.freeze_depths`."""
        return self._space.freeze_depths(settings)

    def depth_space(self, settings: Settings, freeze_depth: Any) -> Any:
        """What a `freeze_depth` leaves to be chosen from on the backbone of these settings."""
        return self._space.depth_space(settings, freeze_depth)

    @property
    def outputs(self) -> int | None:
        """Number of classes, labels or regressed values; None before the data is known."""
        return None if self._inputs.facts is None else self._inputs.facts.outputs

    def monitor(self, task: str) -> str:
        """The quantity that decides between epochs and trials.

        Args:
            task: One of `TASKS`.

        Raises:
            ArgumentError: If what was given cannot decide there.
        """
        check_select(self.arguments["select"], task)
        given = self.arguments["select"]
        return LOSS if given == CALIBRATED and task == "regression" else given

    def shared(self, settings: Settings) -> SharedBackbone:
        """The backbone that all trials with these settings train on."""
        return self._pool.get(settings, self._image_size(settings))

    def source(
        self, x: Any, y: Any, validation: Any, batch_size: int, settings: Settings
    ) -> Source:
        """Training and validation images as `train` takes them, see `Inputs.source`."""
        return self._inputs.source(x, y, validation, batch_size, settings)

    def learn(self, data: ImageData) -> None:
        """Note what the model must be for these images, before a backbone is loaded for them."""
        self._inputs.learn(data)

    def source_of(self, data: ImageData, settings: Settings) -> Source:
        """Training and validation images of an `ImageData` as `train` takes them."""
        return self.source(data, None, None, data.batch_size, settings)

    def new_model(self, settings: Settings) -> keras.Model:
        """A model of its own, with pretrained weights and an untrained head.

        Args:
            settings: The values of the trial.

        Returns:
            From float pixels 0..255 to predictions; frozen up to the freeze depth and compiled,
            as Keras' own `fit` needs it.
        """
        facts = self._inputs.facts or Facts("multiclass", 2)
        with dtype_policy(policy_name(settings.mixed_precision)):
            loaded = self._pool.load(settings, self._image_size(settings))
            assembly = assemble(loaded, settings.head(facts))
        self._space.freeze_depths(settings, loaded.model)  # refuses what it does not have
        depth = resolve_depth(loaded.model, settings.freeze_depth)
        apply_freeze_depth(loaded.model, depth, batch_norm=settings.batch_norm)
        assembly.model.compile(
            build_optimizer(settings.optimizer_settings(), settings.learning_rate),
            loss=loss_for(facts.task, settings.smoothing(facts.task)),
            metrics=metrics_for(facts.task),
        )
        return assembly.model

    def prepare(self, settings: Settings, source: Source) -> tuple[SharedBackbone, Training]:
        """What is trained on, and what is to be done.

        Args:
            settings: The values of the trial.
            source: Training and validation images.

        Returns:
            The backbone that trials share, and the training as `finetune.training.train` takes it.
        """
        facts = self._inputs.facts
        if facts is None:
            raise ArgumentError("num_classes is not known: pass it, or train on an ImageData.")
        if settings.head_optimizer == SOLVER and not (source.reuse or source.stored):
            raise ArgumentError(
                f"head_optimizer={SOLVER!r} needs features from one pass over the images, but the "
                "dataset may be other ones in each. Pass reuse=True where it is not, or name a "
                "Keras optimizer."
            )
        shared = self.shared(settings)
        shared.freeze_depths.update(self.freeze_depths(settings))
        trials = _TRIALS_OF_A_DEPTH if self.tunables() else 1
        # These may be of the head alone, and others come after it.
        epochs = max(settings.epochs, self.settings().epochs)
        shared.epochs = max(shared.epochs, epochs * trials)
        depth = resolve_depth(shared.backbone.model, settings.freeze_depth)
        training = Training(
            tuple(settings.phases(depth, shared.head_only)),
            settings.head(facts),
            label_smoothing=settings.smoothing(facts.task),
            class_weight=settings.weights_of_classes(facts, source.labels),
            seed=settings.seed,
            monitor=self.monitor(facts.task),
        )
        return shared, training

    def train(
        self,
        settings: Settings,
        source: Source,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        progress: Sequence[PhaseCallback] = (),
        initial_epoch: int = 0,
        start: list[np.ndarray] | None = None,
        until: int | None = None,
        file: StateFile | None = None,
    ) -> tuple[keras.Model, TrainingRecord]:
        """Train once with these settings on the backbone that trials share.

        Args:
            settings: The values of the trial.
            source: Training and validation images.
            callbacks: Keras callbacks, see `finetune.training.train`.
            progress: Callbacks that only show.
            initial_epoch: Epoch of the second phase to continue from.
            start: Weights to start from; None for pretrained ones and a new head.
            until: Epoch of the second phase after which to pause, see `finetune.training.train`.
            file: Where the state is kept, to go on from; likewise.

        Returns:
            The shared model with the best epoch's weights (the next training changes them),
            and what happened.
        """
        shared, training = self.prepare(settings, source)
        model = shared.reset(training.head)
        if start is not None and training.phases[-1].epochs:
            model.set_weights(start)
        record = train(
            shared,
            training,
            source,
            callbacks=callbacks,
            progress=progress,
            initial_epoch=initial_epoch,
            until=until,
            file=file,
        )
        return model, record

    def head_alone(self, settings: Settings, source: Source) -> bool:
        """Make the shared model what the second phase finds: the trained head, or a new one.

        Returns:
            Whether the head is trained to its end; else time was up.
        """
        if settings.head_epochs:
            return self.train(replace(settings, epochs=0), source)[1].finished
        shared, training = self.prepare(settings, source)
        shared.reset(training.head)
        return True

    def head_says(self, settings: Settings, source: Source, split: str) -> np.ndarray:
        """What the head, as it is now, says of images on the pretrained backbone.

        Args:
            settings: The values of the trial.
            source: Images that are stored.
            split: "train", "validation" or "test".

        Returns:
            float32 (n, units): what the whole model says after `head_alone`, from features.
        """
        shared, training = self.prepare(settings, source)
        return shared.say(training.head, source, split)

    def pooled(self, settings: Settings, source: Source, split: str) -> np.ndarray | None:
        """The pooled features of the images of a split, by the pretrained backbone.

        Returns:
            float32 (n, features), of the first view; None where nothing is kept.
        """
        if not source.reuse:
            return None
        features = self.shared(settings).pooled(source, split)
        return features.inputs[0][np.arange(len(features.labels))]

    def refits(self, source: Source, usual: int = 1) -> int:
        """How many times a model is to be trained once more, see `refit`.

        Args:
            source: Training and validation images; of a dataset that may be another in each pass
                none are used that were to validate, where nothing is said.
            usual: Where nothing is said.
        """
        given = self.arguments["refit"]
        if given is None:
            return usual if source.stored else 0
        return int(given)

    def calibrates(self, task: str) -> bool:
        """Whether what is handed over is calibrated, see `calibrate`."""
        return self.arguments["calibrate"] and task != "regression"

    def refit(
        self,
        settings: Settings,
        source: Source,
        record: TrainingRecord,
        seeds: int = 1,
        progress: Sequence[PhaseCallback] = (),
        after_head: Callable[[], None] | None = None,
    ) -> Refitted:
        """Train once more, on training and validation images, see `finetune.training.refitting`.

        The shared model ends with the new weights, or, where this fails, with some of them.

        Returns:
            What was done.

        Raises:
            TrainingError: If what was trained is worse, see `check_refit`.
        """
        shared, training = self.prepare(settings, source)
        shared.reset(training.head)
        made = refit(shared, training, source, record, seeds, progress, after_head)
        check_refit(shared, made, source, record)
        return made

    def count_anew(self) -> None:
        """Forget how many images were trained on: what reuse spares is counted from here."""
        self._pool.count_anew()

    def share_memory(self, parts: int) -> None:
        """Take only a part of the memory for features: as many trainers are on this machine."""
        self._cache.share(parts)

    def keep_heads(self, folder: Path) -> None:
        """Keep trained heads in a folder, for other processes to start from the very same."""
        self._pool.keep_heads(folder)

    def _image_size(self, settings: Settings) -> Any:
        facts = self._inputs.facts
        if settings.image_size is None and facts is not None:
            return facts.image_size
        return settings.image_size


def _check(reuse: Any, task: Any, num_classes: Any) -> None:
    """Refuse what no trial could work with, whatever its settings."""
    if keras.backend.backend() != "tensorflow":
        raise ArgumentError(
            "Expected Keras to run on TensorFlow, but its backend is "
            f"{keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow."
        )
    if reuse not in ("auto", True, False):
        raise ArgumentError(f"Expected reuse to be 'auto', True or False, received {reuse!r}.")
    check_number("num_classes", num_classes, least=2, most=10**6, whole=True, optional=True)
    if task is not None and task not in TASKS:
        raise ArgumentError(f"Expected task to be one of {TASKS}, received {task!r}.")
