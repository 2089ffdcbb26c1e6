"""Names of features: the same in every process, and other ones where anything else is computed."""

import importlib.util
import os
import subprocess
import sys
import textwrap
import types

import keras
import numpy as np
import pytest

from finetune import FineTuner
from finetune.backbones import apply_freeze_depth
from finetune.data import load_data
from finetune.reuse.identities import identity
from finetune.reuse.sources import StoredSource
from tiny import make_images

layers = keras.layers


def unnamed(scale: float = 2.0, join=layers.Add, dropout: float = 0.1) -> keras.Model:
    """A network whose layers are named by Keras, with a dropout of no seed."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", kernel_initializer="ones")(inputs)
    y = layers.Rescaling(scale)(x)
    y = layers.Conv2D(4, 3, padding="same", kernel_initializer="ones")(y)
    x = layers.Dropout(dropout)(join()([x, y]))
    return keras.Model(inputs, layers.Conv2D(4, 3, kernel_initializer="ones")(x - 1.0))


def name(model, weights=(), *, frozen=True):
    found = identity([model], weights, frozen=frozen)
    assert found.lasting
    return found.name


def test_names_that_keras_counts_up_do_not_matter():
    first = name(unnamed())
    layers.Conv2D(1, 1), keras.Input((3,)), layers.Add()
    assert name(unnamed()) == first


def test_neither_do_frozen_layers_nor_seeds_of_what_is_not_random_then():
    model = unnamed()
    first = name(model)
    model.trainable = False
    assert name(model) == first
    assert name(layers.Dropout(0.1, seed=1)) == name(layers.Dropout(0.1, seed=2))
    assert name(layers.RandomFlip(seed=1), frozen=False) != name(
        layers.RandomFlip(seed=2), frozen=False
    )


@pytest.mark.parametrize(
    "change",
    [{"scale": 3.0}, {"join": layers.Multiply}, {"dropout": 0.2}],
    ids=["a value", "a class", "another value"],
)
def test_what_is_computed_does_matter(change):
    assert name(unnamed(**change)) != name(unnamed())


def test_so_does_how_layers_are_connected_and_what_else_they_are_called_with():
    def connected(first, second):
        a, b = keras.Input((4,)), keras.Input((4,))
        dense = layers.Dense(2)(a)
        return keras.Model([a, b], [[dense, b][first] * 2.0 + [a, b][second]])

    def called(number):
        inputs = keras.Input((4,))
        return keras.Model(inputs, inputs * number)

    assert name(called(2.0)) != name(called(3.0))
    assert len({name(connected(1, second)) for second in (0, 1)}) == 2


def test_weights_matter_by_value_shape_and_type():
    weights = [np.zeros((2, 3)), np.zeros((3, 2)), np.zeros((2, 3), "float32"), np.ones((2, 3))]
    names = {name(layers.Dense(2), [values]) for values in weights}
    assert len(names) == 4


def test_a_users_augmentation_has_one_name_before_and_after_it_is_used():
    layer = keras.Sequential([layers.RandomFlip("horizontal", seed=1), layers.RandomZoom(0.1)])
    data = load_data(make_images(4), image_size=16, batch_size=4, augment=layer)
    before = StoredSource(data, reuse=True).key
    next(iter(StoredSource(data, reuse=True).passes("train")))
    assert StoredSource(data, reuse=True).key == before


@pytest.mark.parametrize(
    "backbone",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("InceptionV3", "NASNetMobile")),
        "MobileNetV2",
    ],
)
def test_backbone_and_cut_have_the_same_names_whatever_was_made_before(backbone):
    def names():
        tuner = FineTuner(backbone, weights=None, image_size=96, num_classes=3)
        shared = tuner.trainer.shared(tuner.trainer.settings())
        return shared.frozen.identity, [[*shared.frozen.cuts(depth)] for depth in (40, 90)]

    first = names()
    layers.Conv2D(1, 1), keras.Input((3,))
    assert names() == first


def test_the_name_does_not_depend_on_which_layers_are_frozen_when_it_is_asked_for(backbone):
    def asked_at(depth):
        tuner = FineTuner(backbone, preprocess="tf", num_classes=3)
        shared = tuner.trainer.shared(tuner.trainer.settings())
        apply_freeze_depth(shared.backbone.model, depth)
        return shared.frozen.identity

    assert asked_at(0) == asked_at(7)


def test_two_calls_of_one_layer_have_two_names():
    inputs = keras.Input((8, 8, 3))
    twice = layers.Conv2D(3, 3, padding="same")
    first = twice(inputs)
    second = twice(layers.ReLU()(first))
    model = keras.Model(inputs, layers.ReLU()(second))
    tuner = FineTuner(model, preprocess="tf", num_classes=3)
    frozen = tuner.trainer.shared(tuner.trainer.settings()).frozen
    tensors = [layer.output for layer in frozen.flat.layers if isinstance(layer, layers.ReLU)]
    operations = [tensor for tensor in (*tensors, *frozen.flat.inputs)]
    assert len({frozen.name_of([tensor]) for tensor in operations}) == 3


# --- code that is not Keras' own ----------------------------------------------------------------

MODULE = """
import keras
from math import pi

GAIN = {gain}
def scale(x):
    return x * GAIN {edit}

