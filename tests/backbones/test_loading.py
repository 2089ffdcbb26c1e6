"""Backbones: every architecture of keras.applications, users' own models, weights."""

import inspect
import math
import os
import pwd
import re
import runpy
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet as keras_efficientnet
from keras.src.backend import config as keras_config

from finetune.backbones.architectures import ARCHITECTURES, list_backbones
from finetune.backbones.freezing import apply_freeze_depth, blocks, describe, leaf_layers
from finetune.backbones.loading import UNSET, Backbone, load_backbone
from finetune.backbones.preprocessing import identity, resolve_preprocess
from finetune.backbones.weights import keras_home
from finetune.exceptions import (
    ArgumentError,
    ImageSizeError,
    ModelFileError,
    PreprocessingError,
    UnknownBackboneError,
    WeightsError,
)

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype("float32")

# The smallest member of each family; save and reload where that is quick.
SMALLEST_AND_QUICK = [
    "convnext_tiny",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet50_v2",
]
SMALLEST = [
    *SMALLEST_AND_QUICK,
    "densenet121",
    "inception_resnet_v2",
    "inception_v3",
    "nasnet_mobile",
    "resnet50",
    "vgg16",
    "xception",
]
BIG = sorted(set(ARCHITECTURES) - set(SMALLEST))


def load_small(name: str) -> Backbone:
    options = {"alpha": 0.25} if name == "mobilenet" else {}
    return load_backbone(name, weights=None, image_size=ARCHITECTURES[name].min_size, **options)


def with_preprocessing(backbone: Backbone) -> keras.Model:
    pixels = keras.Input((*backbone.image_size, 3))
    return keras.Model(pixels, backbone.model(backbone.preprocess(pixels)))


def small_model(**arguments) -> keras.Model:
    return keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)], **{"name": "own", **arguments}
    )


def check_builds(backbone: Backbone, name: str) -> None:
    size = ARCHITECTURES[name].min_size
    assert backbone.name == name
    assert backbone.image_size == (size, size)
    assert backbone.model.input_shape == (None, size, size, 3)
    assert len(backbone.model.output_shape) == 4


