import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from cutting import find_cut
from finetune.backbones.freezing import apply_freeze_depth
from finetune.compat import all_layers
from finetune.reuse.cuts import split
from finetune.reuse.fold import FoldedBatchNorm, fold_batch_norm
from finetune.reuse.inference import in_inference_mode
from finetune.reuse.rewriting import RewrittenModel


def folds(model):
    """Names of the batch norms that were folded."""
    if not isinstance(model, RewrittenModel):
        return []
    operations = model.get_graph().operations
    return sorted(item.name for item in operations if isinstance(item, FoldedBatchNorm))


def freeze_batch_norm(model):
    for layer in all_layers(model)[1:]:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    return model


def sample(model, count=4):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (count, *model.inputs[0].shape[1:])).astype("float32")


def seeds(model):
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def loss_and_gradients(model, x, variables):
    """One training step's loss and gradients, with the same dropout every time."""
    for seed in seeds(model):
        seed.assign([0, 7])
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        target = tf.cos(tf.range(tf.size(outputs), dtype="float32"))
        loss = tf.reduce_mean((tf.reshape(outputs, [-1]) - target) ** 2) + sum(model.losses)
    return loss, tape.gradient(loss, [variable.value for variable in variables])


def difference(found, expected):
    """Largest difference, relative to the largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12)


def assert_same_step(folded, model, x, folded_x=None, tolerance=1e-4):
    variables = model.trainable_variables
    loss, expected = loss_and_gradients(model, x, variables)
    folded_loss, found = loss_and_gradients(folded, x if folded_x is None else folded_x, variables)
    assert difference(folded_loss, loss) < tolerance
    # A gradient that is zero in theory, as before a normalization, is noise in both.
    noise = 1e-6 * max(np.abs(gradient).max() for gradient in expected)
    for variable, one, other in zip(variables, found, expected, strict=True):
        error = np.abs(np.asarray(one) - np.asarray(other)).max()
        assert error <= tolerance * np.abs(other).max() + noise, variable.path


# --- what is folded -----------------------------------------------------------------------------

IMAGE, LINE, VOLUME, VECTOR = (8, 8, 4), (8, 4), (4, 6, 6, 4), (5,)
LINEAR = {
    "conv1d": (LINE, lambda: layers.Conv1D(6, 3)),
    "conv2d": (IMAGE, lambda: layers.Conv2D(6, 3)),
    "conv2d without bias": (IMAGE, lambda: layers.Conv2D(6, 3, use_bias=False)),
    "conv2d same": (IMAGE, lambda: layers.Conv2D(6, 3, padding="same")),
    "conv2d strided": (IMAGE, lambda: layers.Conv2D(6, 3, strides=2, padding="same")),
    "conv2d dilated": (IMAGE, lambda: layers.Conv2D(6, 3, dilation_rate=2)),
    "conv2d grouped": (IMAGE, lambda: layers.Conv2D(6, 3, groups=2)),
    "conv3d": (VOLUME, lambda: layers.Conv3D(6, 3)),
    "pointwise1d": (LINE, lambda: layers.Conv1D(6, 1)),
    "pointwise2d": (IMAGE, lambda: layers.Conv2D(6, 1)),
    "pointwise2d without bias": (IMAGE, lambda: layers.Conv2D(6, 1, use_bias=False)),
    "pointwise2d strided": (IMAGE, lambda: layers.Conv2D(6, 1, strides=2)),
    "pointwise3d": (VOLUME, lambda: layers.Conv3D(6, 1)),
    "depthwise1d": (LINE, lambda: layers.DepthwiseConv1D(3)),
    "depthwise2d": (IMAGE, lambda: layers.DepthwiseConv2D(3, padding="same")),
    "depthwise2d without bias": (IMAGE, lambda: layers.DepthwiseConv2D(3, use_bias=False)),
    "depthwise2d strided": (IMAGE, lambda: layers.DepthwiseConv2D(3, strides=2)),
    "depthwise2d dilated": (IMAGE, lambda: layers.DepthwiseConv2D(3, dilation_rate=2)),
    "depthwise2d multiplied": (IMAGE, lambda: layers.DepthwiseConv2D(3, depth_multiplier=3)),
    "separable1d": (LINE, lambda: layers.SeparableConv1D(6, 3)),
    "separable2d": (IMAGE, lambda: layers.SeparableConv2D(6, 3, depth_multiplier=2)),
    "dense": (VECTOR, lambda: layers.Dense(6)),
    "dense without bias": (VECTOR, lambda: layers.Dense(6, use_bias=False)),
    "dense on images": (IMAGE, lambda: layers.Dense(6)),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_folds_every_kind_of_linear_layer(kind, randomize):
    shape, make = LINEAR[kind]
    x = keras.Input(shape)
    linear = make()
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(linear(x)))
    model = freeze_batch_norm(randomize(keras.Model(x, y)))
    if linear.use_bias:
        linear.bias.assign(np.random.default_rng(1).normal(size=linear.bias.shape))
    folded = fold_batch_norm(model)
    assert folds(folded) == ["norm"]
    assert folded(sample(model)).shape == model(sample(model)).shape
    assert folded.output_shape == model.output_shape
    assert_same_step(folded, model, sample(model))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_folds_batch_norm_without_gamma_or_beta(center, scale, randomize):
    norm = layers.BatchNormalization(center=center, scale=scale, epsilon=0.1, name="norm")
    model = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(3, 3), norm])
    folded = fold_batch_norm(freeze_batch_norm(randomize(model)))
    assert folds(folded) == ["norm"]
    assert_same_step(folded, model, sample(model))


def test_folds_behind_a_frozen_layer_too(randomize):
    model = keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.Conv2D(3, 3, trainable=False),
            layers.BatchNormalization(name="norm", trainable=False),
            layers.Dense(2),
        ]
    )
    folded = fold_batch_norm(randomize(model))
    assert folds(folded) == ["norm"]
    assert_same_step(folded, model, sample(model))


def build_unfoldable(kind):
    x = keras.Input(IMAGE)
    norm = layers.BatchNormalization(name="norm", trainable=kind == "trainable norm")
    conv = layers.Conv2D(4, 3, padding="same")
    if kind == "activation":
        conv = layers.Conv2D(4, 3, activation="relu")
    elif kind == "activity loss":
        conv = layers.Conv2D(4, 3, activity_regularizer="l2")
    elif kind == "transposed":
        conv = layers.Conv2DTranspose(4, 3)
    elif kind == "other axis":
        norm = layers.BatchNormalization(axis=1, name="norm", trainable=False)
    y = conv(x)
    if kind == "padding between":
        return keras.Model(x, norm(layers.ZeroPadding2D()(y)))
    if kind == "second consumer":
        return keras.Model(x, layers.Add()([norm(y), y]))
    if kind == "output of the model":
        return keras.Model(x, [norm(y), y])
    if kind == "shared convolution":
        return keras.Model(x, layers.Add()([norm(y), conv(y)]))
    if kind == "shared norm":
        return keras.Model(x, norm(layers.Conv2D(4, 3, padding="same")(norm(y))))
    if kind == "norm first":
        return keras.Model(x, conv(norm(x)))
    return keras.Model(x, norm(y))


@pytest.mark.parametrize(
    "kind",
    [
        "trainable norm",
        "activation",
        "activity loss",
        "transposed",
        "other axis",
        "padding between",
        "second consumer",
        "output of the model",
        "shared convolution",
        "shared norm",
        "norm first",
    ],
)
def test_leaves_alone_what_cannot_be_folded(kind):
    model = build_unfoldable(kind)
    assert fold_batch_norm(model) is model


def test_leaves_a_subclassed_model_alone():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    model = Own()
    assert fold_batch_norm(model) is model


def test_folds_within_inner_models(randomize):
    x = keras.Input(IMAGE)
    inner = keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(3, 3), layers.BatchNormalization(name="norm")]
    )
    model = freeze_batch_norm(randomize(keras.Model(x, layers.Dense(2)(inner(x)))))
    folded = fold_batch_norm(model)
    assert folds(folded) == ["norm"]
    assert [layer.name for layer in folded.layers] == [layer.name for layer in model.layers]
    assert_same_step(folded, model, sample(model))


# --- the folded model is the model -------------------------------------------------------------


def small_model():
    """Everything that matters around a fold: branches, dropout, a weight loss."""
    x = keras.Input(IMAGE)
    y = layers.Conv2D(6, 3, padding="same", kernel_regularizer="l2", name="conv1")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization(name="norm1")(y))
    left = layers.Conv2D(6, 3, padding="same", name="conv2")(y)
    left = layers.Dropout(0.5, name="dropout")(layers.BatchNormalization(name="norm2")(left))
    right = layers.Dense(6, name="dense")(y)
    y = layers.BatchNormalization(name="norm3")(layers.Add()([left, right]))
    y = layers.GlobalAveragePooling2D()(keras.ops.relu(y))
    return keras.Model(x, layers.Dense(3, name="top")(y), name="small")


@pytest.fixture
def model(randomize):
    keras.utils.set_random_seed(3)
    return freeze_batch_norm(randomize(small_model()))


def test_folded_model_has_the_same_variables_layers_and_ends(model):
    folded = fold_batch_norm(model)
    assert folds(folded) == ["norm1", "norm2"]
    for name in ("variables", "trainable_variables", "non_trainable_variables", "layers"):
        found, expected = getattr(folded, name), getattr(model, name)
        assert [id(item) for item in found] == [id(item) for item in expected], name
    assert folded.inputs == model.inputs
    assert folded.outputs == model.outputs
    assert folded.name == "small"


def test_folded_model_has_the_same_loss_and_gradients(model):
    assert_same_step(fold_batch_norm(model), model, sample(model))


def test_dropout_acts_in_training_only(model):
    folded, x = fold_batch_norm(model), sample(model)
    np.testing.assert_array_equal(folded(x), folded(x, training=False))
    assert difference(folded(x, training=True), folded(x)) > 1e-3


def test_frozen_statistics_do_not_move(model):
    before = [np.array(variable) for variable in model.non_trainable_weights]
    fold_batch_norm(model)(sample(model), training=True)
    for variable, value in zip(model.non_trainable_weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_batch_norm_that_adapts_still_does(model):
    model.get_layer("norm3").trainable = True
    folded = fold_batch_norm(model)
    mean = model.get_layer("norm3").moving_mean
    before = np.array(mean)
    folded(sample(model))
    np.testing.assert_array_equal(mean, before)
    folded(sample(model), training=True)
    assert difference(mean, before) > 1e-3


@pytest.mark.parametrize("name", ["gamma", "beta", "moving_mean", "moving_variance"])
def test_folded_model_reads_changed_variables(model, name):
    folded, x = fold_batch_norm(model), sample(model)
    before = np.array(folded(x))
    variable = getattr(model.get_layer("norm1"), name)
    variable.assign(variable * 2 + 1)
    assert difference(folded(x), before) > 1e-3
    assert difference(folded(x), model(x)) < 1e-5


def test_weight_losses_count_once(model):
    folded = fold_batch_norm(model)
    assert len(folded.losses) == 1
    np.testing.assert_array_equal(folded.losses[0], model.losses[0])


def test_folded_model_can_be_called_within_another_model(model):
    x = keras.Input(IMAGE)
    outer = keras.Model(x, layers.Softmax()(fold_batch_norm(model)(x)))
    value = sample(model)
    assert difference(outer(value), keras.ops.softmax(model(value))) < 1e-5


def test_several_inputs_in_a_dictionary(randomize):
    inputs = {name: keras.Input(IMAGE, name=name) for name in ("left", "right")}
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same")(inputs["left"]))
    outputs = {"sum": layers.Add()([y, inputs["right"]]), "norm": y}
    model = freeze_batch_norm(randomize(keras.Model(inputs, outputs)))
    rng = np.random.default_rng(0)
    value = {name: rng.normal(size=(2, *IMAGE)).astype("float32") for name in inputs}
    found, expected = fold_batch_norm(model)(value), model(value)
    assert set(found) == {"sum", "norm"}
    for name in expected:
        assert difference(found[name], expected[name]) < 1e-5


def test_mixed_precision_computes_in_the_layers_dtype(randomize):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = freeze_batch_norm(randomize(small_model()))
        folded = fold_batch_norm(model)
    finally:
        keras.config.set_dtype_policy("float32")
    x = sample(model)
    found, expected = folded(x), model(x)
    assert found.dtype == expected.dtype == tf.bfloat16
    assert folded.trainable_variables[0].dtype == "float32"
    assert difference(tf.cast(found, "float32"), tf.cast(expected, "float32")) < 0.03


def test_fit_and_predict(model):
    x, y = sample(model, 8), np.arange(8) % 3
    model.get_layer("dropout").rate = 0.0
    start = [np.array(variable) for variable in model.weights]
    losses, predictions = [], []
    for each in (model, fold_batch_norm(model)):
        for variable, value in zip(model.weights, start, strict=True):
            variable.assign(value)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        each.compile(keras.optimizers.SGD(0.1), loss)
        history = each.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
        predictions.append(each.predict(x, verbose=0))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert difference(predictions[1], predictions[0]) < 1e-3


# --- proofs on real architectures -----------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("fraction", [pytest.param(0.0, marks=pytest.mark.slow), pytest.param(0.7)])
def test_split_and_folded_step_equals_the_full_one(architecture, fraction):
    depth = round(fraction * len(architecture.layers))
    apply_freeze_depth(architecture, depth)
    prefix, suffix = split(architecture, find_cut(architecture, depth, affordable=10**6).tensors)
    x = sample(architecture, 2)
    assert_same_step(fold_batch_norm(suffix), in_inference_mode(architecture), x, prefix(x))


@pytest.mark.parametrize("family", ["MobileNetV2", "ResNet50"])
def test_every_batch_norm_behind_a_convolution_is_folded(family):
    body = getattr(keras.applications, family)(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    freeze_batch_norm(body)
    norms = [x.name for x in body.layers if isinstance(x, layers.BatchNormalization)]
    assert folds(fold_batch_norm(body)) == sorted(norms)


OPTIMIZERS = {
    "sgd": (lambda: keras.optimizers.SGD(0.01, momentum=0.9), 1e-3),
    "adam": (lambda: keras.optimizers.Adam(1e-4), 1e-3),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", [pytest.param("sgd", marks=pytest.mark.slow), "adam"])
def test_weights_are_equal_after_twenty_steps(mobilenet, name):
    make, tolerance = OPTIMIZERS[name]
    apply_freeze_depth(mobilenet, 116)
    prefix, suffix = split(mobilenet, find_cut(mobilenet, 116).tensors)
    start = [np.array(variable) for variable in mobilenet.weights]
    batches = np.random.default_rng(0).uniform(-1, 1, (20, 4, *mobilenet.inputs[0].shape[1:]))
    labels = np.array([0, 1, 2, 0])
    results = []
    try:
        for model, prepare in ((mobilenet, lambda x: x), (fold_batch_norm(suffix), prefix)):
            for variable, value in zip(mobilenet.weights, start, strict=True):
                variable.assign(value)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(make(), loss)
            for batch in batches:
                model.train_on_batch(np.asarray(prepare(batch.astype("float32"))), labels)
            results.append([np.array(variable) for variable in mobilenet.trainable_variables])
        moved = [difference(end, variable) for end, variable in zip(*results, strict=True)]
        assert max(moved) < tolerance
        first = mobilenet.trainable_variables[0]
        before = next(v for v, w in zip(start, mobilenet.weights, strict=True) if w is first)
        assert difference(results[0][0], before) > 10 * moved[0]
    finally:
        for variable, value in zip(mobilenet.weights, start, strict=True):
            variable.assign(value)


# --- laws -------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["conv", "depthwise", "dense", "norm", "relu", "add", "concat"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    min_size=3,
    max_size=8,
)


@settings(max_examples=20)
@given(STEPS)
def test_any_graph_computes_the_same_when_folded(plan):
    x = keras.Input((4, 4, 2))
    tensors = [x]
    for kind, choice, flag in plan:
        source = tensors[-1] if flag else tensors[choice % len(tensors)]
        other = tensors[choice % len(tensors)]
        if kind == "conv":
            source = layers.Conv2D(2, 3, padding="same", use_bias=flag)(source)
        elif kind == "depthwise":
            source = layers.DepthwiseConv2D(3, padding="same")(source)
        elif kind == "dense":
            source = layers.Dense(2)(source)
        elif kind == "norm":
            norm = layers.BatchNormalization(trainable=choice % 4 == 0)
            source = norm(source)
            for number, variable in enumerate(norm.variables):
                variable.assign(0.5 + number + np.arange(variable.shape[0]))
        elif kind == "relu":
            source = layers.ReLU()(source)
        elif kind == "add" and other.shape == source.shape:
            source = layers.Add()([source, other])
        else:
            source = layers.Dense(2)(layers.Concatenate()([source, other]))
        tensors.append(source)
    model = keras.Model(x, tensors[-1])
    folded = fold_batch_norm(model)
    value = sample(model)
    assert difference(folded(value), model(value)) < 1e-4
    trained = [id(variable) for variable in model.trainable_variables]
    assert [id(variable) for variable in folded.trainable_variables] == trained
