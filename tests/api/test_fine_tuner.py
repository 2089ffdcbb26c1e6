"""FineTuner under KerasTuner's tuners, and what it makes of its arguments."""

import inspect
import logging
import random
from dataclasses import fields, replace

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from finetune.api.fine_tuner import FineTuner
from finetune.data import load_data
from finetune.exceptions import ArgumentError, DataError, FreezeDepthError, ImageSizeError
from finetune.search.options import SearchOptions
from finetune.tuning.settings import Facts, Settings


@pytest.fixture(scope="module")
def make_tuner(make_backbone):
    """A FineTuner on the tiny backbone with two epochs each."""

    def make(**arguments):
        defaults = {"preprocess": "tf", "head_epochs": 2, "epochs": 2, "freeze_depth": [10, 16]}
        return FineTuner(make_backbone(), **{**defaults, **arguments})

    return make


@pytest.fixture(scope="module")
def hyper(make_tuner):
    """Shared by the tests that search, so that equal programs are traced once."""
    return make_tuner()


@pytest.fixture
def options(tmp_path):
    return {"objective": "val_accuracy", "directory": tmp_path, "project_name": "search"}


def names(hp):
    return [parameter.name for parameter in hp.space]


def check_board(tuner, validation):
    """The best models evaluate to the scores that the tuner says they have."""
    trials = tuner.oracle.get_best_trials(2)
    for trial, model in zip(trials, tuner.get_best_models(2), strict=True):
        result = model.evaluate(validation, verbose=0, return_dict=True)
        assert result["accuracy"] == pytest.approx(trial.score, abs=1e-6)


def test_freeze_depth_and_learning_rate_are_tunable_by_default(make_backbone):
    tuner = FineTuner(make_backbone(), preprocess="tf", num_classes=3)
    hp = keras_tuner.HyperParameters()
    model = tuner.build(hp)
    assert sorted(names(hp)) == ["freeze_depth", "learning_rate"]
    assert tuner.tunables() == ["learning_rate", "freeze_depth"]
    depth = next(parameter for parameter in hp.space if parameter.name == "freeze_depth")
    assert (depth.values[0], depth.values[-1]) == (0, 16)
    rate = next(parameter for parameter in hp.space if parameter.name == "learning_rate")
    assert (rate.min_value, rate.max_value, rate.sampling) == (1e-4, 2e-3, "log")
    assert model.output_shape == (None, 3)


def test_any_argument_may_be_a_space(make_tuner):
    tuner = make_tuner(
        num_classes=3,
        dropout=(0.0, 0.5),
        optimizer=["adam", "sgd"],
        hidden_units=keras_tuner.engine.hyperparameters.Int("units", 8, 32, step=8),
        head_learning_rate=(1e-4, 1e-1),
        freeze_depth=(4, 16),
        mixed_precision=[False, True],
    )
    hp = keras_tuner.HyperParameters()
    tuner.build(hp)
    assert set(names(hp)) == {
        *("dropout", "optimizer", "hidden_units", "head_learning_rate"),
        *("freeze_depth", "mixed_precision", "learning_rate"),
    }


def test_depths_by_name_and_fraction_become_layers(make_tuner):
    tuner = make_tuner(num_classes=3, freeze_depth=["add", 0.5, 8, 1.0])
    hp = keras_tuner.HyperParameters()
    tuner.build(hp)
    depth = next(parameter for parameter in hp.space if parameter.name == "freeze_depth")
    assert list(depth.values) == [10, 8, 16]


@pytest.mark.parametrize(
    "depth", [300, [0, 300], (0, 300), keras_tuner.engine.hyperparameters.Int("d", 0, 300)]
)
def test_a_depth_that_the_backbone_does_not_have_is_refused_before_anything_is_trained(
    make_tuner, data, tmp_path, depth
):
    told = "Freeze depth 300 is outside the model. Expected a number of layers from 0 to 16"
    tuner = make_tuner(num_classes=3, freeze_depth=depth)
    with pytest.raises(FreezeDepthError, match=told):
        tuner.build(keras_tuner.HyperParameters())
    with pytest.raises(FreezeDepthError, match=told):
        tuner.search(data, out=tmp_path / "study", verbose=0)
    assert not (tmp_path / "study").exists()