def check_freeze_depths(backbone: Backbone) -> None:
    layers = len(leaf_layers(backbone.model))
    ends = [block.end for block in blocks(backbone.model)]
    assert ends == sorted(set(ends))
    assert ends[-1] == layers
    for depth in (0, ends[len(ends) // 2], layers):
        apply_freeze_depth(backbone.model, depth)
        trainable = sum(math.prod(v.shape) for v in backbone.model.trainable_variables)
        assert describe(backbone.model, depth).trainable_parameters == trainable
        assert (trainable == 0) == (depth == layers)


def check_saves(backbone: Backbone, path) -> None:
    model = with_preprocessing(backbone)
    model.save(path)
    reloaded = keras.models.load_model(path)
    images = PIXELS[:, : backbone.image_size[0], : backbone.image_size[1]]
    np.testing.assert_allclose(reloaded(images), model(images), rtol=1e-5, atol=1e-5)


def test_every_constructor_of_keras_applications_is_known():
    constructors = {
        name
        for name, member in vars(keras.applications).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    for module in vars(keras.applications).values():
        if isinstance(module, types.ModuleType):
            constructors |= {
                name
                for name, member in vars(module).items()
                if inspect.isfunction(member) and name[0].isupper()
            }
    assert constructors == {row.constructor for row in ARCHITECTURES.values()}


@pytest.mark.parametrize("name", list_backbones())
def test_options_of_the_table_are_those_of_the_constructor(name):
    parameters = set(
        inspect.signature(getattr(keras.applications, ARCHITECTURES[name].constructor)).parameters
    )
    assert set(ARCHITECTURES[name].options) == parameters & {
        "alpha",
        "depth_multiplier",
        "minimalistic",
    }


@pytest.mark.parametrize("name", list_backbones())
def test_preprocessing_of_the_table_is_that_of_keras(name):
    constructor = getattr(keras.applications, ARCHITECTURES[name].constructor)
    expected = sys.modules[constructor.__module__].preprocess_input(PIXELS.copy())
    prepare = resolve_preprocess(ARCHITECTURES[name].preprocess, (96, 96))
    prepared = prepare(keras.ops.convert_to_tensor(PIXELS))
    np.testing.assert_allclose(prepared, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", list_backbones())
def test_smallest_size_of_the_table_is_that_of_keras(name):
    row = ARCHITECTURES[name]
    too_small = (row.min_size - 1, row.min_size, 3)
    with pytest.raises(ValueError, match=f"at least {row.min_size}x{row.min_size}"):
        getattr(keras.applications, row.constructor)(
            weights=None, include_top=False, input_shape=too_small
        )


@pytest.mark.parametrize("name", SMALLEST)
def test_smallest_member_of_each_family(name, tmp_path):
    backbone = load_small(name)
    check_builds(backbone, name)
    prepares_itself = any(
        isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)
        for layer in backbone.model.layers
    )
    assert prepares_itself == (backbone.preprocess is identity)
    if name in SMALLEST_AND_QUICK:
        check_saves(backbone, tmp_path / "model.keras")
    check_freeze_depths(backbone)


@pytest.mark.slow
@pytest.mark.parametrize("name", BIG)
def test_big_members(name, tmp_path):
    backbone = load_small(name)
    check_builds(backbone, name)
    check_saves(backbone, tmp_path / "model.keras")
    check_freeze_depths(backbone)


@pytest.mark.parametrize(
    ("name", "size"),
    [("inception_v3", 299), ("xception", 299), ("nasnet_large", 331), ("efficientnet_b3", 300)],
)
def test_default_sizes_are_those_the_architecture_was_trained_on(name, size):
    assert ARCHITECTURES[name].default_size == size


@pytest.mark.parametrize("name", ["MobileNetV2", "mobilenet_v2", "mobilenet-v2", "MOBILENET V2"])
def test_names_are_found_however_they_are_written(name):
    backbone = load_backbone(name, weights=None, image_size=32, alpha=0.35)
    assert backbone.name == "mobilenet_v2"


def test_names_are_listed_sorted():
    assert list_backbones() == sorted(ARCHITECTURES)
    assert len(list_backbones()) == 40


def test_each_call_builds_a_new_model():
    first, second = load_small("mobilenet_v2"), load_small("mobilenet_v2")
    assert first.model is not second.model


def test_image_size_may_be_oblong():
    backbone = load_backbone("mobilenet_v2", weights=None, image_size=(32, 64), alpha=0.35)
    assert backbone.image_size == (32, 64)
    assert backbone.model.output_shape == (None, 1, 2, 1280)


def test_options_reach_the_architecture():
    backbone = load_backbone(
        "mobilenet_v3_small", weights=None, image_size=32, alpha=1, minimalistic=True
    )
    assert backbone.model.count_params() < load_small("mobilenet_v3_small").model.count_params()


def test_unknown_name_gives_the_nearest():
    with pytest.raises(UnknownBackboneError) as caught:
        load_backbone("mobilnet")
    assert str(caught.value) == (
        "Unknown backbone 'mobilnet'. Nearest: mobilenet, mobilenet_v2, mobilenet_v3_small, "
        "mobilenet_v3_large. `finetune.list_backbones()` lists all names; a `keras.Model`, or the "
        "path of a .keras file or of a run such as ./a, is also accepted."
    )


def test_a_name_like_no_other_gives_no_nearest():
    with pytest.raises(UnknownBackboneError, match=r"^Unknown backbone 'zzz'\. `finetune"):
        load_backbone("zzz")


def test_something_else_as_backbone_is_refused():
    with pytest.raises(ArgumentError, match=r"Received: 7 of type int\.$"):
        load_backbone(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 2}, "mobilenet has no option width. Its options: alpha, depth_multiplier."),
        ({"alpha": 0}, "`alpha` must be a positive number. Received: 0."),
        ({"alpha": True}, "`alpha` must be a positive number. Received: True."),
        ({"alpha": "1"}, "`alpha` must be a positive number. Received: '1'."),
        (
            {"depth_multiplier": 1.5},
            "`depth_multiplier` must be a positive integer. Received: 1.5.",
        ),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(ArgumentError) as caught:
        load_backbone("mobilenet", weights=None, **options)
    assert str(caught.value) == text


def test_options_of_an_architecture_without_any_are_refused():
    with pytest.raises(ArgumentError, match=r"^resnet50 has no option alpha. Its options: none.$"):
        load_backbone("resnet50", weights=None, alpha=0.5)


def test_minimalistic_must_be_a_bool():
    with pytest.raises(ArgumentError, match=r"^`minimalistic` must be True or False"):
        load_backbone("mobilenet_v3_small", weights=None, minimalistic=1)


def test_too_small_images_are_refused():
    with pytest.raises(ImageSizeError) as caught:
        load_backbone("xception", weights=None, image_size=64)
    assert str(caught.value) == (
        "xception needs images of at least 71 x 71 pixels. Received: image_size=(64, 64). Its "
        "default is 299."
    )


@pytest.mark.parametrize("size", [0, -3, True, 2.5, "224", (32,), (32, 32, 3), (32, 0), (32, True)])
def test_what_is_no_image_size_is_refused(size):
    with pytest.raises(ImageSizeError, match=r"a positive number of pixels or a pair"):
        load_backbone("mobilenet_v2", weights=None, image_size=size)


# Weights


@pytest.mark.parametrize("said", [True, False])
def test_weights_are_kept_where_keras_keeps_them(said, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    if said:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # What Keras itself makes of the environment when it is loaded.
    loaded = runpy.run_path(keras_config.__file__)
    assert keras_home() == Path(loaded["keras_home"]()), (
        "Keras keeps its weights elsewhere: the folder that errors about weights name is wrong."
    )


def test_who_has_no_home_has_weights_where_keras_keeps_them(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    loaded = runpy.run_path(keras_config.__file__)
    assert keras_home() == Path(loaded["keras_home"]()) == Path("/tmp/.keras")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"weights": None},
            "`weights` is for named architectures; the model 'own' keeps its own. Received: "
            "weights=None. Call `model.load_weights(...)` before handing the model over.",
        ),
        (
            {"classes": 3, "alpha": 0.5},
            "The model 'own' takes no options. Received: alpha, classes. Options such as alpha are "
            "for named architectures.",
        ),
    ],
)
def test_what_only_a_named_architecture_has_is_refused_for_a_model_of_ones_own(options, told):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="own")
    with pytest.raises(ArgumentError) as caught:
        load_backbone(model, preprocess="tf", **options)
    assert str(caught.value) == told


