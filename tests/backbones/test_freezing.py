"""Freeze depth: what counts as a layer, how depths are said, what applying them does."""

from functools import cache

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.backbones.freezing import (
    Block,
    apply_freeze_depth,
    blocks,
    default_depths,
    describe,
    leaf_layers,
    resolve_depth,
    shallowest,
)
from finetune.compat import all_layers, own_variables
from finetune.exceptions import ArgumentError, FreezeDepthError


class Encoder(keras.layers.Layer):
    """A transformer block with an inner multi-layer perceptron."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
        self.mlp = keras.Sequential(
            [keras.layers.Dense(16, activation="gelu"), keras.layers.Dense(8)], name="mlp"
        )

    def build(self, shape):
        self.norm.build(shape)
        self.attention.build(shape, shape)
        self.mlp.build(shape)

    def call(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y)
        return x + self.mlp(x)


class Tokens(keras.layers.Layer):
    """Patches with a class token and position embeddings of its own."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.patches = keras.layers.Conv2D(8, 4, 4, name="patches")
        self.flatten = keras.layers.Reshape((-1, 8), name="flatten")

    def build(self, shape):
        self.patches.build(shape)
        self.flatten.build(self.patches.compute_output_shape(shape))
        count = (shape[1] // 4) * (shape[2] // 4) + 1
        self.token = self.add_weight(shape=(1, 1, 8), name="token")
        self.positions = self.add_weight(shape=(1, count, 8), name="positions")

    def call(self, x):
        x = self.flatten(self.patches(x))
        token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([token, x], axis=1) + self.positions


def build_vit() -> keras.Model:
    x = inputs = keras.Input((8, 8, 3), name="images")
    x = Tokens(name="tokens")(x)
    for i in range(3):
        x = Encoder(name=f"encoder_{i}")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, x, name="vit")


def build_mobilenet() -> keras.Model:
    return keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35
    )


def build_residual() -> keras.Model:
    """A residual net without names that tell its blocks."""
    x = inputs = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(4, 3, padding="same", name="a")(x)
    x = keras.layers.BatchNormalization(name="b")(x)
    for first, second, norm, add, act in ("cdefg", "hijkl"):
        y = keras.layers.Conv2D(4, 3, padding="same", name=first)(x)
        y = keras.layers.Conv2D(4, 3, padding="same", name=second)(y)
        y = keras.layers.BatchNormalization(name=norm)(y)
        x = keras.layers.Add(name=add)([x, y])
        x = keras.layers.ReLU(name=act)(x)
    return keras.Model(inputs, x, name="residual")


def build_nested() -> keras.Model:
    x = inputs = keras.Input((32, 32, 3), name="images")
    x = build_mobilenet()(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="features")(x), name="nested")


BUILDERS = {
    "mobilenet": build_mobilenet,
    "nested": build_nested,
    "residual": build_residual,
    "vit": build_vit,
}


@cache
def shared(name: str) -> keras.Model:
    """One model per kind for the tests that set its flags anew; never trained."""
    return BUILDERS[name]()


@pytest.fixture(scope="module", autouse=True)
def built():
    """Making layers draws random numbers, which examples of a strategy must not depend on."""
    for name in BUILDERS:
        shared(name)


def trainable_flags(model: keras.Model) -> list[bool]:
    return [layer.trainable for layer in leaf_layers(model)]


def count(variables) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)


def has_parameters(layer) -> bool:
    return any(own_variables(part) for part in all_layers(layer))


def is_batch_norm(layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


# What counts as a layer


def test_layers_of_a_plain_model_are_its_own():
    model = shared("mobilenet")
    assert leaf_layers(model) == model.layers
    assert len(leaf_layers(model)) == 154


def test_layers_of_an_inner_model_stand_in_its_place():
    model = shared("nested")
    inner = model.layers[1]
    assert leaf_layers(model) == [model.layers[0], *inner.layers[1:], *model.layers[2:]]


def test_composite_layers_are_expanded_and_those_of_keras_are_not():
    assert [layer.name for layer in leaf_layers(shared("vit"))][:8] == [
        "images",
        "patches",
        "flatten",
        "norm",
        "attention",
        *[layer.name for layer in shared("vit").get_layer("encoder_0").mlp.layers],
        "norm",
    ]


def test_a_layer_used_twice_counts_once():
    dense = keras.layers.Dense(4, name="twice")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, dense(keras.layers.ReLU()(dense(inputs))))
    assert leaf_layers(model) == model.layers
    assert blocks(model)[-1].end == 3