def test_several_backbones_are_cut_by_fraction():
    tuner = FineTuner(
        ["MobileNetV2", "MobileNet"], weights=None, image_size=32, num_classes=2, reuse=False
    )
    hp = keras_tuner.HyperParameters()
    model = tuner.build(hp)
    assert hp.values["backbone"] == "MobileNetV2"
    assert hp.values["freeze_depth"] == 0.0
    assert model.output_shape == (None, 1)


@pytest.mark.parametrize(
    ("cls", "extra"),
    [
        (keras_tuner.RandomSearch, {"max_trials": 2, "seed": 1}),
        (keras_tuner.GridSearch, {"max_trials": 2}),
        (keras_tuner.BayesianOptimization, {"max_trials": 2, "seed": 1}),
    ],
)
def test_stock_tuners_search_over_it(hyper, data, options, cls, extra):
    tuner = cls(hyper, **options, **extra)
    tuner.search(data, verbose=0)
    assert len(tuner.oracle.trials) == 2
    check_board(tuner, data.validation)


def test_datasets_are_searched_as_kerastuner_does_it(make_tuner, data, options):
    tuner = keras_tuner.RandomSearch(make_tuner(freeze_depth=10), max_trials=2, **options)
    tuner.search(data.train, validation_data=data.validation, verbose=0)
    assert len(tuner.oracle.trials) == 2
    check_board(tuner, data.validation)


def test_arrays_are_searched_as_kerastuner_does_it(make_tuner, data, options):
    train, validation = data.splits["train"], data.splits["validation"]
    tuner = keras_tuner.RandomSearch(make_tuner(freeze_depth=16), max_trials=1, **options)
    tuner.search(
        train.images,
        train.labels,
        validation_data=(validation.images, validation.labels),
        batch_size=16,
        verbose=0,
    )
    assert tuner.oracle.get_best_trials(1)[0].score > 0


def test_hyperband_continues_a_trial_without_a_second_head_phase(hyper, data, options):
    tuner = keras_tuner.Hyperband(hyper, max_epochs=2, factor=2, seed=0, **options)
    tuner.search(data, verbose=0)
    trials = list(tuner.oracle.trials.values())
    assert all(trial.status == "COMPLETED" for trial in trials)
    continued = [t for t in trials if t.hyperparameters.values["tuner/initial_epoch"]]
    assert continued
    for trial in continued:
        phases = trial.metrics.get_history("phase")
        # A head alone has no second phase to continue: it is the trained head again.
        expected = float(trial.hyperparameters.values["freeze_depth"] != 16)
        assert [record.value for record in phases] == [[expected]]
    check_board(tuner, data.validation)


def test_a_tuner_of_the_users_own_may_build_and_fit(make_tuner, data, options):
    scores = {}

    class Own(keras_tuner.RandomSearch):
        def run_trial(self, trial, *arguments, **keywords):
            hp = trial.hyperparameters
            model = self.hypermodel.build(hp)
            history = self.hypermodel.fit(hp, model, *arguments, verbose=0)
            scores[trial.trial_id] = model.evaluate(data.validation, verbose=0)[1]
            return max(history.history["val_accuracy"])

    hyper = make_tuner(freeze_depth=16, num_classes=3)
    tuner = Own(hyper, max_trials=2, **options)
    tuner.search(data)
    for trial in tuner.oracle.trials.values():
        assert trial.score == pytest.approx(scores[trial.trial_id])


def test_further_executions_of_a_trial_use_other_seeds(make_tuner, data, options):
    hyper = make_tuner(freeze_depth=16)
    seeds = []
    train = hyper.trainer.train

    def seen(settings, *arguments, **keywords):
        seeds.append(settings.seed)
        return train(settings, *arguments, **keywords)

    hyper.trainer.train = seen
    tuner = keras_tuner.RandomSearch(hyper, max_trials=2, executions_per_trial=2, **options)
    tuner.search(data, verbose=0)
    assert seeds == [0, 1, 0, 1]


