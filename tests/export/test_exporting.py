"""Exports say what Keras says, in their own runtimes; one that does not is not there."""

import json
import sys
import zipfile
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from exportable import NAMES, SIZE, about_the_mean, card, classifier, features, images, outputs
from extras import require
from finetune import export_model, fine_tune, load
from finetune.backbones import ENSEMBLE
from finetune.data import load_data
from finetune.exceptions import ArgumentError, DataNotFoundError, ExportError, StorageError
from finetune.model import FineTunedModel
from finetune.training import MEAN_LAYER, with_policy

for extra in ("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"):
    require(extra)

FORMATS = ("onnx", "savedmodel", "litert")
KNOWN = {
    "task": "multiclass",
    "class_names": list(NAMES),
    "image_size": [SIZE, SIZE],
    "resize": "crop",
    "temperature": 1.3,
}


def ensemble():
    """Two networks whose probabilities are averaged, and calibrated after that."""
    pixels = keras.Input((SIZE, SIZE, 3))
    said = []
    for seed in (3, 4):
        member = keras.Model(pixels, outputs(features(pixels / 255, seed), seed=seed))
        said.append(about_the_mean(member).output)
        member.get_layer("about").name = f"about_{seed}"
    mean = keras.layers.Average(name=MEAN_LAYER)(said)
    whole = keras.Model(pixels, mean, name=f"{ENSEMBLE}tiny")
    return FineTunedModel(whole, card()).at_temperature(0.7)


def in_bfloat16():
    made = classifier()
    return FineTunedModel(with_policy(made.keras_model, "mixed_bfloat16"), made.card)


def normalized():
    """Keeps means as tensors, which are neither weights nor constants."""
    pixels = keras.Input((SIZE, SIZE, 3))
    norm = keras.layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[900.0, 800.0, 700.0])
    whole = keras.Model(pixels, outputs(features(norm(pixels))))
    return FineTunedModel(about_the_mean(whole), card())


KINDS = {
    **{task: lambda task=task: classifier(task) for task in ("binary", "multilabel", "regression")},
    "ensemble": ensemble,
    "mixed precision": in_bfloat16,
    "normalized": normalized,
}


@pytest.fixture(scope="module")
def model():
    return classifier(resize="crop", temperature=1.3)


@pytest.fixture(scope="module")
def labelled(model):
    """Images with the labels that the model gives them, but for every fourth."""
    pixels = images(60)
    labels = model.predict(pixels).probabilities.argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % 3
    return pixels, labels


def run(export, pixels):
    """What a file says, asked as its README.md has it."""
    if export.to == "savedmodel":
        served = tf.saved_model.load(str(export.folder / "1")).signatures["serving_default"]
        (said,) = served(pixels=tf.constant(pixels)).values()
        return said.numpy()
    if export.to == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(export.folder / "model.tflite")).get_signature_runner()
        (said,) = runner(pixels=pixels).values()
        return said
    import onnxruntime

    (said,) = onnxruntime.InferenceSession(export.folder / "model.onnx").run(
        None, {"pixels": pixels}
    )
    return said


@pytest.fixture(scope="module")
def make():
    """Makes a model of a kind, the same one each time."""
    return cache(lambda kind: KINDS[kind]())


# Each kind together, for the model is made once.
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_says_the_same_in_every_format(kind, to, make, tmp_path):
    made = make(kind)
    export = export_model(made, to, out=tmp_path / "export")
    pixels = images(5, seed=9)
    # What mixed precision rounds is not rounded any more.
    near = 5e-2 if kind == "mixed precision" else 1e-5
    for count in (5, 1):
        np.testing.assert_allclose(
            run(export, pixels[:count].astype("float32")),
            made.predict(pixels[:count]).probabilities,
            atol=near,
            rtol=near,
        )


@pytest.mark.parametrize("to", FORMATS)
def test_a_vision_transformer_says_the_same_in_every_format(to, tmp_path):
    hub = pytest.importorskip("keras_hub", reason="the extra hub is not installed")
    backbone = hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    pooled = keras.layers.GlobalAveragePooling1D()(backbone.output)
    whole = keras.Model(backbone.input, keras.layers.Dense(3, activation="softmax")(pooled))
    made = FineTunedModel(whole, card(resize="pad", image_size=(32, 32)))
    export = export_model(made, to, out=tmp_path / "export")
    pixels = images(3, size=32)
    np.testing.assert_allclose(
        run(export, pixels.astype("float32")), made.predict(pixels).probabilities, atol=1e-5
    )


