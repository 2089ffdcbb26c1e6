"""Model files that were damaged, or made to do harm."""

import json
import struct
import zipfile

import keras
import numpy as np
import pytest

from archive_members import rewrite
from finetune import load
from finetune.exceptions import ModelFileError, StorageError
from finetune.model import FineTunedModel, ModelCard

CARD = {"task": "multiclass", "class_names": ["a", "b", "c"], "image_size": [8, 8]}
CARD = {**CARD, "resize": "pad"}


@pytest.fixture
def saved(tmp_path):
    pixels = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(pixels)
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(pooled))
    card = ModelCard("multiclass", ("a", "b", "c"), (8, 8), "pad")
    return FineTunedModel(model, card).save(tmp_path / "model.keras")


def set_card(path, card):
    content = card if isinstance(card, bytes) else json.dumps(card).encode()
    rewrite(path, lambda members: members.update({"finetune.json": content}))


def refusal(path):
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_model_is_what_it_was(saved):
    assert load(saved).card == ModelCard("multiclass", ("a", "b", "c"), (8, 8), "pad")


def test_a_card_of_a_later_version_is_read(saved):
    set_card(saved, CARD | {"colour": {"space": "sRGB"}})
    assert load(saved).card.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ([1, 2], "it should be an object, received [1, 2]"),
        (None, "it should be an object, received None"),
        ({k: v for k, v in CARD.items() if k != "class_names"}, "class_names is missing"),
        (CARD | {"class_names": 5}, "class_names should be a valid array, received 5"),
        (CARD | {"class_names": ["a", {"b": 1}, None]}, "class_names[1] should be a valid string"),
        (CARD | {"class_names": ["a", "b", "b"]}, "Expected class_names that differ"),
        (CARD | {"class_names": ["a"]}, "Expected a model of 1 classes (multiclass)"),
        (CARD | {"class_names": list("abcdef")}, "Expected a model of 6 classes (multiclass)"),
        (CARD | {"image_size": [10**6, 10**6]}, "images of 1000000 x 1000000 pixels, as its card"),
        (CARD | {"image_size": [1, 1]}, "images of 1 x 1 pixels, as its card says, received one"),
        (CARD | {"image_size": [-1, 8]}, "Expected image_size above 0, received (-1, 8)"),
        (
            CARD | {"image_size": ["8", "8"]},
            "image_size[0] should be a valid integer, received '8'",
        ),
        (CARD | {"image_size": [8.5, 8]}, "image_size[0] should be a valid integer, received 8.5"),
        (CARD | {"image_size": 8}, "image_size should be a valid array, received 8"),
        (CARD | {"resize": "__import__('os')"}, "Expected resize to be one of ('crop', 'pad', "),
        (CARD | {"resize": None}, "resize should be a valid string, received None"),
        (CARD | {"task": "evil"}, "Expected task to be one of ('binary', 'multiclass', "),
        (CARD | {"task": "regression"}, "Expected a model of 3 classes (regression), as its card"),
        (CARD | {"task": "binary"}, "Expected a model of 3 classes (binary), as its card says"),
        (b"{", "Invalid JSON: EOF while parsing"),
        (b"", "Invalid JSON: EOF while parsing"),
        (b"\xff\xfe\x00", "Invalid JSON: "),
        (b"[" * 200000, "Invalid JSON: recursion limit exceeded"),
        (b'{"task": NaN}', "task should be a valid string, received nan"),
    ],
)
def test_a_card_that_says_something_else_is_refused_by_its_key(saved, card, reason):
    set_card(saved, card)
    assert reason in refusal(saved)


def test_a_card_is_not_unpacked_beyond_what_a_card_needs(saved):
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if name != "finetune.json":
                archive.writestr(name, content)
        with archive.open("finetune.json", "w") as card:
            card.write(members["finetune.json"][:-1])
            for _ in range(20):
                card.write(b" " * 2**20)
            card.write(b"}")
    assert "expected at most 1,048,576 bytes of finetune.json, received more" in refusal(saved)


def test_weights_that_would_fill_the_memory_are_not_unpacked(saved):
    weights = {"model.weights.h5": bytes(2**26)}
    rewrite(saved, lambda members: members.update(weights), zipfile.ZIP_DEFLATED)
    assert "bytes unpacked, which is more than 100 times its own" in refusal(saved)


def test_a_file_that_was_compressed_by_another_tool_is_read(saved):
    rewrite(saved, lambda members: None, zipfile.ZIP_DEFLATED)
    assert load(saved).card.task == "multiclass"


def configure(change):
    def apply(members):
        config = json.loads(members["config.json"])
        change(config)
        members["config.json"] = json.dumps(config).encode()

    return apply


def set_layer(**changes):
    return configure(lambda config: config["config"]["layers"][1].update(changes))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda members: members.pop("config.json"), "expected config.json and model.weights.h5"),
        (lambda members: members.pop("model.weights.h5"), "expected config.json and model.weights"),
        (lambda members: members.update({"config.json": b"{"}), "Expecting property name enclosed"),
        (lambda members: members.update({"config.json": b"[]"}), "cannot be loaded by `keras.sav"),
        (
            lambda members: members.update({"model.weights.h5": b"garbage"}),
            "model.keras cannot be used: ",
        ),
        (configure(lambda config: config.update(module="os")), "it asks for 'os.Functional'"),
        (set_layer(module="no.such", class_name="Evil"), "it asks for 'no.such.Evil'"),
        (set_layer(class_name="Dense", config={"units": "many"}), "cannot be loaded by `keras.sav"),
        (set_layer(class_name="Dense", config=5), "cannot be loaded by `keras.saving.load_model`"),
    ],
)
def test_an_archive_of_something_else_is_refused(saved, change, reason):
    rewrite(saved, change)
    assert reason in refusal(saved)


def test_no_single_wrong_byte_ends_in_another_kind_of_error(saved):
    content = saved.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    # The directory at the end, which names, sizes and methods are read from; and anywhere.
    places = {*range(len(content) - 400, len(content)), *random.integers(0, len(content), 100)}
    for place in sorted(places):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            load(saved)
        except ModelFileError:
            refused += 1
    assert refused > 100


def test_an_encrypted_card_is_refused(saved):
    content = bytearray(saved.read_bytes())
    place = content.rindex(b"finetune.json") - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + 8 : place + 10] = struct.pack("<H", 1)
    saved.write_bytes(content)
    assert "is encrypted, password required for extraction" in refusal(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    model = keras.models.load_model(saved)
    model.set_weights([values * np.nan for values in model.get_weights()])
    card = ModelCard("multiclass", ("a", "b", "c"), (8, 8), "pad")
    FineTunedModel(model, card).save(saved)
    assert "hold NaN or infinity" in refusal(saved)


def test_saving_follows_no_link_and_leaves_nothing_else(saved, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    target = tmp_path / "new" / "model.keras"
    target.parent.mkdir()
    target.symlink_to(victim)
    (target.parent / ".model.partial.keras").symlink_to(victim)  # where version 0.1.0 wrote first
    load(saved).save(target)
    assert victim.read_text() == "mine"
    assert {path.name for path in target.parent.iterdir()} == {
        "model.keras",
        ".model.partial.keras",
    }
    assert load(target).card == load(saved).card


def test_a_place_below_a_file_is_refused_by_name(saved, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Could not write .*file/model\.keras: "):
        load(saved).save(tmp_path / "file" / "model.keras")
