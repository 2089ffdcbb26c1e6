"""FineTuner: a KerasTuner HyperModel that fine-tunes a pretrained backbone in two phases."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FatalError

from finetune.backbones import UNSET
from finetune.compat import best_epoch_checkpoint
from finetune.data import ImageData
from finetune.exceptions import ArgumentError, FineTuneError
from finetune.search import SearchOptions, SearchResult, run_search
from finetune.support import new_console
from finetune.training import (
    PhaseCallback,
    Schedule,
    TrainingProgress,
    merged_history,
    refuse_callbacks,
)
from finetune.tuning import Searchable, Trainer

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
        backbone: Name of a `keras.applications` architecture, a preset of KerasHub such as
            "hub:dinov2_small" or "hub:./folder", a `keras.Model`, a `.keras` file, or the folder
            of a run such as "runs/a", whose model is gone on from without its head.
            Default "MobileNetV2": small, and quick without a GPU. In `fine_tune` alone "auto" is
            what `compare` suggests of the architectures whose ImageNet weights are on disk.
        weights: "imagenet" (default), a weights file, or None for random weights.
        image_size: Pixels, an integer or (height, width). Default: that of the data, else the
            backbone's own, such as 224.
        num_classes: Number of classes, at least 2. Default: that of the data, learned when
            the search begins.
        task: "binary", "multiclass", "multilabel" or "regression". Default: that of the data;
            before there is any, "binary" for 2 classes, "multiclass" for more.
        preprocess: How a model of your own wants its images: "tf", "torch", "caffe", a Keras
            layer, a function or None, see `load_backbone`. Default: the architecture's own, or
            that of a model made by this package.
        backbone_options: Options of the architecture, such as {"alpha": 0.35}. Default: none.
        freeze_depth: Number of backbone layers, from the input, that stay frozen in the second
            phase; or a fraction; or the name of the last layer or block that does. Default: a
            choice of block ends from "everything trains" to "head only"; "auto": the smallest
            three of these (the guide on freeze depth has the measurements).
        learning_rate: Rate of the second phase. Default (1e-4, 2e-3): what did well, and around it.
        head_optimizer: How the head phase finds its weights. Default "auto": a linear head on
            stored images or kept features is solved by L-BFGS, as logistic regression with a
            penalty chosen by 5-fold cross-validation (ridge regression for values); any other is
            trained by `optimizer`. "lbfgs" insists on the former; a Keras optimizer by name trains.
        head_learning_rate: Rate of a head that is trained. Default 1e-3, Adam's own in Keras.
        head_epochs: Most epochs of a head that is trained. Default 60; it ends after 10 epochs
            without a lower validation loss. With 0 there is no head phase: the second one starts
            from a new head.
        epochs: Epochs of the second phase. Default 15.
        optimizer: Keras optimizer by name. Default "adam".
        schedule: How the rate moves in the second phase: "cosine" (default, which calms the
            last epochs), "constant", "exponential", "piecewise", "plateau", a Keras schedule or
            a function.
        warm_up: Share of the second phase in which "cosine" rises. Default 0.3, as in fastai.
        dropout: Share of features dropped before the outputs. Default 0.2, as in Keras'
            tutorial.
        hidden_units: Units of a ReLU layer in the head. Default 0: none.
        label_smoothing: Share of the label spread over the other classes. Default 0.1 for
            classes, which keeps a few hundred images from being learned by heart; 0 otherwise.
        class_weight: {class number: weight}, "balanced", or None (default).
        batch_norm: "frozen" (default, as Keras' guide advises) or "adapt".
        layer_decay: Factor on the rate from each trained layer to the one before it. Default
            None: one rate.
        clip_norm: Largest global norm of the gradients, to which larger ones are scaled. Default
            1.0, as in Hugging Face's `Trainer`; None: no limit.
        weight_decay: Decoupled weight decay. Default None: the optimizer's own.
        ema: Momentum of the moving average of the weights. Default None: none.
        mixed_precision: True, False (default) or the name of a Keras dtype policy.
        patience: Epochs of the second phase without a lower validation loss before it ends.
            Default None: all epochs.
        select: What decides between epochs, phases and trials: "val_calibrated_loss" (default: the
            validation loss at the temperature that suits it best, for how sure a model is can be
            mended, see `calibrate`), "val_loss" (without label smoothing) or "val_accuracy", and
            the loss among equals.
        refit: How many times what `fine_tune` and `search` hand over is trained once more, with the
            same settings on training and validation images together; with images in other orders
            each time, and the weights averaged. It takes all epochs where the schedule lets the
            rate fall to nothing, else (and with `patience`) as many as were best. Quality on
            validation images is that of the model before. Default: once, in a search see
            `max_slowdown`, too; 0: not at all.
        calibrate: Whether the probabilities of what `fine_tune` and `search` hand over are made as
            high as the share of right answers, by one temperature fitted on the validation images.
            No answer changes by it. Default True.
        reuse: Whether the frozen part's outputs are computed once and kept: "auto" (default:
            where the images are stored, so that their augmentation is known), True, or False.
        augment: "none", "flip", "light", "strong" or a Keras layer, in the place of the data's own.
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
        deterministic: Whether the same seed gives the same weights to the bit in another process,
            after a resume, and with other workers or cores: TensorFlow computes with one thread an
            operation from then on in this process, which takes longer (docs/performance.md).
            Default False: the same but for rounding.

    Raises:
        ArgumentError: If an argument is not allowed.

    Example:
        >>> tuner = FineTuner(weights=None, num_classes=3, image_size=32)
        >>> hp = keras_tuner.HyperParameters()
        >>> tuner.build(hp).output_shape
        (None, 3)
        >>> hp.values["freeze_depth"], hp.values["learning_rate"]
        (0, 0.0001)
    """

    def __init__(
        self,
        backbone: Searchable[str | os.PathLike[str] | keras.Model] = "MobileNetV2",
        *,
        weights: Searchable[str | os.PathLike[str] | None] = "imagenet",
        image_size: Searchable[int | tuple[int, int] | None] = None,
        num_classes: int | None = None,
        task: str | None = None,
        preprocess: str | keras.Layer | Callable | None = UNSET,
        backbone_options: Searchable[dict[str, Any] | None] = None,
        freeze_depth: Searchable[int | float | str | None] = None,
        learning_rate: Searchable[float] = (1e-4, 2e-3),
        head_optimizer: Searchable[str] = "auto",
        head_learning_rate: Searchable[float] = 1e-3,
        head_epochs: Searchable[int] = 60,
        epochs: Searchable[int] = 15,
        optimizer: Searchable[str] = "adam",
        schedule: Searchable[Schedule] = "cosine",
        warm_up: Searchable[float] = 0.3,
        dropout: Searchable[float] = 0.2,
        hidden_units: Searchable[int] = 0,
        label_smoothing: Searchable[float | None] = None,
        class_weight: Searchable[str | dict[int, float] | None] = None,
        batch_norm: Searchable[str] = "frozen",
        layer_decay: Searchable[float | None] = None,
        clip_norm: Searchable[float | None] = 1.0,
        weight_decay: Searchable[float | None] = None,
        ema: Searchable[float | None] = None,
        mixed_precision: Searchable[bool | str] = False,
        patience: Searchable[int | None] = None,
        select: str = "val_calibrated_loss",
        refit: int | None = None,
        calibrate: bool = True,
        reuse: bool | str = "auto",
        augment: Searchable[str | keras.Layer | None] = None,
        views: Searchable[int] = 4,
        cache_budget: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_dtype: str = "float32",
        distribution: str | tf.distribute.Strategy | None = None,
        seed: Searchable[int] = 0,
        deterministic: bool = False,
    ) -> None:
        given = dict(locals())
        del given["self"], given["__class__"]
        super().__init__()
        _refuse_auto(backbone)
        self.trainer = Trainer(given)
        self._executions: WeakKeyDictionary[keras.callbacks.Callback, int] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to other processes as what it was made of."""
        return _remake, (self.trainer.arguments,)

    def tunables(self) -> list[str]:
        """Names of the arguments that leave something to be chosen."""
        return self.trainer.tunables()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Make a new model with pretrained weights and an untrained head.

        Args:
            hp: The trial's hyperparameters.

        Returns:
            The whole model, from float pixels 0..255 to predictions; frozen up to the freeze
            depth and compiled, as Keras' own `fit` needs it. `FineTuner.fit` does not.
        """
        model = self.trainer.new_model(self.trainer.settings(hp))
        # A tuner's checkpoint holds the optimizer of the phase that the best epoch was in, which
        # has other variables: Keras would warn that it leaves them out.
        model.optimizer.load_own_variables = lambda store: None
        return model

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
        settings = self.trainer.settings(hp)
        if epochs is not None:
            settings = replace(settings, epochs=epochs)
        try:
            refuse_callbacks(callbacks or (), settings.schedule)
            source = self.trainer.source(x, y, validation_data, batch_size, settings)
        except FineTuneError as error:
            raise _at_once(error) from error
        checkpoint = best_epoch_checkpoint(callbacks or ())
        execution = self._executions.get(checkpoint, 0) if checkpoint else 0
        if checkpoint:
            self._executions[checkpoint] = execution + 1
        if execution:
            settings = replace(settings, seed=settings.seed + execution)
        trained, record = self.trainer.train(
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
        combine: str = "auto",
        max_slowdown: float = 1.0,
        max_failures: int = 3,
        workers: int = 1,
        ray_address: str | None = None,
        gpus_per_trial: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        seed: int = 0,
        out: str | os.PathLike[str] | None = None,
        verbose: int = 1,
    ) -> SearchResult:
        """Search for the best values of all that was left open, and keep the best model.

        Everything is on disk as it happens: the same call goes on with a search that was
        stopped or killed, in the same place.

        Args:
            data: Images, see `load_data`.
            strategy: Which values are tried: "halving" (default: all train a little, the best
                third goes on, and so on), "grid", "random", "bayesian", "hyperband", or a
                `keras_tuner.Oracle`.
            max_trials: Most choices of values. Default: all of a grid and of hyperband; 12
                otherwise. With more of them the same call extends a search.
            time_budget: Time after which to stop, such as "20m" or seconds, with the best so
                far: of features, head, trials and measuring together. The same call has all of
                it again, and goes on. Default: none.
            epochs: Epochs of the second phase of a trial that is trained to its end. Default: the
                tuner's own.
            executions: Seeds that each of the best `keep` trials is trained with. Default 1.
            keep: Number of trials whose weights are kept, and that the model may be made of.
                Default 3.
            combine: What the model is made of: "best", the trial with the lowest validation loss;
                "soup", the weights of the best `keep` trials averaged, which takes no more time for
                an image; "ensemble", their probabilities averaged, with the layers that are frozen
                in all of them run once; or "auto" (default): the best trial, and of the others each
                that lowers the validation loss of the average, in weights or, within
                `max_slowdown`, in probabilities.
            max_slowdown: How many times as long as with one trial an image may take, for "auto".
                Default 1: no ensemble. With 3, where no other trial helps the best one, it is
                trained on all images three times (`refit`), and the three are an ensemble.
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
            OutOfTimeError: If time was up before a trial had an epoch.
            StorageError: If the folder cannot be written; what is in it stays readable.

        Example:
            >>> import numpy as np, tempfile
            >>> from finetune import load_data
            >>> layers = [keras.layers.Conv2D(4, 3, name=name) for name in ("first", "second")]
            >>> model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
            >>> pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
            >>> data = load_data((pixels, [0, 1, 2] * 8), image_size=16, augment="none")
            >>> tuner = FineTuner(
            ...     model, preprocess="tf", freeze_depth=[0, 1], learning_rate=1e-4, epochs=1)
            >>> result = tuner.search(data, strategy="grid", out=tempfile.mkdtemp(), verbose=0)
            >>> [trial["status"] for trial in result.trials]
            ['completed', 'completed']
        """
        given = dict(locals())
        del given["self"], given["data"]
        return run_search(self.trainer, data, SearchOptions(**given))


def _remake(given: dict[str, Any]) -> FineTuner:
    return FineTuner(**given)


def _refuse_auto(backbone: Any) -> None:
    """Refuse what needs images, which are not there yet."""
    named = backbone if isinstance(backbone, list) else [backbone]
    if any(isinstance(name, str) and name == "auto" for name in named):
        raise ArgumentError(
            "Expected backbone to be a name, a model or a file, received 'auto': to choose one, it "
            "takes images, which FineTuner has not seen yet. Compare some first, "
            "`finetune.compare(data)` (finetune compare), and name the one that is suggested."
        )


def _at_once(error: FineTuneError) -> Exception:
    """The same error, as one at which KerasTuner stops: it would try the same again, twice."""
    kind = type(error)
    return type(kind.__name__, (kind, FatalError), {"__module__": kind.__module__})(*error.args)


def _printer(verbose: Any) -> list[PhaseCallback]:
    if verbose in (0, "0", False):
        return []
    return [TrainingProgress(new_console())]
