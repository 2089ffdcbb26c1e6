"""Backbones of KerasHub: training from kept features ends where training the whole model does."""

import keras
import numpy as np
import pytest

from finetune import FineTuner, load_data
from finetune.backbones import leaf_layers
from finetune.backbones.hub import image_model
from finetune.reuse.graph import flatten
from hub_models import FAMILIES, dinov2, resnet, siglip_vision, vit
from tiny import make_images


@pytest.fixture(scope="module")
def enlarged():
    images, labels = make_images(24)
    larger = np.repeat(np.repeat(images, 2, 1), 2, 2)
    return load_data((larger, labels), image_size=32, batch_size=16, augment="none")


@pytest.mark.thorough
@pytest.mark.parametrize("name", FAMILIES)
def test_a_flat_model_has_the_same_layers_in_the_same_order_and_computes_the_same(name):
    model = image_model(FAMILIES[name](), (32, 32))
    flat = flatten(model)
    layers = [
        [id(leaf) for leaf in leaf_layers(one) if not isinstance(leaf, keras.layers.InputLayer)]
        for one in (flat, model)
    ]
    assert layers[0] == layers[1]
    batch = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(flat(batch), model(batch), rtol=1e-5, atol=1e-6)


def test_an_encoder_whose_blocks_give_more_than_tensors_stays_whole_and_the_log_says_so(caplog):
    with caplog.at_level("INFO", logger="finetune"):
        flat = flatten(image_model(FAMILIES["deit"](), None))
    assert "deit_encoder" in [layer.name for layer in flat.layers]
    (record,) = caplog.records
    assert "deit_encoder counts as one step of the model: its blocks cannot be called alone" in (
        record.getMessage()
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "depth"),
    [
        (lambda: vit(dropout_rate=0.2), "transformer_block_2"),
        # It draws without a seed of its own, so only its frozen blocks can be compared.
        (lambda: dinov2(drop_path_rate=0.2), "layers_2"),
        (siglip_vision, "encoder_block_1"),
        (resnet, 0.6),
    ],
    ids=["vit", "dinov2", "siglip", "resnet"],
)
def test_history_is_the_same_with_and_without_reuse(make, depth, enlarged, caplog):
    keras.utils.set_random_seed(5)
    backbone = make()
    histories = []
    for reuse in (True, False):
        tuner = FineTuner(
            backbone,
            preprocess="tf",
            freeze_depth=depth,
            learning_rate=1e-3,
            epochs=2,
            dropout=0.0,
            reuse=reuse,
        )
        values = tuner.trainer.settings()
        with caplog.at_level("INFO", logger="finetune"):
            _, record = tuner.trainer.train(values, tuner.trainer.source_of(enlarged, values))
        histories.append([(row["phase"], row["loss"], row["val_loss"]) for row in record.epochs])
    assert "in memory; 0% of the frozen work is run again in every step" in caplog.text
    assert [row[0] for row in histories[0]] == ["head", "fine_tune", "fine_tune"]
    for one, other in zip(*histories, strict=True):
        assert one[1:] == pytest.approx(other[1:], rel=1e-3)