@pytest.mark.parametrize("to", FORMATS)
def test_what_has_to_be_known_stands_in_the_file(to, model, tmp_path):
    folder = export_model(model, to, out=tmp_path / "export").folder
    if to == "onnx":
        import onnx

        found = onnx.load(folder / "model.onnx")
        known = {entry.key: json.loads(entry.value) for entry in found.metadata_props}
        assert [entry.version for entry in found.opset_import if not entry.domain] == [17]
        (pixels,), (said,) = found.graph.input, found.graph.output
        assert (pixels.name, said.name) == ("pixels", "probabilities")
        dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
                for v in (pixels, said)]  # fmt: skip
        assert dims == [["images", SIZE, SIZE, 3], ["images", 3]]
    elif to == "litert":
        with zipfile.ZipFile(folder / "model.tflite") as attached:
            known = json.loads(attached.read("finetune.json"))
            assert attached.read("labels.txt").decode().splitlines() == [*NAMES]
    else:
        known = json.loads((folder / "1" / "assets.extra" / "finetune.json").read_text())
    assert {key: known[key] for key in KNOWN} == KNOWN


def test_two_classes_of_one_unit_have_a_column_each(tmp_path):
    export = export_model(classifier("binary"), out=tmp_path / "export")
    said = run(export, images(4).astype("float32"))
    assert said.shape == (4, 2)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)


def test_it_is_measured_beside_keras(model, labelled, tmp_path):
    export = export_model(model, data=labelled, out=tmp_path / "export")
    proof, expected = export.proof, model.evaluate(labelled)
    assert (proof.n, proof.same_answers, proof.real) == (60, 1.0, True)
    assert proof.difference < 1e-5
    for measured in (proof.keras, proof.export):
        assert (measured.accuracy, measured.interval) == (0.75, expected.interval)
        assert measured.milliseconds > 0
    size = (export.folder / "model.onnx").stat().st_size
    assert proof.export.megabytes == size / 1e6
    written = json.loads((export.folder / "export.json").read_text())
    assert written["proof"]["export"]["accuracy"] == 0.75
    assert (written["to"], written["precision"]) == ("onnx", "float32")
    heading, _, keras_row, onnx_row, on, where = str(export).splitlines()
    assert heading.split() == [
        "runtime",
        "same",
        "answers",
        "largest",
        "difference",
        "accuracy",
        "ms/image",
        "MB",
    ]
    assert "0.750 [0.628, 0.842]" in keras_row
    assert onnx_row.split()[:3] == ["ONNX", "Runtime", "100.0%"]
    assert on.startswith("On 60 images, ")
    assert on.endswith(" Allowed: a difference of 0.0001.")
    assert where == f"Written to {tmp_path / 'export'}"


def test_images_in_memory_are_taken_of_their_test_part(tmp_path, model, labelled):
    options = {"image_size": SIZE, "resize": "crop", "class_names": NAMES}
    data = load_data(labelled, **options, validation=0.2, test=0.25)
    export = export_model(model, "savedmodel", data=data, out=tmp_path / "export")
    assert export.proof.images == f"{sum(data.counts['test'].values())} test images"


def test_a_run_exports_itself_with_its_figures_and_its_images(data, backbone, tmp_path):
    options = {"preprocess": "tf", "freeze_depth": 14, "refit": 0, "verbose": 0}
    result = fine_tune(data, backbone=backbone, **options, epochs=1, out=tmp_path / "run")
    export = result.export("savedmodel")
    assert export.folder == tmp_path / "run-savedmodel"
    assert export.proof.images == f"{result.test.n} test images"
    assert export.proof.keras.accuracy == export.proof.export.accuracy == result.test.accuracy
    expected = f"Accuracy {result.test.accuracy:.3f} on {result.test.n} test images"
    assert expected in (export.folder / "README.md").read_text()


def test_fewer_bits_make_smaller_files_that_say_nearly_the_same(labelled, tmp_path):
    model, sizes = classifier(filters=256), {}
    for precision in ("float32", "float16", "int8"):
        export = export_model(
            model, "litert", precision=precision, data=labelled, out=tmp_path / precision
        )
        sizes[precision] = export.proof.export.megabytes
        assert export.proof.same_answers > 0.9
    assert sizes["float32"] > sizes["float16"] > sizes["int8"]
    assert export.proof.export.name == "LiteRT int8"
    assert export.proof.tolerance == "other answers for 15.0% of the images"


def test_values_may_differ_by_a_share_of_the_largest(tmp_path):
    model, pixels = classifier("regression"), images(20)
    export = export_model(
        model, "litert", precision="float16", data=(pixels, np.zeros((20, 2))), out=tmp_path / "to"
    )
    assert (export.proof.same_answers, export.proof.keras.accuracy) == (None, None)
    assert 0 < export.proof.difference < 0.01
    assert export.proof.tolerance == "a difference of 0.01"


class Digamma(keras.layers.Layer):
    """Neither ONNX nor LiteRT has it."""

    def call(self, inputs):
        return tf.math.digamma(inputs + 2.0)