# Blocks


def build_small(name: str, size: int = 32) -> keras.Model:
    constructor = getattr(keras.applications, name)
    return constructor(weights=None, include_top=False, input_shape=(size, size, 3))


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("MobileNet", 32, {"stem": 4, "block_1": 10, "block_2": 17, "block_13": 86}),
        ("MobileNetV3Small", 32, {"stem": 5, "expanded_conv_2": 35, "tail": 157}),
        ("EfficientNetB0", 32, {"stem": 7, "block1a": 17, "block2b": 46, "tail": 237}),
        ("ConvNeXtTiny", 32, {"stem": 4, "stage_0_block_0": 11, "downsampling_0": 27}),
        ("ResNet50", 32, {"stem": 7, "conv2_block1": 19, "conv4_block3": 113}),
        ("ResNet50V2", 32, {"stem": 5, "conv2_block3": 40, "tail": 190}),
        ("DenseNet121", 32, {"stem": 7, "conv2_block1": 14, "pool2": 53, "tail": 427}),
        ("InceptionV3", 75, {"stem": 18, "mixed0": 41, "mixed9": 280, "mixed10": 311}),
        ("Xception", 71, {"block1": 7, "block2": 16, "block13": 126, "block14": 132}),
        ("VGG16", 32, {"block1": 4, "block2": 7, "block5": 19}),
        ("NASNetMobile", 32, {"stem": 3, "cell_stem_1": 54, "cell_reduce_4": 348, "cell_12": 769}),
    ],
)
def test_blocks_carry_the_names_of_their_family(name, size, expected):
    model = build_small(name, size)
    found = blocks(model)
    ends = {block.name: block.end for block in found}
    assert expected.items() <= ends.items()
    assert found[0].name == next(iter(expected))
    layers = leaf_layers(model)
    assert found[-1].end == len(layers)
    assert [block.end for block in found] == sorted(ends.values())
    # Closing layers belong to their block, so none of them begins the next one.
    begins = [layers[end] for end in expected.values() if end < len(layers)]
    closing = keras.layers.Add | keras.layers.Concatenate
    assert begins and not [layer.name for layer in begins if isinstance(layer, closing)]


def test_blocks_of_mobilenet_v2():
    assert blocks(shared("mobilenet")) == [
        Block("stem", 4),
        Block("expanded_conv", 9),
        *[
            Block(f"block_{i}", end)
            for i, end in enumerate(
                [18, 27, 36, 45, 54, 63, 72, 81, 90, 98, 107, 116, 125, 134, 143, 151], start=1
            )
        ],
        Block("tail", 154),
    ]


def test_blocks_of_an_inner_model_keep_their_names():
    ends = {block.name: block.end for block in blocks(shared("nested"))}
    assert ends["block_10"] == 98
    assert ends["tail"] == 156


def test_composite_layers_are_blocks():
    assert blocks(shared("vit")) == [
        Block("tokens", 3),
        Block("encoder_0", 7),
        Block("encoder_1", 11),
        Block("encoder_2", 16),
    ]


def test_an_encoder_that_holds_most_layers_is_not_one_block():
    class Stack(keras.layers.Layer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.inner = [Encoder(name=f"part_{i}") for i in range(3)]

        def build(self, shape):
            for layer in self.inner:
                layer.build(shape)

        def call(self, x):
            for layer in self.inner:
                x = layer(x)
            return x

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Stack(name="stack")(Tokens(name="tokens")(inputs)))
    assert [block.name for block in blocks(model)] == ["tokens", "part_0", "part_1", "part_2"]


