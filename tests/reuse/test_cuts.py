import itertools
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from cutting import find_cut
from finetune.backbones.freezing import apply_freeze_depth, leaf_layers
from finetune.compat import all_layers, calls_of
from finetune.reuse.cuts import CannotSplit, Cut, extractor, find_cuts, flatten, split
from tiny import Hidden


def images(model, count=2):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (count, *model.inputs[0].shape[1:])).astype("float32")


def assert_close(found, expected, tolerance=1e-5):
    expected = np.asarray(expected)
    assert np.abs(np.asarray(found) - expected).max() <= tolerance * np.abs(expected).max()


def skip_model():
    """Two tensors cross wherever it is cut in the middle."""
    x = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(x)
    second = layers.Conv2D(4, 3, padding="same", name="second")(first)
    third = layers.Conv2D(2, 3, padding="same", name="third")(second)
    joined = layers.Concatenate(name="joined")([third, keras.ops.relu(first)])
    return keras.Model(x, layers.Dense(2, name="top")(layers.Flatten(name="flat")(joined)))


# --- where the cut lies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze_depth", "affordable", "depth", "values"),
    [
        (0, 0, 0, 12_288),
        (5, 0, 0, 12_288),
        (50, 0, 45, 1_024),
        (116, 0, 90, 384),
        (116, 511, 90, 384),
        (116, 512, 116, 512),
        (100, 10**6, 100, 3_584),
    ],
)
def test_cut_of_mobilenet(mobilenet, freeze_depth, affordable, depth, values):
    apply_freeze_depth(mobilenet, freeze_depth)
    cut = find_cut(mobilenet, freeze_depth, affordable=affordable)
    assert (cut.depth, cut.values, cut.limit) == (depth, values, None)
    assert cut.values == sum(math.prod(tensor.shape[1:]) for tensor in cut.tensors)


def test_cut_of_nothing_frozen_is_the_input(mobilenet):
    apply_freeze_depth(mobilenet, 0)
    cut = find_cut(mobilenet, 0)
    assert cut.depth == 0
    assert cut.tensors == tuple(mobilenet.inputs)


def test_several_tensors_may_cross():
    model = skip_model()
    apply_freeze_depth(model, 4)
    cut = find_cut(model, 4, affordable=96)
    assert cut.depth == 4
    assert {tensor.shape for tensor in cut.tensors} == {(None, 4, 4, 4), (None, 4, 4, 2)}
    prefix, suffix = split(model, cut.tensors)
    assert len(prefix.outputs) == len(suffix.inputs) == 2
    x = images(model)
    np.testing.assert_array_equal(suffix(prefix(x)), model(x))


def test_the_deeper_of_equal_boundaries_is_taken():
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=n) for n in "abcd")])
    apply_freeze_depth(model, 2)
    assert find_cut(model, 2).depth == 2


def test_operations_between_layers_may_lie_before_the_cut():
    x = keras.Input((8, 8, 3))
    pooled = keras.ops.mean(layers.Conv2D(4, 3, name="conv")(x), axis=(1, 2))
    model = keras.Model(x, layers.Dense(2, name="top")(pooled))
    apply_freeze_depth(model, 2)
    cut = find_cut(model, 2)
    assert (cut.depth, cut.values) == (2, 4)


def test_a_layer_that_is_called_on_both_sides_lies_behind_the_cut():
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    narrow = layers.Dense(2, name="narrow")(shared(x))
    wide = layers.Dense(4, name="wide")(narrow)
    model = keras.Model(x, layers.Dense(1, name="top")(shared(wide)))
    for layer in model.layers:
        layer.trainable = layer.name in ("wide", "top")
    frozen = [layer.name for layer in model.layers].index("wide")
    cut = find_cut(model, frozen)
    assert cut.values == 2
    prefix, suffix = split(model, cut.tensors)
    value = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(suffix(prefix(value)), model(value))


def test_a_tensor_whose_first_axis_is_not_the_batch_does_not_cross():
    x = keras.Input((4, 8))
    frozen = layers.Dense(2, name="frozen")(x)
    merged = keras.ops.reshape(frozen, (-1, 2))
    narrow = layers.Dense(1, name="narrow")(merged)
    model = keras.Model(x, layers.Dense(2, name="top")(keras.ops.reshape(narrow, (-1, 4))))
    apply_freeze_depth(model, 3)
    cut = find_cut(model, 3)
    assert [tensor.shape for tensor in cut.tensors] == [(None, 4)]
    apply_freeze_depth(model, 2)
    assert [tensor.shape for tensor in find_cut(model, 2).tensors] == [(None, 4, 2)]