def save_weights(path, **options) -> np.ndarray:
    """Saves random MobileNetV2 weights; returns what they make of a picture."""
    model = load_backbone("mobilenet_v2", weights=None, image_size=32, **options).model
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return np.asarray(model(PIXELS[:, :32, :32] / 255))


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_weights_are_read_from_a_file(suffix, tmp_path):
    path = tmp_path / f"some{suffix}"
    expected = save_weights(path, alpha=0.35)
    for weights in (path, str(path)):
        backbone = load_backbone("mobilenet_v2", weights=weights, image_size=32, alpha=0.35)
        np.testing.assert_allclose(backbone.model(PIXELS[:, :32, :32] / 255), expected, rtol=1e-5)


def test_imagenet_weights_without_network_say_where_to_put_which_file(keras_cache):
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2", alpha=0.35, image_size=160)
    file = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_160_no_top.h5"
    assert str(caught.value) == (
        f"The ImageNet weights of mobilenet_v2 could not be downloaded: {file} from "
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
        f"{file}. Without a network, put that file into '{keras_cache}' (Keras' cache), pass a "
        "local one as weights='PATH', or weights=None for random weights."
    )


@pytest.mark.parametrize(
    ("name", "options", "file"),
    [
        ("mobilenet", {"alpha": 0.25}, "mobilenet_2_5_224_tf_no_top.h5"),
        (
            "mobilenet_v3_small",
            {"alpha": 1},
            "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        ),
        ("efficientnet_b0", {}, "efficientnetb0_notop.h5"),
        ("nasnet_mobile", {}, "nasnet_mobile_no_top.h5"),
    ],
)
def test_missing_imagenet_files_are_named(keras_cache, name, options, file):
    with pytest.raises(WeightsError) as caught:
        load_backbone(name, **options)
    assert f" could not be downloaded: {file} from https://" in str(caught.value)


@pytest.mark.parametrize(("size", "file_size"), [(160, 160), (100, 224)])
def test_imagenet_weights_in_the_cache_need_no_network(keras_cache, size, file_size):
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{file_size}_no_top.h5"
    expected = save_weights(keras_cache / file, alpha=0.35)
    backbone = load_backbone("mobilenet_v2", alpha=0.35, image_size=size)
    small = load_backbone("mobilenet_v2", weights=None, alpha=0.35, image_size=32)
    small.model.set_weights(backbone.model.get_weights())
    np.testing.assert_allclose(small.model(PIXELS[:, :32, :32] / 255), expected, rtol=1e-5)


def test_a_broken_file_in_the_cache_is_reported(keras_cache):
    file = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"
    (keras_cache / file).write_bytes(b"half a download")
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2", image_size=160)
    assert str(caught.value).startswith(
        f"The ImageNet weights of mobilenet_v2 in '{keras_cache}' cannot be loaded: "
    )
    assert str(caught.value).endswith(
        "Delete the file there and try again, or pass a local file as weights='PATH'."
    )


@pytest.mark.parametrize(
    ("name", "alpha", "text"),
    [
        ("mobilenet_v2", 0.36, "`0.35`, `0.50`, `0.75`, `1.0`, `1.3` or `1.4` only"),
        ("mobilenet", 0.26, "`0.25`, `0.50`, `0.75` or `1.0` only"),
        ("mobilenet_v3_small", 0.5, "`0.75`, `1.0` for non minimalistic"),
        ("mobilenet_v3_large", 0.76, "`0.75`, `1.0` for non minimalistic"),
    ],
)
def test_a_width_without_imagenet_weights_is_refused_with_those_that_have_some(
    keras_cache, name, alpha, text
):
    with pytest.raises(ArgumentError, match=f"^{name}: .*alpha .* one of *{re.escape(text)}"):
        load_backbone(name, alpha=alpha)


def test_missing_weights_file_is_reported(tmp_path):
    path = tmp_path / "none.h5"
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2", weights=path)
    assert str(caught.value) == (
        f"No weights file at '{path}'. Expected 'imagenet', None, or the path of a .h5, "
        ".weights.h5 or .keras file."
    )


def test_weights_of_another_type_are_refused():
    with pytest.raises(WeightsError, match=r"Received: 3 of type int\.$"):
        load_backbone("mobilenet_v2", weights=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35_224.weights.h5", "mobilenet_v2_0.35_x.h5"])
def test_weights_of_another_width_suggest_it(tmp_path, name):
    save_weights(tmp_path / name, alpha=0.35)
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2", weights=tmp_path / name, image_size=32)
    assert str(caught.value).startswith(
        f"The weights in '{tmp_path / name}' cannot be loaded into mobilenet_v2: "
    )
    assert str(caught.value).endswith(". Its name says 0.35: try alpha=0.35.")


def test_the_first_layer_that_weights_do_not_fit_is_named_without_its_values(tmp_path):
    path = tmp_path / "mine.weights.h5"
    save_weights(path, alpha=0.35)
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2", weights=path, image_size=32)
    # What Keras counts besides layers differs between its versions.
    assert re.sub(r"\d+ of its layers", "N of its layers", str(caught.value)) == (
        f"The weights in '{path}' cannot be loaded into mobilenet_v2: N of its layers differ, "
        "the first of them Conv1 (Conv2D): expected (3, 3, 3, 32), in the file (3, 3, 3, 16). "
        "Expected weights of the same architecture and options, saved without the top layers."
    )


def test_weights_of_another_width_that_fit_by_chance_are_refused(tmp_path):
    path = tmp_path / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    save_weights(path, alpha=0.35)
    with pytest.raises(WeightsError) as caught:
        load_backbone("mobilenet_v2", weights=path, image_size=32, alpha=0.36)
    assert str(caught.value) == (
        f"The weights in '{path}' are of another width than mobilenet_v2 (alpha=0.36), by the "
        "file's name, though they fit: its channels are rounded to the same. Pass alpha=0.35."
    )
    # Another number in a name is no width.
    mine = path.rename(tmp_path / "shoes_0.93.h5")
    found = load_backbone("mobilenet_v2", weights=mine, image_size=32, alpha=0.35)
    assert found.image_size == (32, 32)


def test_keras_own_spelling_of_mobilenet_widths_is_understood(tmp_path):
    path = tmp_path / "mobilenet_2_5_224_tf_no_top.h5"
    save_weights(path, alpha=0.35)
    with pytest.raises(WeightsError, match=r"into mobilenet: .*0\.25: try alpha=0\.25\.$"):
        load_backbone("mobilenet", weights=path, image_size=32)


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = tmp_path / "some_0.35.h5"
    save_weights(path, alpha=0.35)
    with pytest.raises(WeightsError) as caught:
        load_backbone("vgg16", weights=path, image_size=32)
    assert "cannot be loaded into vgg16: Layer count mismatch" in str(caught.value)
    assert (
        "the first layer that differs: expected block1_conv1, in the file Conv1. Expected"
        in str(caught.value)
    )
    assert str(caught.value).endswith(
        "Expected weights of the same architecture and options, saved without the top layers."
    )


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    path = tmp_path / "some.h5"
    path.write_text("not HDF5")
    with pytest.raises(WeightsError, match=r"into mobilenet_v2 \(alpha=0\.5\): "):
        load_backbone("mobilenet_v2", weights=path, image_size=32, alpha=0.5)


def test_efficientnet_from_a_file_equals_efficientnet_from_imagenet(tmp_path, monkeypatch):
    path = tmp_path / "efficientnetb0_notop.weights.h5"
    model = load_backbone("efficientnet_b0", weights=None, image_size=32).model
    normalization = next(
        layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)
    )
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    model.save_weights(path)
    monkeypatch.setattr(keras_efficientnet.file_utils, "get_file", lambda *_, **__: str(path))
    imagenet = load_backbone("efficientnet_b0", image_size=32).model
    from_file = load_backbone("efficientnet_b0", weights=path, image_size=32).model
    assert len(imagenet.layers) == len(from_file.layers) + 1
    images = PIXELS[:, :32, :32]
    np.testing.assert_allclose(from_file(images), imagenet(images), rtol=1e-4, atol=1e-5)


# Models and files of the user's own


def test_own_model_is_wrapped_as_it_is():
    model = small_model()
    backbone = load_backbone(model, preprocess="tf")
    assert backbone.model is model
    assert backbone.name == "own"
    assert backbone.image_size == (8, 8)


def test_own_model_without_preprocess_is_refused():
    with pytest.raises(PreprocessingError) as caught:
        load_backbone(small_model())
    assert str(caught.value) == (
        "How the model 'own' wants its images prepared is not known. Pass preprocess='tf' (pixels "
        "scaled to -1..1), 'torch' (ImageNet's mean and deviation), 'caffe' (BGR minus the mean), "
        "a Keras layer or function, or preprocess=None if it takes 0..255 pixels as they are."
    )
    assert repr(UNSET) == "UNSET"


def test_none_said_aloud_means_pixels_as_they_are():
    assert load_backbone(small_model(), preprocess=None).preprocess is identity


def test_keras_file_is_a_new_model_at_each_call(tmp_path):
    path = tmp_path / "own.keras"
    model = small_model()
    model.save(path)
    first, second = (load_backbone(p, preprocess="torch") for p in (path, str(path)))
    assert first.model is not second.model
    assert first.name == "own"
    np.testing.assert_allclose(first.model(PIXELS[:, :8, :8]), model(PIXELS[:, :8, :8]))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("none.keras", None, "No model file at '{path}'. Expected a .keras file, or"),
        (
            "some.weights.h5",
            "",
            "'{path}' is not a .keras file. Weights alone do not make a backbone: pass the "
            "architecture's name as backbone, and the file as `weights`.",
        ),
        (
            "broken.keras",
            "broken",
            "{path} cannot be used: File is not a zip file. Expected a .keras",
        ),
    ],
)
def test_model_files_that_cannot_be_read_are_reported(tmp_path, name, content, text):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelFileError) as caught:
        load_backbone(os.fspath(path), preprocess=None)
    assert str(caught.value).startswith(text.format(path=path))


