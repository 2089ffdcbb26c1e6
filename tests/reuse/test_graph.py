import keras
import numpy as np
import pytest

from finetune.reuse.graph import CannotSplit, flatten, is_graph


def dense(name, **options):
    return keras.layers.Dense(4, name=name, **options)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.dense = dense("inside")

    def call(self, inputs):
        return self.dense(inputs)


def inner_model():
    x = keras.Input((4,))
    return keras.Model(x, dense("c")(dense("a")(x)), name="inner")


def test_flatten_inlines_models_at_every_level():
    x = keras.Input((4,))
    inner = keras.Sequential([inner_model(), dense("b")], name="outer")
    inner.build((None, 4))
    model = keras.Model(x, dense("e")(keras.ops.relu(inner(dense("d")(x * 2)))))
    flat = flatten(model)
    names = [layer.name for layer in flat.layers]
    assert names[1:] == ["d", "a", "c", "b", "e"]
    assert {id(v) for v in flat.variables} == {id(v) for v in model.variables}
    value = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(flat(value), model(value))


def test_flatten_returns_a_flat_model_as_it_is():
    model = inner_model()
    assert flatten(model) is model


def test_flatten_keeps_the_name_of_the_model():
    x = keras.Input((4,))
    assert flatten(keras.Model(x, inner_model()(x), name="mine")).name == "mine"


def test_flatten_turns_a_sequential_model_into_a_functional_one():
    model = keras.Sequential([keras.Input((4,)), dense("a"), dense("b")])
    flat = flatten(model)
    assert isinstance(flat, keras.Function)
    value = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(flat(value), model(value))


def test_flatten_keeps_the_inputs_and_outputs_of_a_model_with_several():
    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((4,), name="right")}
    inner = inner_model()
    outputs = {"sum": inner(inputs["left"]) + inputs["right"], "twice": inner(inputs["right"])}
    model = keras.Model(inputs, outputs)
    flat = flatten(model)
    value = {name: np.random.rand(2, 4).astype("float32") for name in inputs}
    expected, found = model(value), flat(value)
    assert set(found) == {"sum", "twice"}
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_flatten_does_not_compile_the_copy_of_a_compiled_model():
    x = keras.Input((4,))
    model = keras.Model(x, inner_model()(x))
    model.compile("sgd", "mse")
    assert not flatten(model).compiled


def test_flatten_refuses_a_subclassed_model():
    with pytest.raises(CannotSplit) as refusal:
        flatten(Subclassed())
    assert refusal.value.reason == "'own' (Subclassed) is not a functional or sequential model"


def test_flatten_refuses_two_layers_of_one_name():
    x = keras.Input((4,))
    model = keras.Model(x, dense("a")(inner_model()(x)))
    with pytest.raises(CannotSplit, match="more than one layer is named 'a'"):
        flatten(model)


def test_a_functional_model_with_a_call_of_its_own_is_no_graph():
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs)

    x = keras.Input((4,))
    assert not is_graph(Doubled(x, dense("a")(x)))
    assert is_graph(keras.Model(x, dense("a")(x)))


def test_an_unbuilt_sequential_model_is_no_graph():
    assert not is_graph(keras.Sequential([dense("a")]))