def test_an_output_of_the_model_may_cross():
    x = keras.Input((4,))
    first = layers.Dense(2, name="first")(x)
    model = keras.Model(x, [first, layers.Dense(3, name="second")(first)])
    apply_freeze_depth(model, 2)
    prefix, suffix = split(model, find_cut(model, 2).tensors)
    value = np.ones((2, 4), "float32")
    for found, expected in zip(suffix(prefix(value)), model(value), strict=True):
        np.testing.assert_array_equal(found, expected)


# --- what may not be cached -------------------------------------------------------------------


class Counter(layers.Layer):
    def build(self, shape):
        self.count = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs


class Noisy(layers.Layer):
    """Random whatever it is told."""

    def __init__(self, name):
        super().__init__(name=name)
        self.seed = keras.random.SeedGenerator(0)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed)


UNFIT = [
    (lambda: Counter(name="it"), "layer 'it' (Counter) keeps state of its own"),
    (lambda: Noisy(name="it"), "layer 'it' (Noisy) is random, also in inference"),
    (
        lambda: layers.Conv2D(3, 1, activity_regularizer="l2", name="it"),
        "layer 'it' (Conv2D) adds an activity loss",
    ),
]


def model_with(layer, *, first=False):
    x = keras.Input((8, 8, 3))
    y = x if first else layers.Conv2D(2, 3, strides=2, name="narrow")(x)
    y = layers.Conv2D(1, 3, name="after")(layer(y))
    return keras.Model(x, layers.Dense(2, name="top")(layers.Flatten(name="flat")(y)))


def freeze_all_but_top(model):
    for layer in all_layers(model):
        layer.trainable = layer.name == "top"
    model.trainable = True
    for layer in model.layers[:-1]:
        layer.trainable = False


@pytest.mark.parametrize(("make", "reason"), UNFIT)
def test_the_cut_lies_before_a_layer_that_may_not_be_cached(make, reason):
    model = model_with(make())
    freeze_all_but_top(model)
    cut = find_cut(model, len(leaf_layers(model)) - 1)
    assert (cut.depth, cut.values) == (2, 18)
    assert cut.limit is not None and cut.limit.startswith(reason)


@pytest.mark.parametrize(("make", "reason"), UNFIT)
def test_refuses_where_a_layer_that_may_not_be_cached_comes_first(make, reason):
    model = model_with(make(), first=True)
    freeze_all_but_top(model)
    with pytest.raises(CannotSplit) as refusal:
        find_cut(model, len(leaf_layers(model)) - 1)
    assert refusal.value.reason.startswith(reason)
    assert "\n" not in refusal.value.reason


def test_refuses_batch_norm_that_adapts():
    model = model_with(layers.BatchNormalization(name="it"), first=True)
    freeze_all_but_top(model)
    model.get_layer("it").trainable = True
    with pytest.raises(CannotSplit, match=r"'it' \(BatchNormalization\) adapts its statistics"):
        find_cut(model, len(model.layers) - 1)


def test_refuses_a_layer_that_was_not_frozen():
    model = model_with(layers.Conv2D(2, 1, name="it"), first=True)
    with pytest.raises(CannotSplit, match="is not frozen"):
        find_cut(model, len(model.layers) - 1)


class Doubling(layers.Layer):
    def call(self, inputs, training=None):
        return inputs * 2 if training else inputs


QUIET_WHEN_FROZEN = [
    lambda: layers.Dropout(0.5, name="it"),
    lambda: layers.GaussianNoise(1, name="it"),
    lambda: layers.RandomFlip(name="it"),
    lambda: layers.SpectralNormalization(layers.Conv2D(3, 1), name="it"),
    lambda: Doubling(name="it"),
    lambda: Hidden(name="it"),
]


@pytest.mark.parametrize("make", QUIET_WHEN_FROZEN)
def test_a_frozen_layer_that_acts_differently_when_training_may_be_cached(make):
    model = model_with(make())
    freeze_all_but_top(model)
    cut = find_cut(model, len(leaf_layers(model)) - 1)
    assert cut.limit is None
    assert cut.depth > [layer.name for layer in leaf_layers(model)].index("after")


@pytest.mark.parametrize("make", QUIET_WHEN_FROZEN)
def test_it_may_not_where_it_is_not_frozen(make):
    model = model_with(make(), first=True)
    freeze_all_but_top(model)
    for layer in all_layers(model.get_layer("it")):
        layer.trainable = True
    with pytest.raises(CannotSplit, match=r"layer 'it' \(\w+\) is not frozen"):
        find_cut(model, len(leaf_layers(model)) - 1)


def test_refuses_a_subclassed_model():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(CannotSplit, match="is not a functional or sequential model"):
        find_cut(Own(), 0)


def test_refuses_an_input_of_no_fixed_size():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x)))
    with pytest.raises(CannotSplit, match="the size of the model's input is not fixed"):
        find_cut(model, 1)