@pytest.mark.parametrize("arguments", [{"weights": None}, {"weights": "x.h5"}, {"alpha": 0.5}])
def test_what_only_an_architecture_has_is_refused_for_own_models(arguments):
    with pytest.raises(ArgumentError, match=r"[Tt]he model 'own'"):
        load_backbone(small_model(), preprocess=None, **arguments)


def test_own_model_of_any_size_needs_an_image_size():
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3)], name="any")
    with pytest.raises(ImageSizeError) as caught:
        load_backbone(model, preprocess=None)
    assert str(caught.value) == (
        "Model 'any' takes images of any size (None x None). Pass image_size=(height, width)."
    )
    assert load_backbone(model, preprocess=None, image_size=(8, 9)).image_size == (8, 9)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_own_model_of_any_size_is_the_same_layers_at_the_size_asked_for(kind):
    layers = [keras.layers.Conv2D(2, 3, name="one"), keras.layers.Conv2D(4, 3, name="two")]
    x = keras.Input((None, None, 3))
    model = keras.Sequential([x, *layers], name="any")
    if kind == "functional":
        model = keras.Model(x, layers[1](layers[0](x)), name="any")
    loaded = load_backbone(model, preprocess=None, image_size=(8, 9))
    assert loaded.model.name == "any"
    assert loaded.model.output_shape == (None, 4, 5, 4)
    assert loaded.model.layers[-1] is layers[1]  # nothing is copied
    pixels = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype("float32")
    np.testing.assert_array_equal(loaded.model(pixels), model(pixels))