@pytest.mark.parametrize(
    ("to", "text"),
    [
        (
            "onnx",
            "ONNX can express, received one with something else (No Op registered for Digamma",
        ),
        (
            "litert",
            "LiteRT by itself can express, received one with something else (Custom ops: Digamma). "
            "Choose another format; 'savedmodel' takes every model.",
        ),
    ],
)
def test_what_a_format_cannot_express_is_told_and_nothing_is_left(to, text, tmp_path):
    pixels = keras.Input((SIZE, SIZE, 3))
    whole = keras.Model(pixels, outputs(Digamma()(features(pixels / 255))))
    with pytest.raises(ExportError) as caught:
        export_model(FineTunedModel(whole, card()), to, out=tmp_path / "export")
    assert f"Expected a model that {text}" in str(caught.value)
    assert [*tmp_path.iterdir()] == []


def test_int8_needs_training_images(model, tmp_path):
    with pytest.raises(ArgumentError, match=r"Expected training images .* Name a folder"):
        export_model(model, "litert", precision="int8", out=tmp_path / "export")
    assert [*tmp_path.iterdir()] == []


def test_what_is_too_far_away_is_an_error_and_nothing_is_left_of_it(model, tmp_path):
    pixels, out = images(40), tmp_path / "export"
    labels = np.arange(40) % 3
    kept = export_model(model, "litert", out=out)
    before = (out / "export.json").read_text()
    strict = {"precision": "int8", "data": (pixels, labels), "tolerance": 0}
    grey = model.keras_model.get_layer(index=-1)
    kernel, bias = grey.get_weights()
    grey.set_weights([kernel * 1e-4, bias])  # probabilities that int8 cannot tell apart
    with pytest.raises(ExportError) as caught:
        export_model(model, "litert", out=out, overwrite=True, **strict)
    grey.set_weights([kernel, bias])
    text = str(caught.value)
    assert text.startswith("Expected LiteRT int8 to say what Keras says; on 40 images, ")
    assert "% the same answers, largest difference " in text
    assert "Allowed: other answers for 0.0% of the images. Nothing was written." in text
    assert (out / "export.json").read_text() == before
    assert [*tmp_path.iterdir()] == [kept.folder]


def test_an_export_is_replaced_only_where_that_was_asked_for(model, tmp_path):
    out = tmp_path / "export"
    export_model(model, "savedmodel", out=out)
    with pytest.raises(ArgumentError, match=r"is there already\. Replace it with overwrite=True"):
        export_model(model, "savedmodel", out=out)
    export_model(model, "onnx", out=out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "export.json", "model.onnx"]


def test_a_folder_of_something_else_stays_as_it_is(model, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(ArgumentError, match=r"holds files without export\.json among them"):
        export_model(model, "savedmodel", out=tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"to": "tflite"}, "Expected `to` to be one of ('onnx', 'savedmodel', 'litert', 'folder')"),
        ({"precision": "int4"}, "Expected precision to be one of ('float32', 'float16', 'int8')"),
        ({"precision": "int8"}, "Expected precision='float32' for 'onnx', received 'int8'"),
        ({"out": "shoes.onnx"}, "Expected a folder for `out`, received 'shoes.onnx'"),
        ({"tolerance": -1}, "Expected tolerance of 0 or more, received -1"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, text, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError) as caught:
        export_model(model, **arguments)
    assert text in str(caught.value)
    assert [*tmp_path.iterdir()] == []


def test_a_package_that_is_missing_is_named_with_what_brings_it(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ExportError) as caught:
        export_model(model, "onnx", out=tmp_path / "export")
    assert str(caught.value).startswith("Expected tf2onnx for 'onnx', but there is no such package")
    assert "`pip install 'keras-finetuner[export]'`" in str(caught.value)


def test_images_that_are_not_there_are_told_as_such(model, tmp_path):
    with pytest.raises(DataNotFoundError, match="There is no folder"):
        export_model(model, "savedmodel", out=tmp_path / "export", data=tmp_path / "gone")
    assert [*tmp_path.iterdir()] == []


def test_a_saved_model_is_exported_beside_its_file(model, tmp_path):
    run_folder = tmp_path / "shoes"
    model.save(run_folder / "model.keras")
    export = export_model(run_folder, "savedmodel")
    assert export.folder == tmp_path / "shoes-savedmodel"
    assert load(run_folder).card == model.card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shoes", "shoes-savedmodel"]


@pytest.mark.parametrize("room", [0, 5000])
def test_a_full_disk_is_told_and_nothing_half_written_is_left(model, tmp_path, room):
    resource = pytest.importorskip("resource", reason="limits of a process are known to Unix alone")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(StorageError, match=r"Could not write .*: .*File too large"):
            export_model(model, "savedmodel", out=tmp_path / "export")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [*tmp_path.iterdir()] == []