# --- what the parts compute ---------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize(("fraction", "affordable"), [(0.4, 10**6), (0.9, 5_000)])
def test_suffix_of_prefix_is_the_full_model(architecture, fraction, affordable):
    depth = round(fraction * len(architecture.layers))
    apply_freeze_depth(architecture, depth)
    cut = find_cut(architecture, depth, affordable=affordable)
    prefix, suffix = split(architecture, cut.tensors)
    assert 0 < cut.depth <= depth
    x = images(architecture)
    assert_close(suffix(prefix(x)), architecture(x))
    trained = [id(variable) for variable in architecture.trainable_variables]
    assert [id(variable) for variable in suffix.trainable_variables] == trained
    assert not prefix.trainable_variables


def test_the_dropout_within_efficientnet_is_no_limit_where_it_is_frozen():
    body = keras.applications.EfficientNetV2B0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    depth = [layer.name for layer in body.layers].index("block4b_add") + 1
    apply_freeze_depth(body, depth)
    cut = find_cut(body, depth)
    assert cut.limit is None
    assert cut.depth > [layer.name for layer in body.layers].index("block4b_drop")


def test_what_the_suffix_trains_is_seen_and_saved_by_the_full_model(tmp_path):
    model = skip_model()
    apply_freeze_depth(model, 3)
    prefix, suffix = split(model, find_cut(model, 3).tensors)
    assert (prefix.name, suffix.name) == (f"{model.name}_prefix", f"{model.name}_suffix")
    x, y = images(model, 8), np.ones((8, 2), "float32")
    features = prefix.predict(x, verbose=0)
    suffix.compile("sgd", "mse")
    suffix.fit(features, y, verbose=0)
    after = suffix.predict(features, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), after, rtol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), after, rtol=1e-6)


def test_nested_model_is_split_after_inlining():
    inner = skip_model()
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, layers.Dense(2, name="logits")(inner(layers.Rescaling(2.0)(x))))
    flat = flatten(model)
    apply_freeze_depth(flat, 4)
    cut = find_cut(flat, 4, affordable=128)
    assert cut.depth == 4
    prefix, suffix = split(flat, cut.tensors)
    value = images(model)
    assert_close(suffix(prefix(value)), model(value))


def test_nested_model_that_was_not_inlined_is_one_unit():
    inner = skip_model()
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, layers.Dense(5, name="logits")(inner(x)))
    leaves = leaf_layers(model)
    apply_freeze_depth(model, len(leaves) - 1)
    cut = find_cut(model, len(leaves) - 1)
    assert (cut.depth, cut.values) == (len(leaves) - 1, 2)


def test_of_a_model_within_that_is_frozen_in_part_that_part_is_run_again():
    inner_input = keras.Input((6,))
    lower = layers.Dense(5, name="lower")(inner_input)
    inner = keras.Model(inner_input, layers.Dense(4, name="upper")(lower), name="inner")
    x = keras.Input((6,))
    model = keras.Model(x, inner(layers.Dense(6, name="first")(x)))
    assert [layer.name for layer in leaf_layers(model)][1:] == ["first", "lower", "upper"]
    apply_freeze_depth(model, 3)
    cut = find_cuts(model, 3)[-1]
    assert (cut.depth, cut.values) == (2, 6)
    assert (cut.again, cut.frozen) == (6 * 5, 6 * 6 + 6 * 5)


def test_extractor_computes_what_the_prefix_does(mobilenet):
    apply_freeze_depth(mobilenet, 100)
    prefix, _ = split(mobilenet, find_cut(mobilenet, 100).tensors)
    features = extractor(prefix)
    for count in (1, 3):
        x = images(mobilenet, count)
        (found,) = features(x)
        assert_close(found, prefix(x))


def test_extractor_takes_whole_numbers_and_gives_every_output():
    model = skip_model()
    apply_freeze_depth(model, 4)
    prefix, _ = split(model, find_cut(model, 4, affordable=96).tensors)
    x = np.arange(2 * 8 * 8 * 3, dtype="uint8").reshape(2, 8, 8, 3)
    found = extractor(prefix)(x)
    assert isinstance(found, tuple)
    for value, expected in zip(found, prefix(x), strict=True):
        assert_close(value, expected)


# --- laws -----------------------------------------------------------------------------------


KINDS = ["conv", "norm", "relu", "add", "concat", "pool", "op"]
# Kind, which tensors it takes (counted round), filters.
PLANS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9), st.integers(1, 4)),
    min_size=3,
    max_size=7,
)


