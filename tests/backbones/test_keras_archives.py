"""`.keras` files that were made to do harm: nothing of them runs, is imported or fills anything."""

import io
import json
import os
import stat
import sys
import zipfile

import h5py
import keras
import pytest

from archive_members import rewrite
from finetune.backbones import load_backbone
from finetune.backbones.model_files import read_model
from finetune.exceptions import ModelFileError


@pytest.fixture
def saved(backbone, tmp_path):
    path = tmp_path / "inside" / "model.keras"
    path.parent.mkdir()
    backbone.save(path)
    return path


def configure(change):
    def apply(members):
        config = json.loads(members["config.json"])
        change(config["config"]["layers"])
        members["config.json"] = json.dumps(config).encode()

    return apply


def layer(**changes):
    return configure(lambda layers: layers[3].update(changes))


def weights(change):
    def apply(members):
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "r+") as store:
            change(store)
        members["model.weights.h5"] = content.getvalue()

    return apply


def in_place_of_the_first(make):
    def change(store):
        names: list[str] = []
        store.visititems(lambda name, part: names.append(name) if name.endswith("/0") else None)
        shape = store[names[0]].shape
        del store[names[0]]
        make(store, names[0], shape)

    return weights(change)


def function(module, name):
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


CRAFTED = {
    "a lambda": (
        layer(class_name="Lambda", module="keras.layers", config={"function": "x"}),
        "it holds a Lambda, which runs code",
    ),
    "code of a lambda": (
        layer(config={"activation": {"class_name": "__lambda__", "config": {"code": "4wAA"}}}),
        "it holds a __lambda__, which runs code",
    ),
    "a SavedModel elsewhere": (
        layer(class_name="TFSMLayer", module="keras.layers", config={"filepath": "/tmp/x"}),
        "it holds a TFSMLayer",
    ),
    "a file elsewhere": (
        layer(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
        "it holds a StringLookup, which runs code or reads files that are not its own",
    ),
    "a class of another package": (
        layer(class_name="Popen", module="subprocess", config={"args": "true"}),
        "it asks for 'subprocess.Popen', and only classes of Keras' own",
    ),
    "a module that was never imported": (
        layer(class_name="Image", module="antigravity"),
        "it asks for 'antigravity.Image'",
    ),
    "a package that is called almost like Keras": (
        layer(class_name="Dense", module="keras_evil.layers"),
        "it asks for 'keras_evil.Dense'".replace("evil.", "evil.layers."),
    ),
    "a function of another package": (
        layer(config={"activation": function("os", "system")}),
        "it asks for 'os.function'",
    ),
    "a path upwards": (
        lambda members: members.update({"../evil.txt": b"x"}),
        "it holds the path '../evil.txt', which leads out of it",
    ),
    "an absolute path": (
        lambda members: members.update({"/evil.txt": b"x"}),
        "it holds the path '/evil.txt', which leads out of it",
    ),
    "a path of Windows": (
        lambda members: members.update({"assets\\..\\..\\evil.txt": b"x"}),
        "which leads out of it",
    ),
    "a huge layer": (
        configure(lambda layers: layers[1]["config"].update(filters=10**12)),
        "bytes of weights, and it holds 16,672",
    ),
    "a layer larger than its weights": (
        configure(lambda layers: layers[1]["config"].update(filters=10**5)),
        "its layers need 10,815,808 bytes of weights",
    ),
    "a nested configuration": (
        lambda members: members.update({"config.json": b"[" * 100_000}),
        "recursion",
    ),
    "a long configuration": (
        lambda members: members.update({"config.json": b" " * (2**25 + 1)}),
        "expected at most 33,554,432 bytes of config.json",
    ),
    "weights of another file": (
        in_place_of_the_first(
            lambda store, name, shape: store.create_dataset(
                name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            )
        ),
        "lie in another file",
    ),
    "a link to another file": (
        in_place_of_the_first(
            lambda store, name, shape: store.__setitem__(name, h5py.ExternalLink("/x", "/x"))
        ),
        "are a link to elsewhere",
    ),
    "weights that are declared only": (
        in_place_of_the_first(
            lambda store, name, shape: store.create_dataset(
                name, (10**6, 10**6), "f4", chunks=(100, 100)
            )
        ),
        "its weights would take 4,000,000,",
    ),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_and_leaves_nothing(saved, name):
    change, reason = CRAFTED[name]
    rewrite(saved, change)
    with pytest.raises(ModelFileError) as caught:
        read_model(saved)
    assert reason in str(caught.value)
    assert f"{saved} cannot be used: " in str(caught.value)
    assert "antigravity" not in sys.modules
    assert [path.name for path in saved.parent.parent.rglob("*")] == ["inside", "model.keras"]


def test_a_link_in_the_archive_is_refused(saved):
    member = zipfile.ZipInfo("assets/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(ModelFileError, match="it holds the link 'assets/link'"):
        read_model(saved)


def test_weights_that_lead_round_in_circles_end(saved):
    rewrite(saved, weights(lambda store: store.__setitem__("again", store["/"])))
    assert read_model(saved).count_params() == 4168


def test_a_crafted_backbone_is_refused_as_a_model_is(saved):
    rewrite(saved, CRAFTED["a class of another package"][0])
    with pytest.raises(ModelFileError, match=r"asks for 'subprocess\.Popen'"):
        load_backbone(os.fspath(saved), preprocess="tf")


def test_a_layer_in_the_place_of_a_model_is_refused(saved):
    relu = keras.saving.serialize_keras_object(keras.layers.ReLU())

    def replace(members):
        members["config.json"] = json.dumps(relu).encode()

    rewrite(saved, replace)
    with pytest.raises(ModelFileError, match=r"must hold a `keras\.Model`\. Received: a ReLU"):
        read_model(saved)


def test_classes_that_the_user_registered_are_loaded(tmp_path):
    @keras.saving.register_keras_serializable("test_keras_archives")
    class Twice(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    keras.Sequential([keras.Input((4,)), Twice()]).save(tmp_path / "model.keras")
    assert type(read_model(tmp_path / "model.keras").layers[0]) is Twice
    del keras.saving.get_custom_objects()["test_keras_archives>Twice"]
    with pytest.raises(ModelFileError, match=r"Twice', and only classes .* that you registered"):
        read_model(tmp_path / "model.keras")
