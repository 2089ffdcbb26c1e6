"""Maps as a second output: those of `explain`, in every runtime."""

import json

import keras
import numpy as np
import pytest

from exportable import images
from extras import require
from finetune import export_model
from finetune.backbones import load_backbone
from finetune.exceptions import ArgumentError, ExportError
from finetune.export import portable
from finetune.model import FineTunedModel, ModelCard
from finetune.training import Head, assemble

for extra in ("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"):
    require(extra)

SIZE = 16
NAMES = {"multiclass": ("a", "b", "c"), "binary": ("no", "yes"), "multilabel": ("a", "b", "c")}
FORMATS = ("onnx", "savedmodel", "litert")


def network():
    """Eight filters on 7 x 7 places."""
    pixels = keras.Input((SIZE, SIZE, 3))
    initializer = keras.initializers.HeNormal(seed=3)
    layer = keras.layers.Conv2D(8, 3, 2, activation="relu", kernel_initializer=initializer)
    return keras.Model(pixels, layer(pixels))


def transformer():
    """Sixteen patches, and a class token before them."""
    pixels = keras.Input((SIZE, SIZE, 3))
    patches = keras.layers.Reshape((16, 6))(keras.layers.Conv2D(6, 4, 4)(pixels))
    tokens = keras.layers.Concatenate(axis=1)([keras.layers.Cropping1D((0, 15))(patches), patches])
    return keras.Model(pixels, tokens)


def made_of(backbone, task="multiclass", **options):
    names = NAMES.get(task, ())
    head = Head(task, max(len(names), 2), **options)
    whole = assemble(load_backbone(backbone, preprocess="tf"), head).model
    return FineTunedModel(whole, ModelCard(task, names, (SIZE, SIZE), "pad"))


def run(export, pixels):
    """All outputs of a file, asked as its README.md has it."""
    pixels = pixels.astype("float32")
    if export.to == "savedmodel":
        import tensorflow as tf

        served = tf.saved_model.load(str(export.folder / "1")).signatures["serving_default"]
        return {name: said.numpy() for name, said in served(pixels=tf.constant(pixels)).items()}
    if export.to == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(export.folder / "model.tflite")).get_signature_runner()
        return runner(pixels=pixels)
    import onnxruntime

    session = onnxruntime.InferenceSession(export.folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_the_map_of_every_class_is_that_of_explain(task, to, tmp_path):
    model = made_of(network(), task, dropout=0.2)
    export = export_model(model, to, out=tmp_path / "export", activation_map=True)
    pixels = images(5, seed=4)
    found = run(export, pixels)
    answer = "values" if task == "regression" else "probabilities"
    assert {*found} == {answer, "activation_maps"}
    for unit, name in enumerate(NAMES.get(task, range(2))):
        expected = model.explain(pixels, [name] * 5).maps
        np.testing.assert_allclose(found["activation_maps"][..., unit], expected, atol=1e-4)
    assert 0 <= export.proof.map_difference < 1e-5
    written = json.loads((export.folder / "export.json").read_text())
    assert written["proof"]["map_difference"] == export.proof.map_difference
    assert "Activation maps: largest difference " in str(export)
    assert "activation_maps" in (export.folder / "README.md").read_text()


def test_patches_of_a_transformer_are_its_places(tmp_path):
    model = made_of(transformer())
    export = export_model(model, "onnx", out=tmp_path / "export", activation_map=True)
    pixels = images(3)
    maps = run(export, pixels)["activation_maps"]
    assert maps.shape == (3, 4, 4, 3)
    np.testing.assert_allclose(maps[..., 1], model.explain(pixels, ["b"] * 3).maps, atol=1e-5)


def test_calibrated_models_have_maps_of_their_calibrated_logits(tmp_path):
    model = made_of(network()).at_temperature(2.5)
    export = export_model(model, "savedmodel", out=tmp_path / "export", activation_map=True)
    assert export.proof.map_difference < 1e-5


def without_places():
    flat = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten()])
    return made_of(flat)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: made_of(network(), hidden_units=4), "Expected a head of one Dense layer"),
        (without_places, "Expected a model that averages over the places of an image"),
    ],
    ids=["hidden", "flat"],
)
def test_a_model_without_a_map_in_closed_form_is_refused_and_nothing_is_left(make, text, tmp_path):
    with pytest.raises(ArgumentError, match=text):
        export_model(make(), "savedmodel", out=tmp_path / "export", activation_map=True)
    assert [*tmp_path.iterdir()] == []


def test_maps_that_are_not_those_of_keras_are_an_error(tmp_path, monkeypatch):
    model = made_of(network())
    right = FineTunedModel.explain

    def turned(self, *arguments, **options):
        found = right(self, *arguments, **options)
        return type(found)(found.labels, found.maps[:, ::-1])

    monkeypatch.setattr(FineTunedModel, "explain", turned)
    with pytest.raises(ExportError, match=r"Expected activation maps of SavedModel to be those of"):
        export_model(model, "savedmodel", out=tmp_path / "export", activation_map=True)
    assert [*tmp_path.iterdir()] == []


def test_the_folder_without_tensorflow_draws_the_map_of_the_answer(tmp_path, capsys):
    from PIL import Image

    model = made_of(network())
    folder = export_model(model, "folder", out=tmp_path / "to", activation_map=True).folder
    loaded, (pixels,) = portable.load(folder), images(1, seed=6)
    place = tmp_path / "one.png"
    Image.fromarray(pixels).save(place)
    portable.draw_maps(loaded, [place, tmp_path / "gone.png"], tmp_path / "drawn")
    assert capsys.readouterr().err.startswith(f"skipped: {tmp_path / 'gone.png'}: ")
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert drawn.name == "00000-one.png"
    strengths = model.explain(pixels[None]).maps[0]
    share = np.asarray(Image.open(drawn)).sum() / pixels.sum()
    assert 0.15 <= share < 1
    # Brightest where it speaks the most for its answer, as far as the veil goes.
    row, column = np.unravel_index(strengths.argmax(), strengths.shape)
    kept = np.asarray(Image.open(drawn)).sum(-1) / np.maximum(pixels.sum(-1), 1)
    side = SIZE / strengths.shape[0]
    at = kept[int((row + 0.5) * side), int((column + 0.5) * side)]
    assert at > 0.9 and at >= np.quantile(kept, 0.9)


def test_a_folder_without_maps_says_how_to_have_them(tmp_path):
    loaded = portable.load(export_model(made_of(network()), "folder", out=tmp_path / "to").folder)
    with pytest.raises(SystemExit, match="export it with --activation-map"):
        loaded.activation_maps(images(1))