def test_own_model_of_another_size_is_refused():
    with pytest.raises(ImageSizeError) as caught:
        load_backbone(small_model(), preprocess=None, image_size=16)
    assert str(caught.value) == (
        "Model 'own' takes images of 8 x 8 pixels. Received: image_size=(16, 16). Leave image_size "
        "out, or build the model for that size."
    )


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_own_model_may_give_a_vector_a_sequence_or_a_feature_map(rank):
    x = keras.Input((8, 8, 3))
    y = {
        2: keras.layers.GlobalAveragePooling2D()(x),
        3: keras.layers.Reshape((64, 3))(x),
        4: keras.layers.Conv2D(2, 3)(x),
    }[rank]
    assert len(load_backbone(keras.Model(x, y), preprocess=None).model.output_shape) == rank


def two_inputs():
    x, y = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return keras.Model([x, y], keras.layers.Add()([x, y]))


def one_channel():
    x = keras.Input((8, 8, 1))
    return keras.Model(x, keras.layers.Conv2D(2, 3)(x))


def vector_input():
    x = keras.Input((8,))
    return keras.Model(x, keras.layers.Dense(2)(x))


@pytest.mark.parametrize("build", [two_inputs, one_channel, vector_input])
def test_own_model_must_take_one_colour_image(build):
    with pytest.raises(
        ArgumentError, match=r"must take one image, of shape \(batch, height, width, 3\)\. Received"
    ):
        load_backbone(build(), preprocess=None)