class Scale(keras.layers.Layer):
    def __init__(self, table=None, **kwargs):
        super().__init__(**kwargs)
        self.table = table
    def call(self, x):
        return scale(x)
    def get_config(self):
        return super().get_config()
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a user's module, as its file is now."""
    numbers = iter(range(99))

    def load(gain="1.0", edit=""):
        file = tmp_path / f"mine_{next(numbers)}.py"
        file.write_text(MODULE.format(gain=gain, edit=edit))
        spec = importlib.util.spec_from_file_location("mine", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "mine", module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_same_code_has_the_same_name(load):
    assert name(load().Scale()) == name(load().Scale())


@pytest.mark.parametrize("change", [{"edit": "+ 1"}, {"gain": "2.0"}], ids=["code", "constant"])
def test_edited_code_has_another_name_wherever_it_is_called_from(load, change):
    assert name(load().Scale()) != name(load(**change).Scale())
    assert name(layers.Conv2D(2, 1, activation=load().scale)) != name(
        layers.Conv2D(2, 1, activation=load(**change).scale)
    )


def test_a_constant_counts_by_its_value_not_by_its_text(load):
    assert name(load("1 + 1.0").Scale()) != name(load("2 + 1.0").Scale())
    first, second = load(), load()
    second.GAIN = 5.0  # such as from the command line
    assert name(first.Scale()) != name(second.Scale())


def test_attributes_of_a_users_layer_count_where_its_configuration_leaves_them_out(load):
    scale = load().Scale
    one, other = scale(np.arange(3)), scale(np.arange(4))
    assert one.get_config().keys() == other.get_config().keys()
    assert name(one) != name(other)


def test_code_within_models_is_found(load):
    def nested(module):
        return keras.Sequential([keras.Sequential([keras.Input((8,)), module.Scale()])])

    assert name(nested(load())) != name(nested(load(edit="+ 1")))


def test_a_replaced_call_is_known_to_nobody_else(load, caplog):
    layer = load().Scale(name="scale")
    layer.call = types.MethodType(lambda self, x: x, layer)
    with caplog.at_level("INFO", logger="finetune"):
        first, second = (identity([layer], frozen=True) for _ in range(2))
    assert not first.lasting and not second.lasting and first.name != second.name
    assert "Features are not kept for later runs: 'call' of layer 'scale' was replaced." in (
        caplog.messages
    )


def test_a_replaced_call_of_a_class_of_keras_is_code_of_the_users(load, monkeypatch):
    before = name(layers.Rescaling(2.0))
    scale = load().scale
    monkeypatch.setattr(layers.Rescaling, "call", lambda self, x: scale(x))
    assert name(layers.Rescaling(2.0)) != before


def test_code_that_cannot_be_read_is_kept_nowhere(caplog):
    space = {}
    exec("import keras\nclass Typed(keras.layers.Layer):\n  def call(self, x): return x", space)
    with caplog.at_level("INFO", logger="finetune"):
        assert not identity([space["Typed"]()], frozen=True).lasting
    assert "Features are not kept for later runs: " in caplog.text


# --- from process to process --------------------------------------------------------------------

SCRIPT = """
import logging, sys
import keras
from finetune import FineTuner
from finetune.data import load_data
from mine import Prepare
from tiny import make_images

logging.basicConfig(level=logging.INFO, format="%(message)s")
for _ in range(int(sys.argv[1])):
    keras.layers.Conv2D(1, 1)
inputs = keras.Input((16, 16, 3))
ones = keras.initializers.HeNormal(seed=1)
x = keras.layers.Conv2D(4, 3, kernel_initializer=ones)(inputs)
x = keras.layers.Dropout(0.1)(x)
model = keras.Model(inputs, keras.layers.Conv2D(4, 3, kernel_initializer=ones)(x))
# A head that is solved is the same whatever the scale and the place of what it is solved on.
tuner = FineTuner(
    model, preprocess=Prepare(), freeze_depth=1, epochs=0, head_epochs=1, head_optimizer="adam"
)
data = load_data(make_images(12), image_size=16, batch_size=8)
settings = tuner.trainer.settings()
_, record = tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
print("loss", record.epochs[0]["val_loss"])
"""

PREPARE = """
import keras

@keras.saving.register_keras_serializable("mine")
class Prepare(keras.layers.Layer):
    def call(self, x):
        return x / 127.5 {edit}
"""


@pytest.fixture
def run(tmp_path):
    """Trains in a process of its own, with a layer as its file is now; computed, and the loss."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def run(edit="", made_before=0, cache="cache"):
        (tmp_path / "mine.py").write_text(PREPARE.format(edit=edit))
        done = subprocess.run(
            [sys.executable, script, str(made_before)],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "FINETUNE_CACHE": str(tmp_path / cache),
                "PYTHONPATH": ":".join(path for path in sys.path if path),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        computed = [line for line in done.stderr.splitlines() if "images computed in" in line]
        return len(computed), done.stdout.split("loss")[1]

    return run


@pytest.mark.thorough
def test_the_next_process_finds_what_the_last_one_kept_and_an_edited_layer_computes_anew(run):
    computed, loss = run()
    assert computed == 2  # training and validation images
    assert run(made_before=3) == (0, loss)
    computed, edited = run(edit="- 1.0")
    assert computed == 2 and edited != loss