def test_the_history_has_a_phase_column_and_the_model_the_best_epoch(make_tuner, data):
    hyper = make_tuner(freeze_depth=10, learning_rate=1e-3, num_classes=3)
    hp = keras_tuner.HyperParameters()
    model = hyper.build(hp)
    history = hyper.fit(hp, model, data, verbose=0).history
    assert history["phase"] == [0.0, 1.0, 1.0]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= set(history)
    score = model.evaluate(data.validation, verbose=0, return_dict=True)["accuracy"]
    assert score == pytest.approx(max(history["val_accuracy"]))


def test_a_model_that_was_built_too_early_is_spoken_of(make_tuner, data, caplog):
    hyper = make_tuner(freeze_depth=16)
    hp = keras_tuner.HyperParameters()
    with caplog.at_level(logging.WARNING, "finetune"):
        hyper.fit(hp, hyper.build(hp), data, verbose=0)
    assert "stays untrained" in caplog.text
    assert "Pass num_classes and image_size" in caplog.text


def test_the_users_backbone_stays_as_it_is(backbone, data):
    before = [np.array(w) for w in backbone.get_weights()]
    flags = [layer.trainable for layer in backbone.layers]
    hyper = FineTuner(
        backbone,
        preprocess="tf",
        num_classes=3,
        freeze_depth=0,
        head_epochs=0,
        epochs=1,
        learning_rate=0.1,
        batch_norm="adapt",
    )
    hyper.trainer.train(
        hyper.trainer.settings(), hyper.trainer.source_of(data, hyper.trainer.settings())
    )
    assert all(map(np.array_equal, before, backbone.get_weights()))
    assert [layer.trainable for layer in backbone.layers] == flags


def test_random_weights_are_those_of_the_seed():
    def kernel(seed):
        tuner = FineTuner(
            weights=None, backbone_options={"alpha": 0.35}, image_size=32, num_classes=2, seed=seed
        )
        return np.array(
            tuner.trainer.shared(tuner.trainer.settings()).backbone.model.trainable_variables[-3]
        )

    state = random.getstate()
    first = kernel(0)
    assert random.getstate() == state
    assert first.std() > 0
    np.testing.assert_array_equal(kernel(0), first)
    assert not np.array_equal(kernel(1), first)


def test_tensorflow_does_not_warn_of_steps_that_are_compiled_on_purpose(make_tuner, data):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    tuner = make_tuner(freeze_depth=[6, 7, 8, 9, 10], learning_rate=1e-3)
    for depth in range(6, 11):
        settings = replace(tuner.trainer.settings(), freeze_depth=depth)
        tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
    logger.removeHandler(handler)
    assert not [r for r in records if "retracing" in r.getMessage()]
    assert logger.filters == []


def test_reuse_changes_the_speed_and_not_the_result(make_tuner, data):
    """Same head and same fine-tuned weights: relative difference below 0.1 % (float32 sums)."""
    results = []
    for reuse in (True, False):
        hyper = make_tuner(reuse=reuse, freeze_depth=10, learning_rate=1e-2, optimizer="sgd")
        settings = hyper.trainer.settings()
        model, record = hyper.trainer.train(settings, hyper.trainer.source_of(data, settings))
        results.append((record, [np.array(w) for w in model.get_weights()]))
    (record, weights), (expected, others) = results
    assert [row["phase"] for row in record.epochs] == [row["phase"] for row in expected.epochs]
    for row, other in zip(record.epochs, expected.epochs, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)
    for weight, other in zip(weights, others, strict=True):
        assert weight == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_augmented_images_train_from_views(make_tuner, augmented):
    hyper = make_tuner(freeze_depth=10, views=2)
    settings = hyper.trainer.settings()
    source = hyper.trainer.source_of(augmented, settings)
    assert source.views == 2
    _, record = hyper.trainer.train(settings, source)
    assert [row["phase"] for row in record.epochs] == ["head", "fine_tune", "fine_tune"]


def test_mixed_precision_reaches_a_model_file(backbone, tmp_path):
    backbone.save(tmp_path / "vgg16.keras")
    hyper = FineTuner(
        tmp_path / "vgg16.keras",
        preprocess="tf",
        mixed_precision="mixed_bfloat16",
        num_classes=3,
        freeze_depth=10,
    )
    shared = hyper.trainer.shared(hyper.trainer.settings())
    assert shared.backbone.model.get_layer("c_conv").compute_dtype == "bfloat16"