def test_own_model_must_give_one_tensor_of_a_known_rank():
    x = keras.Input((8, 8, 3))
    five = keras.Model(x, keras.layers.Reshape((2, 4, 8, 3))(x), name="five")
    two = keras.Model(x, [keras.layers.ReLU()(x), keras.layers.ReLU()(x)], name="two")
    with pytest.raises(ArgumentError, match=r"Model 'five' must give .* \(None, 2, 4, 8, 3\)\.$"):
        load_backbone(five, preprocess=None)
    with pytest.raises(ArgumentError, match=r"Model 'two' must give one"):
        load_backbone(two, preprocess=None)


def test_subclassed_model_without_input_is_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(ArgumentError, match=r"Model 'mine' has no known input\. .*keras\.Model\(x"):
        load_backbone(Own(name="mine"), preprocess=None)


# Preprocessing of the user's own


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_modes_equal_those_of_keras(mode):
    preprocess = load_backbone(small_model(), preprocess=mode).preprocess
    expected = keras.applications.imagenet_utils.preprocess_input(PIXELS.copy(), mode=mode)
    np.testing.assert_allclose(np.asarray(preprocess(PIXELS)), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "preprocess",
    [
        keras.layers.Rescaling(1 / 255),
        lambda pixels: pixels / 255,
        keras.Sequential([keras.layers.Rescaling(1 / 255)]),
    ],
)
def test_layers_and_functions_are_saved_with_the_model(preprocess, tmp_path):
    check_saves(load_backbone(small_model(), preprocess=preprocess), tmp_path / "model.keras")


