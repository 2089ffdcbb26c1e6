"""FineTuner: a KerasTuner HyperModel that fine-tunes a pretrained backbone in two phases."""

import logging
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import keras
import keras_tuner
import numpy as np
from keras_tuner.errors import FatalError
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch
from rich.console import Console

from finetune.assembly import assemble
from finetune.backbones import UNSET
from finetune.data import ImageData
from finetune.distribution import resolve_distribution
from finetune.exceptions import ArgumentError, FineTuneError
from finetune.freezing import apply_freeze_depth, resolve_depth
from finetune.heads import TASKS, loss_for, metrics_for
from finetune.inputs import Inputs
from finetune.optimizers import build_optimizer
from finetune.phases import Training, train
from finetune.pool import BackbonePool
from finetune.precision import dtype_policy, policy_name
from finetune.progress import PhaseCallback, TrainingProgress
from finetune.records import TrainingRecord, merged_history
from finetune.reuse.features import FeatureCache
from finetune.reuse.shared import SharedBackbone
from finetune.reuse.source import Source
from finetune.search_space import SearchSpace
from finetune.settings import EPOCHS, Facts, Settings
from finetune.spaces import describe_value
from finetune.states import StateFile

if TYPE_CHECKING:
    from finetune.search.result import SearchResult

log = logging.getLogger("finetune")


