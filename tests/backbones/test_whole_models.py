"""Models that this package made: their backbone is found again, with its preparation of images."""

from pathlib import Path

import keras
import numpy as np
import pytest

from finetune import load
from finetune.backbones import apply_freeze_depth, leaf_layers
from finetune.backbones.loading import load_backbone
from finetune.backbones.whole_models import take_apart
from finetune.exceptions import ArgumentError, ImageSizeError, ModelFileError, PreprocessingError
from finetune.model import FineTunedModel, ModelCard
from finetune.training.assembly import assemble
from finetune.training.head import Head
from tiny import SIZE

EARLIER = Path(__file__).parents[1] / "legacy" / "run"
PIXELS = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype("float32")


def whole(backbone, preprocess, task="multiclass", outputs=3):
    return assemble(load_backbone(backbone, preprocess=preprocess), Head(task, outputs)).model


def features_of(model):
    """What the body of a whole model gives for pixels."""
    return keras.Model(model.inputs[0], model.get_layer("pool").input)(PIXELS)


def sequence():
    x = keras.Input((SIZE, SIZE, 3))
    return keras.Model(x, keras.layers.Reshape((SIZE, SIZE * 3))(x), name="sequence")


def vector():
    x = keras.Input((None, None, 3))
    return keras.Model(x, keras.layers.GlobalAveragePooling2D()(x), name="vector")


def in_a_line():
    layers = [keras.Input((SIZE, SIZE, 3)), keras.layers.Conv2D(4, 3)]
    return keras.Sequential(layers, name="in_a_line")


@pytest.mark.parametrize("preprocess", ["tf", "torch", "caffe", None, lambda x: x / 255])
def test_preparation_and_backbone_are_those_of_the_model(backbone, preprocess, tmp_path):
    model = whole(backbone, preprocess)
    card = ModelCard("multiclass", ("a", "b", "c"), (SIZE, SIZE), "pad")
    FineTunedModel(model, card).save(tmp_path / "model.keras")
    for place in (tmp_path, tmp_path / "model.keras", str(tmp_path / "model.keras")):
        found = load_backbone(place)
        assert (found.name, found.image_size) == ("tiny", (SIZE, SIZE))
        expected = backbone(load_backbone(backbone, preprocess=preprocess).preprocess(PIXELS))
        np.testing.assert_allclose(found.model(found.preprocess(PIXELS)), expected, rtol=1e-5)
    assert [layer.name for layer in leaf_layers(found.model)] == [
        layer.name for layer in leaf_layers(backbone)
    ]


def test_what_a_run_froze_can_be_trained_in_the_next(backbone, tmp_path):
    model = whole(backbone, "tf")
    apply_freeze_depth(backbone, 10)
    model.save(tmp_path / "model.keras")
    found = load_backbone(tmp_path).model
    assert [layer.name for layer in leaf_layers(found) if layer.trainable_variables] == [
        *("c_conv", "d_conv")
    ]
    apply_freeze_depth(found, 0, batch_norm="adapt")
    assert len(found.trainable_variables) == 15


@pytest.mark.parametrize("make", [sequence, vector, in_a_line])
def test_backbones_of_any_output_are_found_again(make):
    own = load_backbone(make(), preprocess="tf", image_size=SIZE)
    model = assemble(own, Head("binary", 2, hidden_units=4)).model
    found = load_backbone(model)
    assert found.name == make().name
    assert found.model.output_shape == own.model.output_shape
    assert found.image_size == (SIZE, SIZE)


def test_going_on_again_and_again_nests_no_models_in_models(backbone):
    model = whole(backbone, "caffe")
    depths = []
    for _ in range(3):
        model = assemble(load_backbone(model), Head("multiclass", 3)).model
        depths.append(len(model.layers))
        expected = backbone(load_backbone(backbone, preprocess="caffe").preprocess(PIXELS))
        np.testing.assert_allclose(model.layers[-3](model.layers[1](PIXELS)), expected, rtol=1e-5)
        prepared = model.layers[1]
        assert not [part for part in prepared.layers if isinstance(part, keras.Model)]
    assert depths == [5, 5, 5]


def test_a_model_of_version_0_1_is_gone_on_from():
    found = load_backbone(EARLIER)
    model = load(EARLIER).keras_model
    assert found.name == "tiny"
    assert found.model.output_shape[1:] == (4, 4, 16)
    np.testing.assert_allclose(
        found.model(found.preprocess(PIXELS)), features_of(model), rtol=1e-5, atol=1e-5
    )


def test_models_of_any_other_making_are_left_whole(backbone):
    named_alike = keras.Model(backbone.inputs, backbone.outputs, name="fine_tuned_by_hand")
    for model in (backbone, named_alike, in_a_line()):
        assert take_apart(model) is None
    changed = whole(backbone, "tf")
    beheaded = keras.Model(changed.inputs, changed.layers[-2].output, name=changed.name)
    assert take_apart(beheaded) is None


@pytest.mark.parametrize("preprocess", ["tf", keras.layers.Rescaling(1 / 255)])
def test_another_preparation_is_refused(backbone, preprocess):
    with pytest.raises(PreprocessingError) as caught:
        load_backbone(whole(backbone, "tf"), preprocess=preprocess)
    assert str(caught.value) == (
        "The model 'fine_tuned_tiny' was made by this package and prepares its images itself. "
        f"Received: preprocess={preprocess!r}. Leave preprocess out."
    )


def test_none_for_the_preparation_is_what_such_a_model_takes(backbone):
    found = load_backbone(whole(backbone, "tf"), preprocess=None)
    prepared = np.asarray(found.preprocess(PIXELS))
    np.testing.assert_allclose(prepared, PIXELS / 127.5 - 1, atol=1e-5)


def test_what_does_not_go_with_a_model_of_ones_own_is_refused(backbone, tmp_path):
    model = whole(backbone, "tf")
    with pytest.raises(ArgumentError, match=r"The model 'fine_tuned_tiny' takes no options"):
        load_backbone(model, alpha=0.5)
    with pytest.raises(ArgumentError, match=r"the model 'fine_tuned_tiny' keeps its own"):
        load_backbone(model, weights=None)
    with pytest.raises(ImageSizeError, match=r"Model 'tiny' takes images of 16 x 16 pixels"):
        load_backbone(model, image_size=32)
    with pytest.raises(ModelFileError) as caught:
        load_backbone(tmp_path)
    assert str(caught.value) == (
        f"No model file at '{tmp_path / 'model.keras'}'. Expected a .keras file, or the folder of "
        "a run."
    )