def test_mixed_precision_trains_and_leaves_the_global_policy(make_tuner, data):
    before = keras.config.dtype_policy()
    hyper = make_tuner(freeze_depth=10, mixed_precision="mixed_bfloat16", num_classes=3)
    settings = hyper.trainer.settings()
    model, record = hyper.trainer.train(settings, hyper.trainer.source_of(data, settings))
    assert keras.config.dtype_policy() is before
    assert np.isfinite(record.best_epoch["val_loss"])
    assert model.get_layer("tiny").get_layer("c_conv").compute_dtype == "bfloat16"
    built = hyper.build(keras_tuner.HyperParameters())
    assert built.get_layer("tiny").get_layer("c_conv").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(
    ("task", "labels", "shape"),
    [
        ("binary", np.tile([0, 1], 20), (None, 1)),
        ("multilabel", np.random.default_rng(0).integers(0, 2, (40, 3)), (None, 3)),
        ("regression", np.linspace(0, 1, 40).astype("float32"), (None, 1)),
    ],
)
def test_every_task_trains(make_tuner, task, labels, shape):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), "uint8")
    data = load_data((images, labels), image_size=16, task=task, augment="none")
    hyper = make_tuner(freeze_depth=16, task=task)
    settings = hyper.trainer.settings()
    model, record = hyper.trainer.train(settings, hyper.trainer.source_of(data, settings))
    assert model.output_shape == shape
    assert record.best_epoch["val_loss"] == min(row["val_loss"] for row in record.epochs)


def test_balanced_class_weights_come_from_the_training_labels(make_tuner, data):
    hyper = make_tuner(class_weight="balanced", num_classes=3)
    source = hyper.trainer.source_of(data, hyper.trainer.settings())
    facts = Facts("multiclass", 3)
    weights = hyper.trainer.settings().weights_of_classes(facts, source.labels)
    labels = data.splits["train"].labels
    assert weights == pytest.approx(
        {number: len(labels) / 3 / np.sum(labels == number) for number in range(3)}
    )


def plain_datasets(size=16, one_hot=False):
    images = tf.random.stateless_uniform((24, size, size, 3), (0, 1), 0, 255)
    labels = tf.one_hot(tf.range(24) % 3, 3) if one_hot else tf.range(24) % 3
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.batch(8), dataset.take(9).batch(8)


def test_a_plain_dataset_trains_on_whole_images_and_says_so(make_tuner, caplog):
    train, validation = plain_datasets()
    hyper = make_tuner(freeze_depth=16)
    hp = keras_tuner.HyperParameters()
    with caplog.at_level(logging.INFO, "finetune"):
        hyper.fit(hp, hyper.build(hp), train, validation_data=validation, verbose=0)
    lines = [record.message for record in caplog.records if record.levelname == "INFO"]
    assert lines == [
        "Training on whole images in every epoch: the augmentation of a tf.data.Dataset cannot be "
        "seen. Pass stored images, or reuse=True if it has none."
    ]


def test_a_plain_dataset_is_reused_where_asked_for(make_tuner):
    train, validation = plain_datasets(one_hot=True)
    passes = []
    train = train.map(
        lambda x, y: (tf.numpy_function(lambda a: passes.append(1) or a, [x], x.dtype), y)
    )
    train = train.map(lambda x, y: (tf.ensure_shape(x, (None, 16, 16, 3)), y))
    hyper = make_tuner(freeze_depth=16, head_epochs=5, reuse=True)
    hp = keras_tuner.HyperParameters()
    history = hyper.fit(hp, hyper.build(hp), train, validation_data=validation, verbose=0)
    assert len(passes) == 3 * 3  # twice to see what changes, once for the features
    assert len(history.history["loss"]) == 1


