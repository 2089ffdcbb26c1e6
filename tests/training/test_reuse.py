"""Training with reuse ends where training without it does, whatever else is asked for."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from finetune import FineTuner, load_data
from finetune.compat import all_layers
from finetune.reuse import StoredSource
from finetune.training.head import loss_for


def train(backbone, data, reuse, callbacks=(), **settings):
    tuner = FineTuner(
        backbone,
        **{
            "preprocess": "tf",
            "freeze_depth": 7,
            "learning_rate": 0.01,
            "epochs": 4,
            "head_epochs": 4,
            "head_optimizer": "adam",  # several epochs to compare
            "dropout": 0.0,
            "reuse": reuse,
        }
        | settings,
    )
    values = tuner.trainer.settings()
    return tuner.trainer.train(values, tuner.trainer.source_of(data, values), callbacks=callbacks)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-4),
        ({"ema": 0.9, "layer_decay": 0.7, "weight_decay": 0.01}, 1e-4),
        ({"schedule": "plateau", "patience": 2, "learning_rate": 0.1}, 1e-3),
        ({"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}, "label_smoothing": 0.1}, 1e-4),
    ],
    ids=["plain", "ema-layer-decay", "plateau-patience", "class-weight"],
)
def test_history_is_the_same_with_and_without_reuse(backbone, data, settings, tolerance):
    model, with_reuse = train(backbone, data, True, **settings)
    assert {layer.compute_dtype for layer in model.get_layer("tiny").layers[1:]} == {"float32"}
    _, without = train(backbone, data, False, **settings)
    assert [row["phase"] for row in with_reuse.epochs] == [row["phase"] for row in without.epochs]
    for one, other in zip(with_reuse.epochs, without.epochs, strict=True):
        for name in ("loss", "val_loss", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=tolerance)
    assert with_reuse.best == without.best


def with_dropout():
    keras.utils.set_random_seed(5)
    x = keras.Input((16, 16, 3))
    y = keras.layers.Conv2D(8, 3, 2, activation="relu", name="first")(x)
    y = keras.layers.Dropout(0.5, seed=3, name="frozen")(y)
    y = keras.layers.Conv2D(8, 3, 2, activation="relu", name="second")(y)
    return keras.Model(x, keras.layers.Conv2D(8, 3, name="third")(y), name="with_dropout")


def efficient_net(name):
    keras.utils.set_random_seed(5)
    family = getattr(keras.applications, name)
    return family(weights=None, include_top=False, input_shape=(32, 32, 3))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "depth", "size"),
    [
        (with_dropout, "second", 16),
        pytest.param(
            *(lambda: efficient_net("EfficientNetB0"), "block6c", 32), marks=pytest.mark.slow
        ),
        (lambda: efficient_net("EfficientNetV2B0"), "block6g", 32),
    ],
    ids=["dropout", "EfficientNetB0", "EfficientNetV2B0"],
)
def test_history_is_the_same_where_frozen_layers_would_be_random(make, depth, size, data):
    options = {"preprocess": None, "freeze_depth": depth, "epochs": 2, "learning_rate": 1e-3}
    options["head_optimizer"] = "auto"
    images = np.repeat(np.repeat(data.splits["train"].images, size // 16, 1), size // 16, 2)
    enlarged = load_data((images, data.splits["train"].labels), image_size=size, batch_size=8)
    _, with_reuse = train(make(), enlarged, True, **options)
    _, without = train(make(), enlarged, False, **options)
    assert [row["phase"] for row in without.epochs] == ["head"] + ["fine_tune"] * 2
    for one, other in zip(with_reuse.epochs, without.epochs, strict=True):
        for name in ("loss", "val_loss"):
            assert one[name] == pytest.approx(other[name], rel=1e-3)


@pytest.mark.thorough
def test_half_precision_is_used_with_and_without_reuse(make_backbone, data):
    losses = {}
    for reuse in (True, False):
        model, record = train(make_backbone(), data, reuse, mixed_precision="mixed_bfloat16")
        convolutions = [la for la in all_layers(model) if isinstance(la, keras.layers.Conv2D)]
        assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
        losses[reuse] = [row["val_loss"] for row in record.epochs]
    # Half precision rounds sums that are taken in another order to other numbers.
    assert losses[True] == pytest.approx(losses[False], rel=5e-2)
    _, single = train(make_backbone(), data, True)
    assert losses[True] != pytest.approx([row["val_loss"] for row in single.epochs], rel=1e-4)


@pytest.mark.thorough
def test_checkpoints_and_tensorboard_see_the_whole_model(backbone, data, tmp_path):
    class Sees(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert self.model.input_shape == (None, 16, 16, 3)
            self.score = self.model.evaluate(data.validation, verbose=0, return_dict=True)["loss"]
            np.testing.assert_allclose(self.score, logs["val_loss"], rtol=1e-4)

    callbacks = [
        Sees(),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=1),
    ]
    model, record = train(backbone, data, True, callbacks)
    assert list((tmp_path / "logs").rglob("events.out.*"))
    images = data.splits["validation"].images.astype("float32")
    measure = loss_for("multiclass")  # without FineTuner's label smoothing
    saved = {}
    for file in tmp_path.glob("*.keras"):
        predictions = keras.models.load_model(file, compile=False)(images)
        saved[float(measure(data.splits["validation"].labels, predictions))] = predictions
    best_of_head = min(record.phase("head"), key=lambda row: row["val_loss"])
    shown = [best_of_head, *record.phase("fine_tune")]  # a head that is shared is one epoch
    losses = sorted(row["val_loss"] for row in shown)
    assert sorted(saved) == pytest.approx(losses, rel=1e-4)
    best = min(saved, key=lambda loss: abs(loss - record.best_epoch["val_loss"]))
    np.testing.assert_allclose(saved[best], model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_a_graph_that_cannot_be_split_trains_whole_to_the_same_result(twice_named, data, caplog):
    with caplog.at_level("INFO", logger="finetune"):
        _, with_reuse = train(twice_named, data, True, freeze_depth=1)
    assert "Training the whole model: more than one layer is named 'conv'." in caplog.text
    _, without = train(twice_named, data, False, freeze_depth=1)
    assert [row["val_loss"] for row in with_reuse.epochs] == pytest.approx(
        [row["val_loss"] for row in without.epochs], rel=1e-4
    )


@pytest.mark.thorough
def test_depths_of_a_range_start_from_the_features_of_a_few(backbone, data):
    tuner = FineTuner(
        backbone,
        preprocess="tf",
        freeze_depth=(0, 16),  # a range: 0, 4, 8, 12 and 16 stand for it
        cache_budget=10**9,
        learning_rate=0.01,
        epochs=2,
        head_epochs=1,
        head_optimizer="adam",
        dropout=0.0,
    )
    values = replace(tuner.trainer.settings(), freeze_depth=8)
    source = tuner.trainer.source_of(data, values)
    tuner.trainer.train(values, source)
    kept = {*tuner.trainer.shared(values).cache.kept}
    assert len(kept) > 2
    _, record = tuner.trainer.train(replace(values, freeze_depth=11), source)
    assert {*tuner.trainer.shared(values).cache.kept} == kept
    _, alone = train(backbone, data, True, freeze_depth=11, epochs=2, head_epochs=1)
    for one, other in zip(record.epochs, alone.epochs, strict=True):
        for name in ("loss", "val_loss", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_one_pass_over_the_images_yields_what_the_head_and_all_depths_need(
    backbone, data, monkeypatch, tmp_path
):
    passes = []
    once = StoredSource.passes

    def counted(self, split):
        passes.append(split)
        return once(self, split)

    monkeypatch.setattr(StoredSource, "passes", counted)
    tuner = FineTuner(
        backbone,
        preprocess="tf",
        freeze_depth=[7, 10],
        learning_rate=0.01,
        epochs=2,
        head_epochs=1,
        cache_budget=10**9,
        cache_dir=tmp_path,
    )
    values = tuner.trainer.settings()
    source = tuner.trainer.source_of(data, values)
    tuner.trainer.train(replace(values, epochs=0), source)
    for depth in (7, 10):
        tuner.trainer.train(replace(values, freeze_depth=depth), source)
    assert passes == ["train", "validation"]
    assert len(tuner.trainer.shared(values).cache.kept) == 2 * 3


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("hidden_units", [0, 8])
def test_a_head_alone_says_of_features_what_the_whole_model_says_of_images(
    backbone, data, reuse, hidden_units
):
    trainer = FineTuner(
        backbone, preprocess="tf", freeze_depth=7, epochs=1, reuse=reuse, hidden_units=hidden_units
    ).trainer
    values = trainer.settings()
    source = trainer.source_of(data, values)
    model, _ = trainer.train(values, source)
    assert trainer.head_alone(values, source)
    for split in ("validation", "test"):
        whole = model.predict(data.splits[split].images.astype("float32"), verbose=0)
        assert trainer.head_says(values, source, split) == pytest.approx(whole, abs=1e-5)