class Half(keras.layers.Layer):
    """Two dense layers."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.first = keras.layers.Dense(4, name="first")
        self.second = keras.layers.Dense(4, name="second")

    def call(self, x):
        return self.second(self.first(x))


def test_what_holds_half_of_the_layers_is_a_block():
    inputs = keras.Input((4,))
    model = keras.Sequential([Half(name="lower"), Half(name="upper")])
    model.build((None, 4))
    assert blocks(model) == [Block("lower", 2), Block("upper", 4)]
    named = keras.Model(inputs, Half(name="upper")(Half(name="lower")(inputs)))
    assert blocks(named) == [Block("lower", 3), Block("upper", 5)]  # with the input


def test_a_sequential_model_is_cut_where_one_tensor_crosses_within_the_model_in_it():
    inner = build_residual()
    model = keras.Sequential([keras.Input((8, 8, 3)), inner])
    assert [block.end for block in blocks(model)] == [2, 7, 12]  # without the input of the inner


def test_blocks_without_names_end_where_one_tensor_crosses():
    assert blocks(shared("residual")) == [
        Block("block_1", 3),
        Block("block_2", 8),
        Block("block_3", 13),
    ]


def test_additions_written_as_operators_close_their_block():
    x = inputs = keras.Input((8,))
    for i in range(2):
        x = x + keras.layers.Dense(8, name=f"out_{i}")(keras.layers.Dense(4, name=f"in_{i}")(x))
    assert blocks(keras.Model(inputs, x)) == [Block("block_1", 3), Block("block_2", 5)]


def test_a_model_without_kernels_is_one_block():
    model = keras.Sequential([keras.Input((8,)), keras.layers.ReLU()])
    assert blocks(model) == [Block("block_1", 1)]


def test_a_subclassed_model_has_blocks_too():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(4)
            self.act = keras.layers.ReLU()
            self.second = keras.layers.Dense(2)

        def call(self, x):
            return self.second(self.act(self.first(x)))

    model = Net()
    model(np.zeros((1, 3), "float32"))
    assert blocks(model) == [Block("block_1", 2), Block("block_2", 3)]


# Saying a depth


@pytest.mark.parametrize(
    ("freeze_depth", "expected"),
    [
        (0, 0),
        (154, 154),
        (np.int64(7), 7),
        (0.0, 0),
        (1.0, 154),
        (0.65, 100),
        (np.float32(0.5), 77),
        ("block_10", 98),
        ("stem", 4),
        ("tail", 154),
        ("block_10_expand_relu", 93),
        ("Conv1", 2),
    ],
)
def test_a_depth_is_a_number_a_fraction_or_a_name(freeze_depth, expected):
    assert resolve_depth(shared("mobilenet"), freeze_depth) == expected


@pytest.mark.parametrize(
    ("freeze_depth", "expected"),
    [("encoder_1", 11), ("encoder_1/attention", 9), ("encoder_1/mlp", 11), ("pool", 16)],
)
def test_layers_within_others_are_named_by_their_path(freeze_depth, expected):
    assert resolve_depth(shared("vit"), freeze_depth) == expected


def test_an_inner_model_is_named_as_a_whole():
    model = shared("nested")
    assert resolve_depth(model, model.layers[1].name) == 154


@pytest.mark.parametrize("freeze_depth", [-1, 155, -0.1, 1.5, 100.0, float("nan"), float("inf")])
def test_depths_outside_the_model_are_refused(freeze_depth):
    with pytest.raises(FreezeDepthError) as caught:
        resolve_depth(shared("mobilenet"), freeze_depth)
    assert str(caught.value) == (
        f"Freeze depth {freeze_depth!r} is outside the model. Expected a number of layers from 0 "
        "to 154, a fraction from 0.0 to 1.0, or the name of a layer or block; an integer counts "
        "layers, a float is a fraction."
    )


@pytest.mark.parametrize("freeze_depth", [True, None, [3], 1j, b"stem"])
def test_depths_of_another_type_are_refused(freeze_depth):
    with pytest.raises(FreezeDepthError) as caught:
        resolve_depth(shared("mobilenet"), freeze_depth)
    assert str(caught.value) == (
        "Expected a number of layers from 0 to 154, a fraction from 0.0 to 1.0, or the name of a "
        f"layer or block. Received: {freeze_depth!r} of type {type(freeze_depth).__name__}."
    )


def test_an_unknown_name_gives_the_nearest_and_the_blocks():
    with pytest.raises(FreezeDepthError) as caught:
        resolve_depth(shared("residual"), "blok_2")
    assert str(caught.value) == (
        "Freeze depth 'blok_2' names no layer or block. Nearest: block_2, block_3, block_1. "
        "Blocks: block_1, block_2, block_3."
    )


def test_a_name_like_no_other_gives_the_blocks():
    with pytest.raises(FreezeDepthError, match=r"^Freeze depth 'Ω' names no .*block\. Blocks: "):
        resolve_depth(shared("residual"), "Ω")


def test_a_name_of_several_layers_asks_for_a_path():
    with pytest.raises(FreezeDepthError) as caught:
        resolve_depth(shared("vit"), "attention")
    assert str(caught.value) == (
        "Freeze depth 'attention' names 3 layers. Name one by its path: encoder_0/attention, "
        "encoder_1/attention, encoder_2/attention."
    )


@pytest.mark.parametrize("name", BUILDERS)
def test_numbers_fractions_and_blocks_agree(name):
    model = shared(name)
    layers = len(leaf_layers(model))
    for depth in range(layers + 1):
        assert resolve_depth(model, depth) == resolve_depth(model, depth / layers) == depth
    for block in blocks(model):
        assert resolve_depth(model, block.name) == block.end


# Applying a depth


@st.composite
def models_and_depths(draw):
    model = shared(draw(st.sampled_from(sorted(BUILDERS))))
    depths = st.integers(0, len(leaf_layers(model)))
    return model, draw(depths), draw(depths)


@settings(max_examples=60)
@given(models_and_depths(), st.sampled_from(["frozen", "adapt"]))
def test_exactly_the_layers_above_the_depth_train(model_and_depths, batch_norm):
    model, depth, _ = model_and_depths
    apply_freeze_depth(model, depth, batch_norm=batch_norm)
    for index, layer in enumerate(leaf_layers(model)):
        expected = index >= depth and (batch_norm == "adapt" or not is_batch_norm(layer))
        assert layer.trainable == expected
        assert bool(layer.trainable_variables) == (expected and has_parameters(layer))
    assert count(model.trainable_variables) == (
        describe(model, depth, batch_norm=batch_norm).trainable_parameters
    )


@settings(max_examples=60)
@given(models_and_depths())
def test_deeper_freezing_trains_no_more_parameters(model_and_depths):
    model, *depths = model_and_depths
    shallow, deep = (describe(model, depth) for depth in sorted(depths))
    assert shallow.trainable_parameters >= deep.trainable_parameters
    assert shallow.total_parameters == deep.total_parameters == model.count_params()


@settings(max_examples=40)
@given(models_and_depths())
def test_only_the_last_depth_applied_counts(model_and_depths):
    model, first, second = model_and_depths
    apply_freeze_depth(model, second)
    expected = trainable_flags(model), [v.path for v in model.trainable_variables]
    apply_freeze_depth(model, first, batch_norm="adapt")
    apply_freeze_depth(model, second)
    assert (trainable_flags(model), [v.path for v in model.trainable_variables]) == expected


def test_layers_frozen_one_by_one_train_again():
    model = build_residual()
    for layer in model.layers:
        layer.trainable = False
    apply_freeze_depth(model, 0)
    assert [layer.trainable for layer in model.layers if not is_batch_norm(layer)] == [True] * 10


def test_a_model_frozen_as_a_whole_trains_again():
    model = build_nested()
    model.trainable = False
    apply_freeze_depth(model, 150)
    assert model.trainable
    assert count(model.trainable_variables) == describe(model, 150).trainable_parameters > 0


def test_parts_of_keras_own_composite_layers_train_again():
    model = build_vit()
    attention = model.get_layer("encoder_2").attention
    attention._query_dense.trainable = False
    apply_freeze_depth(model, 0)
    assert len(attention.trainable_variables) == 8


def test_variables_of_a_composite_layer_go_with_its_first_inner_layer():
    model = build_vit()
    tokens = model.get_layer("tokens")
    apply_freeze_depth(model, 1)
    assert [v.name for v in tokens.trainable_variables] == [
        "token",
        "positions",
        "kernel",
        "bias",
    ]
    apply_freeze_depth(model, 2)
    assert tokens.trainable
    assert tokens.trainable_variables == []


def test_batch_norm_within_a_wrapper_stays_frozen():
    inputs = keras.Input((2, 4))
    wrapped = keras.layers.TimeDistributed(keras.layers.BatchNormalization())
    model = keras.Model(inputs, wrapped(inputs))
    apply_freeze_depth(model, 0)
    assert model.trainable_variables == []
    apply_freeze_depth(model, 0, batch_norm="adapt")
    assert len(model.trainable_variables) == 2


@pytest.mark.parametrize(("batch_norm", "moved"), [("frozen", 0), ("adapt", 2)])
def test_statistics_move_only_where_they_may(batch_norm, moved):
    model = build_residual()
    apply_freeze_depth(model, 3, batch_norm=batch_norm)
    norms = [layer for layer in model.layers if is_batch_norm(layer)]
    before = [np.array(layer.moving_mean) for layer in norms]
    frozen_kernel = np.array(model.get_layer("a").kernel)
    model.compile("sgd", "mse")
    images = np.random.default_rng(0).normal(3, 1, (4, 8, 8, 3)).astype("float32")
    model.fit(images, np.zeros((4, 8, 8, 4)), verbose=0)
    changed = [not np.array_equal(b, n.moving_mean) for b, n in zip(before, norms, strict=True)]
    assert changed == [False] + [bool(moved)] * 2
    np.testing.assert_array_equal(model.get_layer("a").kernel, frozen_kernel)


def test_applying_refuses_what_is_no_depth():
    with pytest.raises(FreezeDepthError, match="is outside the model"):
        apply_freeze_depth(shared("residual"), 14)


@pytest.mark.parametrize("function", [apply_freeze_depth, describe])
def test_batch_norm_must_be_frozen_or_adapt(function):
    with pytest.raises(ArgumentError) as caught:
        function(shared("residual"), 3, batch_norm=True)
    assert str(caught.value) == "`batch_norm` must be 'frozen' or 'adapt'. Received: True."


# Describing and choosing depths


@pytest.mark.parametrize(
    ("depth", "block", "partly", "text"),
    [
        (0, None, False, "0 of 154 layers frozen, everything trains; 382,048 of 410,208"),
        (98, "block_10", False, "98 of 154 layers frozen, up to block_10; 330,800 of 410,208"),
        (100, "block_11", True, "100 of 154 layers frozen, up to block_11 (partly); "),
        (154, "tail", False, "154 of 154 layers frozen, head only; 0 of 410,208"),
    ],
)
def test_a_description_names_the_block_and_what_trains(depth, block, partly, text):
    description = describe(shared("mobilenet"), depth)
    assert (description.depth, description.layers) == (depth, 154)
    assert (description.block, description.partly) == (block, partly)
    assert str(description).startswith(text)
    assert str(description).endswith(" parameters train")


def test_default_depths_are_block_ends_from_everything_to_head_only():
    model = shared("mobilenet")
    assert default_depths(model) == [0, 36, 81, 116, 154]
    assert default_depths(model, 2) == [0, 154]
    every = default_depths(model, 100)
    assert every == [0, *(block.end for block in blocks(model))]


@pytest.mark.parametrize("name", BUILDERS)
def test_default_depths_each_train_fewer_parameters(name):
    model = shared(name)
    trained = [describe(model, depth).trainable_parameters for depth in default_depths(model)]
    assert trained == sorted(set(trained), reverse=True)
    assert trained[-1] == 0


def test_a_model_without_parameters_has_one_depth():
    assert default_depths(keras.Sequential([keras.Input((8,)), keras.layers.ReLU()])) == [0]


@pytest.mark.parametrize("count", [1, 0, 2.5, True])
def test_too_few_default_depths_are_refused(count):
    with pytest.raises(ArgumentError) as caught:
        default_depths(shared("residual"), count)
    assert str(caught.value) == f"`count` must be an integer of at least 2. Received: {count!r}."


def test_the_shallowest_depths_are_kept_and_the_head_alone_is_not():
    assert shallowest([154, 0, 116, 36, 81], 154) == (0, 36, 81)
    assert shallowest([0, 36, 81, 116, 154], 154, keep=2) == (0, 36)
    assert shallowest([116, 154], 154) == (116,)
    assert shallowest([36, 36, 81], 154, keep=5) == (36, 81)


def test_the_head_alone_is_kept_where_it_is_the_only_choice():
    assert shallowest([154], 154) == (154,)


def test_a_number_of_depths_that_keeps_none_is_refused():
    with pytest.raises(ArgumentError, match=r"Expected keep of 1 or more depths, received 0\."):
        shallowest([0, 36], 154, keep=0)
    with pytest.raises(ArgumentError, match=r"received 1\.5\."):
        shallowest([0, 36], 154, keep=1.5)
    with pytest.raises(ArgumentError, match="Expected at least one freeze depth"):
        shallowest([], 154)