def test_a_plain_dataset_that_mixes_what_is_measured_into_training_is_refused(make_tuner):
    images = tf.random.stateless_uniform((24, 16, 16, 3), (0, 1), 0, 255)
    shuffled = tf.data.Dataset.from_tensor_slices((images, tf.range(24) % 3)).shuffle(24)
    hyper = make_tuner(num_classes=3)
    hp = keras_tuner.HyperParameters()
    with pytest.raises(DataError, match="The validation dataset changes each time"):
        hyper.fit(
            hp,
            hyper.build(hp),
            shuffled.skip(9).batch(8),
            validation_data=shuffled.take(9).batch(8),
            verbose=0,
        )


def test_a_dataset_that_never_ends_is_refused_before_it_is_counted(make_tuner):
    train, validation = plain_datasets()
    hyper = make_tuner()
    with pytest.raises(DataError, match="a dataset that ends"):
        hyper.trainer.source(train.repeat(), None, validation, 32, hyper.trainer.settings())


def test_a_dataset_of_unknown_length_is_counted(make_tuner):
    train, validation = plain_datasets()
    train = train.filter(lambda x, y: True)
    hyper = make_tuner(freeze_depth=16, num_classes=3)
    source = hyper.trainer.source(train, None, validation, 32, hyper.trainer.settings())
    assert source.pixels("train", seed=0).steps == 3


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda d: d.unbatch(), ImageSizeError, "Resize and batch the dataset first"),
        (lambda d: d.repeat(), DataError, "a dataset that ends"),
        (lambda d: d.map(lambda x, y: (x, y, y)), DataError, r"dataset of \(images, labels\)"),
    ],
)
def test_datasets_that_cannot_be_trained_on_are_refused(make_tuner, change, error, text):
    train, validation = plain_datasets()
    hyper = make_tuner(num_classes=3)
    with pytest.raises(error, match=text):
        hyper.trainer.source(change(train), None, validation, 32, hyper.trainer.settings())


def test_a_dataset_of_another_size_is_refused():
    train, validation = plain_datasets(size=32)
    hyper = FineTuner("MobileNetV2", weights=None, image_size=48, num_classes=3, freeze_depth=0)
    with pytest.raises(ImageSizeError, match=r"images of \(48, 48\) pixels.*are \(32, 32\)"):
        hyper.trainer.source(train, None, validation, 32, hyper.trainer.settings())


def test_validation_images_must_be_there(make_tuner, arrays, data):
    hyper = make_tuner(num_classes=3)
    settings = hyper.trainer.settings()
    without = load_data(arrays, image_size=16, validation=None)
    with pytest.raises(DataError, match=r"validation images.*Load the data with validation=0.2"):
        hyper.trainer.source_of(without, settings)
    with pytest.raises(ArgumentError, match=r"validation_data as a tf.data.Dataset.*NoneType"):
        hyper.trainer.source(data.train, None, None, 32, settings)
    with pytest.raises(ArgumentError, match="validation_data does not go with an ImageData"):
        hyper.trainer.source(data, None, data.validation, 32, settings)
    with pytest.raises(ArgumentError, match=r"validation_data=\(images, labels\)"):
        hyper.trainer.source(np.zeros((4, 16, 16, 3)), np.zeros(4), None, 32, settings)


def test_images_that_no_trial_could_train_on_end_a_stock_search_at_once(make_tuner, data, options):
    tuner = keras_tuner.RandomSearch(make_tuner(num_classes=5), max_trials=4, **options)
    with pytest.raises(ArgumentError, match=r"images of 5 classes.*received 3"):
        tuner.search(data, verbose=0)
    assert len(tuner.oracle.trials) == 1