def test_preprocess_may_be_said_for_a_name_too():
    backbone = load_backbone(
        "mobilenet_v2", weights=None, image_size=32, alpha=0.35, preprocess="torch"
    )
    assert backbone.preprocess is resolve_preprocess("torch", (32, 32))


@pytest.mark.parametrize(
    ("preprocess", "text"),
    [
        ("rgb", "Unknown preprocess mode 'rgb'. Expected one of 'tf', 'torch', 'caffe', a Keras"),
        (3, "`preprocess` must be a mode name, a Keras layer, a function on Keras tensors, or "),
        (np.sqrt, "`preprocess` cannot be applied to Keras tensors. "),
        (
            keras.layers.Resizing(4, 4),
            "`preprocess` must return one tensor of the images' own shape (None, 8, 8, 3). "
            "Received: (None, 4, 4, 3).",
        ),
        (lambda pixels: None, "`preprocess` must return one tensor of the images' own shape "),
        (
            keras.layers.Lambda(lambda pixels: pixels / 2),
            "`preprocess` cannot be saved with the model and loaded again in safe mode. ",
        ),
    ],
)
def test_preprocess_that_cannot_be_used_is_refused(preprocess, text):
    with pytest.raises(PreprocessingError) as caught:
        load_backbone(small_model(), preprocess=preprocess)
    assert str(caught.value).startswith(text)


def test_weights_that_are_not_finite_are_refused_before_training(tmp_path):
    path = tmp_path / "broken.weights.h5"
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    values = model.layers[1].get_weights()
    values[0][0, 0, 0, 0] = np.inf
    model.layers[1].set_weights(values)
    model.save_weights(path)
    expected = r"^The weights of mobilenet_v2 cannot be trained on: 'Conv1/kernel' holds NaN or inf"
    with pytest.raises(WeightsError, match=expected):
        load_backbone("mobilenet_v2", weights=path, image_size=32, alpha=0.35)