class FineTuner(keras_tuner.HyperModel):
    """Fine-tunes a pretrained backbone; every KerasTuner tuner can search over it.

    Training has two phases: the new head alone on the frozen backbone, until its validation
    loss stops falling; then the backbone from the freeze depth up, at a reduced rate. The best
    epoch of both is kept.

    Each argument may be a value (fixed); `(low, high)` for a range of numbers, logarithmic for
    rates; a list of choices; or a KerasTuner hyperparameter. By default `freeze_depth` and
    `learning_rate` are tunable and all else is fixed, at values that were measured (see the
    guide's page on results).

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
            choice of block ends from "everything trains" to "head only"; "auto": the smallest
            three of these (the guide on freeze depth has the measurements).
        learning_rate: Rate of the second phase. Default (1e-5, 1e-3): the tutorials' 1e-5 is
            its low end.
        head_learning_rate: Rate of the head phase. Default 1e-3, Adam's own in Keras.
        head_epochs: Most epochs of the head phase. Default 60; it ends after 10 epochs without
            a lower validation loss. With 0 the second phase starts from a new head.
        epochs: Epochs of the second phase. Default 15.
        optimizer: Keras optimizer by name. Default "adam".
        schedule: How the rate moves in the second phase: "cosine" (default, which calms the
            last epochs), "constant", "exponential", "piecewise", "plateau", a Keras schedule or
            a function.
        dropout: Share of features dropped before the outputs. Default 0.2, as in Keras'
            tutorial.
        hidden_units: Units of a ReLU layer in the head. Default 0: none.
        label_smoothing: Share of the label spread over the other classes. Default 0.1 for
            classes, which keeps a few hundred images from being learned by heart; 0 otherwise.
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
        augment: "none", "light", "strong" or a Keras layer, in the place of the data's own.
            Default None: as the data was loaded.
        views: Augmented copies of each training image that are kept with `reuse`. Default 4.
        cache_budget: Bytes of memory for those outputs; more are kept on disk. Default: two
            fifths of the free memory.
        cache_dir: Where they are kept for later runs. Default: the environment variable
            `FINETUNE_CACHE`, or "~/.cache/finetune".
        cache_dtype: "float32" (default) or "float16", which takes half the room.
        distribution: "mirrored" trains each trial on all GPUs of this machine; or a
            `tf.distribute.Strategy`. Default None: one device.
        seed: Seed of head, order, dropout, and of random weights. Default 0. Further executions
            of one trial count up from it.

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
        epochs: Any = EPOCHS,
        optimizer: Any = "adam",
        schedule: Any = "cosine",
        dropout: Any = 0.2,
        hidden_units: Any = 0,
        label_smoothing: Any = None,
        class_weight: Any = None,
        batch_norm: Any = "frozen",
        layer_decay: Any = None,
        clip_norm: Any = None,
        weight_decay: Any = None,
        ema: Any = None,
        mixed_precision: Any = False,
        patience: Any = None,
        reuse: bool | str = "auto",
        augment: Any = None,
        views: Any = 4,
        cache_budget: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_dtype: str = "float32",
        distribution: Any = None,
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
        del given["self"], given["__class__"]
        self._given = given
        self._inputs = Inputs(task, num_classes, reuse)
        cache = FeatureCache(cache_budget, cache_dir, cache_dtype)
        self._pool = BackbonePool(preprocess, cache, resolve_distribution(distribution))
        self._space = SearchSpace(
            {field.name: given[field.name] for field in fields(Settings)},
            lambda settings: self.shared(settings).backbone.model,
        )
        self._executions: WeakKeyDictionary[SaveBestEpoch, int] = WeakKeyDictionary()
        # Refuse what can be refused now, not in the first trial.
        self._space.check()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to other processes as what it was made of."""
        return _remake, (self._given,)

    def describe(self) -> dict[str, Any]:
        """What it was made of, as JSON can hold it: spaces, and all that is fixed."""
        speed = ("cache_budget", "cache_dir", "reuse")  # without influence on results
        return {
            name: describe_value(value) for name, value in self._given.items() if name not in speed
        }

    def tunables(self) -> list[str]:
        """Names of the arguments that leave something to be chosen."""
        return self._space.tunables()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Make a new model with pretrained weights and an untrained head.

        Args:
            hp: The trial's hyperparameters.

        Returns:
            The whole model, from float pixels 0..255 to predictions; frozen up to the freeze
            depth and compiled, as Keras' own `fit` needs it. `FineTuner.fit` does not.
        """
        settings = self._space.settings(hp)
        facts = self._inputs.facts or Facts("multiclass", 2)
        with dtype_policy(policy_name(settings.mixed_precision)):
            loaded = self._pool.load(settings, self._image_size(settings))
            assembly = assemble(loaded, settings.head(facts))
        backbone = loaded.model
        depth = resolve_depth(backbone, settings.freeze_depth)
        apply_freeze_depth(backbone, depth, batch_norm=settings.batch_norm)
        optimizer = build_optimizer(settings.optimizer_settings(), settings.learning_rate)
        # A tuner's checkpoint holds the optimizer of the phase that the best epoch was in, which
        # has other variables: Keras would warn that it leaves them out.
        optimizer.load_own_variables = lambda store: None
        assembly.model.compile(
            optimizer,
            loss=loss_for(facts.task, settings.smoothing(facts.task)),
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
        settings = self._space.settings(hp)
        if epochs is not None:
            settings = replace(settings, epochs=epochs)
        try:
            source = self._inputs.source(x, y, validation_data, batch_size, settings)
        except FineTuneError as error:
            raise _at_once(error) from error
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
        return merged_history(record, head_as_one=source.reuse)

    def settings(self, hp: keras_tuner.HyperParameters | None = None) -> Settings:
        """The values to train with; declares in `hp` what is tunable.

        Args:
            hp: A trial's hyperparameters. Default: the first value of each space.
        """
        return self._space.settings(keras_tuner.HyperParameters() if hp is None else hp)

    def shared(self, settings: Settings) -> SharedBackbone:
        """The backbone that all trials with these settings train on."""
        return self._pool.get(settings, self._image_size(settings))

    def freeze_depths(self, settings: Settings) -> set[int]:
        """Every depth that trials on this backbone may use, as far as that is known."""
        return self._space.freeze_depths(settings)

    def source_of(self, data: ImageData, settings: Settings) -> Source:
        """Training and validation images of an `ImageData` as `train` takes them."""
        return self._inputs.source(data, None, None, data.batch_size, settings)

    def prepare(self, settings: Settings, source: Source) -> tuple[SharedBackbone, Training]:
        """What is trained on, and what is to be done.

        Args:
            settings: The values of the trial.
            source: Training and validation images.

        Returns:
            The backbone that trials share, and the training as `finetune.phases.train` takes it.
        """
        facts = self._inputs.facts
        if facts is None:
            raise ArgumentError("num_classes is not known: pass it, or train on an ImageData.")
        shared = self.shared(settings)
        shared.freeze_depths.update(self.freeze_depths(settings))
        depth = resolve_depth(shared.backbone.model, settings.freeze_depth)
        training = Training(
            tuple(settings.phases(depth, shared.head_only)),
            settings.head(facts),
            label_smoothing=settings.smoothing(facts.task),
            class_weight=settings.weights_of_classes(facts, source.labels),
            seed=settings.seed,
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
        pauses: Sequence[keras.callbacks.Callback] = (),
    ) -> tuple[keras.Model, TrainingRecord]:
        """Train once with these settings on the backbone that trials share.

        Args:
            settings: The values of the trial.
            source: Training and validation images.
            callbacks: See `fit`.
            progress: Callbacks that only show.
            initial_epoch: See `fit`.
            start: Weights to start from; None for pretrained ones and a new head.
            until: Epoch of the second phase after which to pause, see `finetune.phases.train`.
            file: Where the state is kept, to go on from; likewise.
            pauses: Callbacks that may stop training for now; likewise.

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
            pauses=pauses,
        )
        return model, record

    def search(
        self,
        data: ImageData,
        *,
        strategy: str | keras_tuner.Oracle = "halving",
        max_trials: int | None = None,
        time_budget: str | float | None = None,
        epochs: int | None = None,
        executions: int = 1,
        keep: int = 3,
        max_failures: int = 3,
        workers: int = 1,
        ray_address: str | None = None,
        gpus_per_trial: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        seed: int = 0,
        out: str | os.PathLike[str] | None = None,
        verbose: int = 1,
    ) -> "SearchResult":
        """Search for the best values of all that was left open, and keep the best model.

        Everything is on disk as it happens: the same call goes on with a search that was
        stopped or killed, in the same place.

        Args:
            data: Images, see `load_data`.
            strategy: Which values are tried: "halving" (default: all train a little, the best
                third goes on, and so on), "grid", "random", "bayesian", "hyperband", or a
                `keras_tuner.Oracle`.
            max_trials: Most choices of values. Default: all of a grid and of hyperband; 12
                otherwise.
            time_budget: Time after which to stop, such as "20m" or seconds; counts earlier
                runs of the same search. Default: none.
            epochs: Epochs of the second phase of a trial that is trained to its end. Default: the
                tuner's own.
            executions: Seeds that each of the best `keep` trials is trained with. Default 1.
            keep: Number of trials whose weights are kept. Default 3.
            max_failures: Trials that may fail one after the other before the search stops.
                Default 3.
            workers: Trials at a time. Above 1 they are Ray tasks, from the extra
                `keras-finetuner[ray]`. Default 1: in this process.
            ray_address: Address of a Ray cluster, or "auto". Default: this machine.
            gpus_per_trial: GPUs of each worker, such as 0.5. Default: an equal share.
            callbacks: Keras callbacks. They see the whole model; each job (a trial, or the
                stretch of it up to a pause) gets copies. TensorBoard logs into a folder a trial.
            seed: Seed of what the strategy draws. Default 0.
            out: The study's folder. Default: a new one under "runs/".
            verbose: 0 for silence, 1 (default) for a line a trial.

        Returns:
            The best model, the board, and what the model is worth.

        Raises:
            ArgumentError: If nothing is left open, or an argument is not allowed.
            StudyError: If the folder is in use, or holds another search.
            SearchError: If too many trials fail.
            StorageError: If the folder cannot be written; what is in it stays readable.

        Example:
            >>> import numpy as np, tempfile
            >>> from finetune import load_data
            >>> pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), "uint8")
            >>> data = load_data((pixels, [0, 1, 2] * 8), image_size=32, augment="none")
            >>> tuner = FineTuner(
            ...     weights=None, backbone_options={"alpha": 0.35}, freeze_depth=[116, 154],
            ...     learning_rate=1e-4, epochs=1, head_epochs=1)
            >>> result = tuner.search(data, strategy="grid", out=tempfile.mkdtemp(), verbose=0)
            >>> [trial["status"] for trial in result.trials]
            ['completed', 'completed']
        """
        # Imported here: the search is made of tuners.
        from finetune.search.search import run_search

        return run_search(
            self,
            data,
            strategy=strategy,
            max_trials=max_trials,
            time_budget=time_budget,
            epochs=epochs,
            executions=executions,
            keep=keep,
            max_failures=max_failures,
            workers=workers,
            ray_address=ray_address,
            gpus_per_trial=gpus_per_trial,
            callbacks=callbacks,
            seed=seed,
            out=out,
            verbose=verbose,
        )

    def keep_heads(self, folder: Path) -> None:
        """Keep trained heads in a folder, for other processes to start from the very same."""
        self._pool.keep_heads(folder)

    def _image_size(self, settings: Settings) -> Any:
        facts = self._inputs.facts
        if settings.image_size is None and facts is not None:
            return facts.image_size
        return settings.image_size


def _remake(given: dict[str, Any]) -> FineTuner:
    return FineTuner(**given)


def _at_once(error: FineTuneError) -> Exception:
    """The same error, as one at which KerasTuner stops: it would try the same again, twice."""
    kind = type(error)
    return type(kind.__name__, (kind, FatalError), {"__module__": kind.__module__})(*error.args)


def _printer(verbose: Any) -> list[PhaseCallback]:
    if verbose in (0, "0", False):
        return []
    return [TrainingProgress(Console())]