def draw_graph(plan):
    """The graph of layers on small images that a plan describes."""
    x = keras.Input((4, 4, 2))
    tensors = [x]
    for number, (kind, first, second, filters) in enumerate(plan):
        name = f"layer{number}"
        source = tensors[first % len(tensors)]
        like = [tensor for tensor in tensors if tensor.shape == source.shape]
        wide = [tensor for tensor in tensors if tensor.shape[1:3] == source.shape[1:3]]
        if kind == "conv":
            result = layers.Conv2D(filters, 3, padding="same", name=name)(source)
        elif kind == "norm":
            result = layers.BatchNormalization(name=name)(source)
        elif kind == "relu":
            result = layers.ReLU(name=name)(source)
        elif kind == "add":
            result = layers.Add(name=name)([source, like[second % len(like)]])
        elif kind == "concat":
            result = layers.Concatenate(name=name)([source, wide[second % len(wide)]])
        elif kind == "pool":
            result = layers.MaxPooling2D(2, padding="same", name=name)(source)
        else:
            result = keras.ops.tanh(source)
        tensors.append(result)
    pooled = [layers.GlobalAveragePooling2D()(tensor) for tensor in tensors[-2:]]
    return keras.Model(x, layers.Concatenate(name="end")(pooled))


def boundaries(model, freeze_depth):
    """Every boundary: the operations before it, and the number of values that cross."""
    calls = [call for call in calls_of(model) if not call.is_input]
    trainable = {id(layer) for layer in model.layers[freeze_depth:]}
    allowed = [call for call in calls if id(call.operation) not in trainable]
    for size in range(len(allowed) + 1 if freeze_depth else 1):
        for chosen in itertools.combinations(allowed, size):
            made = {id(t) for t in model.inputs} | {id(t) for c in chosen for t in c.outputs}
            if all(id(tensor) in made for call in chosen for tensor in call.inputs):
                rest = [call for call in calls if call not in chosen]
                used = {id(t): t for call in rest for t in call.inputs}
                used |= {id(tensor): tensor for tensor in model.outputs}
                crossing = [t for key, t in used.items() if key in made]
                before = {id(call.operation) for call in chosen}
                yield before, sum(math.prod(tensor.shape[1:]) for tensor in crossing)


def leading(model, before):
    """Number of layers after the input that lie before a boundary without a gap."""
    return sum(1 for _ in itertools.takewhile(lambda x: id(x) in before, model.layers[1:]))


@settings(max_examples=25)
@given(PLANS, st.floats(0, 1))
def test_no_boundary_is_cheaper_than_the_cut(plan, fraction):
    model = draw_graph(plan)
    depth = round(fraction * len(model.layers))
    apply_freeze_depth(model, depth)
    assert find_cut(model, depth).values == min(values for _, values in boundaries(model, depth))


@settings(max_examples=25)
@given(PLANS, st.floats(0, 1), st.integers(0, 150))
def test_no_affordable_boundary_leaves_fewer_layers_behind(plan, fraction, more):
    model = draw_graph(plan)
    depth = round(fraction * len(model.layers))
    apply_freeze_depth(model, depth)
    found = [(leading(model, b), values) for b, values in boundaries(model, depth)]
    cheapest = min(values for _, values in found)
    affordable = cheapest + more
    cut = find_cut(model, depth, affordable=affordable)
    prefix, _ = split(model, cut.tensors)
    assert cut.values <= affordable
    behind = leading(model, {id(layer) for layer in prefix.layers})
    assert behind == max(lead for lead, values in found if values <= affordable)
    # Where no boundary is affordable it is the cheapest.
    assert find_cut(model, depth, affordable=cheapest - 1).values == cheapest


@settings(max_examples=25)
@given(PLANS, st.floats(0, 1), st.sampled_from([0, 40, 100, 1000]))
def test_any_graph_computes_the_same_when_split(plan, fraction, affordable):
    model = draw_graph(plan)
    depth = round(fraction * len(model.layers))
    apply_freeze_depth(model, depth)
    cut = find_cut(model, depth, affordable=affordable)
    assert 0 <= cut.depth <= depth
    assert cut.values <= max(affordable, find_cut(model, depth).values)
    prefix, suffix = split(model, cut.tensors)
    x = images(model, 3)
    np.testing.assert_array_equal(suffix(prefix(x)), model(x))


def test_a_cut_is_a_plain_value():
    assert Cut(depth=1, tensors=(), values=0) == Cut(depth=1, tensors=(), values=0, limit=None)


def test_what_an_extractor_gives_does_not_depend_on_what_is_frozen():
    layers = [keras.layers.Conv2D(8, 3, name="conv"), keras.layers.BatchNormalization(name="norm")]
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    norm = model.get_layer("norm")
    norm.moving_mean.assign(np.linspace(-0.3, 0.4, 8))
    norm.moving_variance.assign(np.linspace(0.3, 1.7, 8))
    images = np.random.default_rng(0).uniform(0, 255, (20, 16, 16, 3)).astype("float32")
    said = []
    for frozen in (True, False):
        norm.trainable = not frozen
        said.append(np.asarray(extractor(model)(images)[0]))
    assert np.array_equal(*said)
