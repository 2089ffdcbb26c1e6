"""Backbones of KerasHub: presets, their preparation of images, and models of the user's."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import finetune
from finetune.backbones import blocks, copy_of, leaf_layers, load_backbone
from finetune.backbones.hub import image_model
from finetune.exceptions import (
    ArgumentError,
    ImageSizeError,
    PreprocessingError,
    UnknownBackboneError,
    WeightsError,
)
from hub_models import FAMILIES, IMAGE, dinov2, hub, resnet, siglip, vit

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, *IMAGE)).astype("float32")


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """A folder of presets, as KerasHub writes them."""
    root = tmp_path_factory.mktemp("presets")
    keras.utils.set_random_seed(3)
    for name, model, converter in (
        ("vit", vit(), hub.layers.ViTImageConverter(IMAGE[:2], 1 / 127.5, -1)),
        (
            "dinov2",
            dinov2(),
            hub.layers.DINOV2ImageConverter(IMAGE[:2], [0.01, 0.02, 0.03], [-1, -2, -3]),
        ),
        ("resnet", resnet(), hub.layers.ResNetImageConverter((40, 40))),
    ):
        model.save_to_preset(str(root / name))
        converter.save_to_preset(str(root / name))
    vit().save_to_preset(str(root / "without_converter"))
    hub.models.BertBackbone(8, 1, 2, 4, 4).save_to_preset(str(root / "text"))
    return root


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_one_output_for_one_image(name):
    model = image_model(FAMILIES[name](), IMAGE[:2])
    assert model.input_shape == (None, *IMAGE)
    vector = {"vit": 16, "deit": 16, "dinov2": 16, "siglip": 16}
    expected = (2, vector[name]) if name in vector else (2, *model.output_shape[1:])
    assert model(PIXELS / 255).shape == expected
    assert None not in model.output_shape[1:]


@pytest.mark.parametrize("make", [vit, dinov2])
def test_the_class_token_stands_for_the_image(make):
    backbone = make()
    inputs = keras.tree.pack_sequence_as(backbone.input, [PIXELS])
    np.testing.assert_array_equal(image_model(backbone, None)(PIXELS), backbone(inputs)[:, 0])


def test_a_transformer_without_class_token_is_averaged_by_the_head():
    assert image_model(vit(use_class_token=False), None).output_shape == (None, 16, 16)


def test_of_a_backbone_for_images_and_text_the_tower_for_images_is_taken():
    backbone = siglip()
    np.testing.assert_array_equal(
        image_model(backbone, None)(PIXELS), backbone.vision_encoder({"images": PIXELS})
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit", ["transformer_block_1", "transformer_block_2"]),
        ("dinov2", ["layers_0", "layers_1", "layers_2"]),
        ("siglip", ["encoder_block_0", "encoder_block_1", "encoder_block_2"]),
        ("deit", ["transformer_block_1", "transformer_block_2"]),
    ],
)
def test_blocks_of_a_transformer_are_blocks(name, expected):
    found = [block.name for block in blocks(image_model(FAMILIES[name](), None))]
    assert [block for block in found if block in expected] == expected


def test_layers_of_an_encoder_count_in_the_order_in_which_they_are_called():
    names = [layer.name for layer in leaf_layers(image_model(vit(dropout_rate=0.1), None))]
    # The encoder makes both after its blocks, and calls the dropout before them.
    assert names.index("dropout") < names.index("ln_1")
    assert names[-3:] == ["ln", "class_token", "class_token_vector"]


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_a_preset_prepares_images_as_its_own_converter_does(presets, name):
    backbone = load_backbone(f"hub:{presets / name}")
    converter = hub.layers.ImageConverter.from_preset(str(presets / name))
    np.testing.assert_allclose(backbone.preprocess(PIXELS), converter(PIXELS), rtol=1e-5, atol=1e-5)
    assert (backbone.name, backbone.image_size) == (f"hub_{name}", IMAGE[:2])


def test_a_preset_brings_its_weights(presets):
    images = PIXELS / 255
    model = hub.models.Backbone.from_preset(str(presets / "vit"))
    loaded = load_backbone(f"hub:{presets / 'vit'}").model
    np.testing.assert_array_equal(loaded(images), model(images)[:, 0])
    random = load_backbone(f"hub:{presets / 'vit'}", weights=None).model
    assert np.abs(random(images) - loaded(images)).max() > 0.1


def test_a_convolutional_preset_takes_images_of_its_converters_size_or_any_other(presets):
    assert load_backbone(f"hub:{presets / 'resnet'}").model.input_shape == (None, 40, 40, 3)
    backbone = load_backbone(f"hub:{presets / 'resnet'}", image_size=(32, 48))
    assert backbone.model.output_shape == (None, 4, 6, 16)
    whole = hub.models.Backbone.from_preset(str(presets / "resnet"))
    images = np.random.default_rng(0).uniform(size=(1, 32, 48, 3)).astype("float32")
    np.testing.assert_allclose(backbone.model(images), whole(images), rtol=1e-4, atol=1e-5)


def test_positions_are_fitted_to_another_size_where_the_family_can_do_so(presets):
    folder = str(presets / "dinov2")
    loaded = load_backbone(f"hub:{folder}", image_size=48).model
    images = np.random.default_rng(0).uniform(size=(1, 48, 48, 3)).astype("float32")
    expected = hub.models.Backbone.from_preset(folder, image_shape=(48, 48, 3))
    np.testing.assert_array_equal(loaded(images), expected({"images": images})[:, 0])
    with pytest.raises(ImageSizeError, match=r"takes images of 32 x 32 pixels\. Received: imag"):
        load_backbone(f"hub:{presets / 'vit'}", image_size=48)


def test_a_preset_without_a_converter_needs_to_be_told_how_images_are_prepared(presets):
    folder = presets / "without_converter"
    with pytest.raises(WeightsError, match=r"`image_converter\.json` doesn't exist in preset"):
        load_backbone(f"hub:{folder}")
    prepared = load_backbone(f"hub:{folder}", preprocess="tf").preprocess(PIXELS)
    np.testing.assert_allclose(prepared, PIXELS / 127.5 - 1, rtol=1e-5, atol=1e-5)


def test_names_of_no_preset_are_refused_with_the_nearest():
    with pytest.raises(
        UnknownBackboneError, match=r"no preset 'dinov2_smal'\. Nearest: hub:dinov2_s"
    ):
        load_backbone("hub:dinov2_smal")


def test_a_folder_that_is_not_there_is_said():
    with pytest.raises(WeightsError, match=r"No folder at '\./nowhere'\. Expected one that holds"):
        load_backbone("hub:./nowhere")


def test_a_preset_that_takes_no_images_is_refused(presets):
    with pytest.raises(ArgumentError, match=r"backbone that takes images.*Received: BertBackbone"):
        load_backbone(f"hub:{presets / 'text'}", preprocess=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "file.h5"}, r"the preset 'hub:\S+' brings its own\. Received: weights='file"),
        ({"alpha": 0.5}, r"takes no options\. Received: alpha"),
    ],
)
def test_what_only_architectures_have_is_refused(presets, options, message):
    with pytest.raises(ArgumentError, match=message):
        load_backbone(f"hub:{presets / 'vit'}", **options)


def test_without_a_network_the_error_names_the_preset_and_the_way_out(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("KAGGLEHUB_CACHE", "/nonexistent/finetune-tests")
    with pytest.raises(
        WeightsError, match=r"'dinov2_small' of KerasHub could not be loaded"
    ) as info:
        load_backbone("hub:dinov2_small")
    assert "pass a folder that holds it" in str(info.value)


def test_without_keras_hub_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ArgumentError, match=r"backbone='hub:dinov2_small'\. Install it with `pip"):
        load_backbone("hub:dinov2_small")


@pytest.fixture(scope="module")
def trained(data):
    """A backbone that the user made, its weights before, and what was trained from it."""
    model = vit(image_shape=(16, 16, 3))
    before = model.get_weights()
    result = finetune.fine_tune(
        data, backbone=model, preprocess="tf", epochs=1, head_epochs=1, freeze_depth=0.3, verbose=0
    )
    return model, before, result


def test_a_backbone_that_the_user_made_is_trained_as_a_copy(trained):
    model, before, result = trained
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert result.model.keras_model.count_params() > model.count_params()


def test_a_backbone_that_the_user_made_needs_its_preprocessing(data):
    with pytest.raises(PreprocessingError, match=r"How the model '\S+' wants its images prep"):
        finetune.fine_tune(data, backbone=vit(image_shape=(16, 16, 3)))


def test_copies_are_of_the_same_weights_for_families_whose_layers_cannot_be_copied_alone():
    model = FAMILIES["deit"]()
    np.testing.assert_array_equal(copy_of(model)(PIXELS), model(PIXELS))


def test_a_trained_model_predicts_the_same_in_a_process_that_never_heard_of_keras_hub(
    trained, data, tmp_path
):
    _, _, result = trained
    result.model.save(tmp_path / "model.keras")
    images = data.splits["test"].images
    np.save(tmp_path / "images.npy", images)
    script = (
        "import finetune, numpy, sys; from pathlib import Path; folder = Path(sys.argv[1]);"
        "assert 'keras_hub' not in sys.modules;"
        "model = finetune.load(folder / 'model.keras');"
        "found = model.predict(numpy.load(folder / 'images.npy')).probabilities;"
        "numpy.save(folder / 'found.npy', found)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "found.npy"),
        result.model.predict(images).probabilities,
        rtol=1e-5,
        atol=1e-6,
    )