def test_images_of_other_classes_or_tasks_are_refused(make_tuner, data):
    with pytest.raises(ArgumentError, match=r"images of 5 classes.*received 3"):
        hyper = make_tuner(num_classes=5)
        hyper.trainer.source_of(data, hyper.trainer.settings())
    with pytest.raises(ArgumentError, match=r"task='multilabel', received some for 'multiclass'"):
        hyper = make_tuner(num_classes=3, task="multilabel")
        hyper.trainer.source_of(data, hyper.trainer.settings())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"reuse": "always"}, "reuse to be 'auto', True or False, received 'always'"),
        ({"num_classes": 1}, "num_classes as a whole number of 2 or more .* received 1"),
        ({"task": "ranking"}, "task to be one of"),
        (
            {"epochs": -1},
            "epochs as a whole number of 0 or more .* received -1",
        ),
        ({"epochs": 0, "head_epochs": 0}, "epochs or head_epochs above 0"),
        (
            {"learning_rate": float("inf")},
            "learning_rate above 0 and at most 1,000,000, received inf",
        ),
        (
            {"head_learning_rate": 1e30},
            "head_learning_rate above 0 and at most 1,000,000, received 1e",
        ),
        ({"learning_rate": 0.0}, "learning_rate above 0 and at most 1,000,000, received 0.0"),
        ({"views": 0}, "views as a whole number of 1 or more and at most 10,000, received 0"),
        ({"batch_norm": "thawed"}, "batch_norm to be 'frozen' or 'adapt', received 'thawed'"),
        ({"schedule": "linear"}, "schedule to be one of"),
        ({"optimizer": "adm"}, "optimizer to be one of"),
        ({"dropout": 1.5}, "dropout of 0 or more and below 1, received 1.5"),
        ({"label_smoothing": 2.0}, "label_smoothing of 0 or more and below 1"),
        ({"layer_decay": 2.0}, "layer_decay above 0 and at most 1"),
        ({"clip_norm": -1.0}, "clip_norm above 0"),
        ({"ema": 2.0}, "ema above 0 and below 1, or None, received 2.0"),
        ({"patience": -1}, "patience as a whole number of 0 or more, or None, received -1"),
        ({"seed": -1}, "seed as a whole number of 0 or more"),
        ({"seed": 10**20}, "seed as .* at most 4,294,967,295, received 1000"),
        ({"learning_rate": "3e-4"}, "learning_rate above 0 .* received '3e-4' of type str"),
        ({"dropout": True}, "dropout of 0 or more and below 1, received True of type bool"),
        ({"epochs": 2.5}, "epochs as a whole number .* received 2.5"),
        ({"learning_rate": [1e-5, "abc"]}, "learning_rate above 0 .* received 'abc' of type str"),
        ({"learning_rate": (1e-5, 1e30)}, "learning_rate above 0 .* received 1e"),
        ({"optimizer": ["adam", "sgdd"]}, "optimizer to be one of .* received 'sgdd'"),
        (
            {"dropout": keras_tuner.engine.hyperparameters.Float("any", 0.0, 1.0)},
            "dropout of 0 or more and below 1, received 1.0",
        ),
        ({"mixed_precision": "float8"}, "mixed_precision to be True, False or one of"),
        ({"dropout": (0.5, 0.1)}, "dropout as a range"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        FineTuner(**arguments)


@pytest.mark.parametrize(
    ("record", "function", "of_its_own"),
    [
        (
            Settings,
            FineTuner,
            # What holds for all trials of a tuner.
            {"num_classes", "task", "preprocess", "select", "refit", "calibrate", "reuse"}
            | {"distribution", "deterministic"}
            | {"cache_budget", "cache_dir", "cache_dtype"},
        ),
        (SearchOptions, FineTuner.search, {"self", "data"}),
    ],
)
def test_typed_records_have_the_names_of_the_signature(record, function, of_its_own):
    names = [name for name in inspect.signature(function).parameters if name not in of_its_own]
    assert sorted(field.name for field in fields(record)) == sorted(names)


def test_without_a_head_phase_all_layers_frozen_means_that_the_head_trains_alone(make_tuner, data):
    tuner = make_tuner(head_epochs=0, freeze_depth=1.0, epochs=3, learning_rate=1e-2).trainer
    settings = tuner.settings()
    _, record = tuner.train(settings, tuner.source_of(data, settings))
    rows = record.phase("fine_tune")
    assert len(rows) == len(record.epochs) == 3
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["learning_rate"] <= 1e-2
    frozen = make_tuner(head_epochs=2, freeze_depth=1.0, epochs=3).trainer
    _, record = frozen.train(frozen.settings(), frozen.source_of(data, frozen.settings()))
    assert [row["phase"] for row in record.epochs] == ["head"], "the head is found once"
