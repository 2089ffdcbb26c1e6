"""Folding: frozen batch normalization as part of the convolution or dense layer before it.

Batch normalization that uses its stored statistics is one multiplication and one addition per
channel. After a linear layer they can be done on the layer's kernel and bias instead, which are
hundreds of times smaller than its output:

    norm(x * kernel + bias) = x * (kernel * scale) + (bias * scale + offset)
    scale  = gamma / sqrt(variance + epsilon)
    offset = beta - mean * scale

This is computed within the graph, from the layers' own variables, in every step: the kernel
trains as before, loss and gradients are the same, and no folded copy can go stale.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference (2018), section 3.2, there for moving statistics.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from finetune.compat import calls_of
from finetune.reuse.graph import CannotSplit, flatten
from finetune.reuse.inference import in_inference_mode, inference_calls
from finetune.reuse.rewriting import rewrite


def fold_batch_norm(model: keras.Model, *, inference: bool = False) -> Any:
    """Makes a model compute its frozen batch normalization as part of the layers before it.

    Other frozen layers are run in inference mode, see `in_inference_mode`.

    Folded are batch normalizations with `trainable=False` that directly follow a convolution
    (also depthwise or separable) or a dense layer with no activation and no other consumer.
    Unfreezing one of them later needs a new fold.

    Args:
        model: A functional or sequential model.
        inference: Whether what is made is never run in training: then all batch normalization is
            folded, frozen or not. Default False.

    Returns:
        A model with the same inputs, outputs, layers and variables, in the same order; `model`
        itself where nothing can be folded or run in another mode.

    Example:
        >>> norm = keras.layers.BatchNormalization(trainable=False)
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), norm])
        >>> folded = fold_batch_norm(model)
        >>> x = keras.random.normal((3, 8), seed=0)
        >>> bool(keras.ops.max(keras.ops.abs(folded(x) - model(x))) < 1e-5)
        True
        >>> folded.trainable_variables[0] is model.trainable_variables[0]
        True
    """
    try:
        flat = flatten(model)
    except CannotSplit:
        return in_inference_mode(model)
    pairs = foldable_pairs(flat, inference=inference)
    calls: dict[int, Callable[..., Any]] = {**inference_calls(flat)}
    for layer, norm in pairs:
        calls[id(layer)] = _pass_on  # what the layer does, the next call does
        calls[id(norm)] = partial(_call_without_mask, FoldedBatchNorm(layer, norm))
    return rewrite(model, flat, calls)


def _pass_on(inputs: Any, **_: Any) -> Any:
    return inputs


def _call_without_mask(operation: keras.Operation, inputs: Any, **_: Any) -> Any:
    return operation(inputs)


class FoldedBatchNorm(keras.Operation):
    """A linear layer and the frozen batch normalization after it, as one linear operation.

    Args:
        layer: The layer; its variables are read in every call.
        norm: The batch normalization; likewise.
    """

    def __init__(self, layer: Any, norm: keras.layers.BatchNormalization) -> None:
        super().__init__(name=norm.name)
        self._layer = layer
        self._norm = norm

    def call(self, inputs: Any) -> Any:
        """Applies the layer with the folded kernel and bias."""
        layer, norm = self._layer, self._norm
        dtype = keras.backend.result_type(norm.variable_dtype, "float32")
        scale = tf.math.rsqrt(_read(norm.moving_variance, dtype) + norm.epsilon)
        if norm.scale:
            scale *= _read(norm.gamma, dtype)
        offset = -_read(norm.moving_mean, dtype) * scale
        if norm.center:
            offset += _read(norm.beta, dtype)
        if layer.use_bias:
            offset += _read(layer.bias, dtype) * scale

        def scaled(kernel: Any) -> Any:
            # The last axis, or the last two of a depthwise kernel, are the output channels.
            axes = 2 if isinstance(layer, _DEPTHWISE) else 1
            return _read(kernel, dtype) * tf.reshape(scale, kernel.shape[-axes:])

        inputs = _read(inputs, layer.compute_dtype)
        outputs = _LINEAR[type(layer)](layer, inputs, scaled)
        first = getattr(layer, "data_format", None) == "channels_first"
        # Unlike an addition, `bias_add` can be fused with the convolution and the activation.
        outputs = tf.nn.bias_add(
            outputs, tf.cast(offset, outputs.dtype), data_format="NC..." if first else "N...C"
        )
        return tf.cast(outputs, norm.compute_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Shape and dtype of the output."""
        shape = self._layer.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype=self._norm.compute_dtype)


def _read(value: Any, dtype: str) -> Any:
    """A variable or tensor in the dtype that is computed in."""
    tensor: Any = keras.ops.convert_to_tensor(value)
    return tf.cast(tensor, dtype)


def _convolve(layer: Any, inputs: Any, scaled: Callable[[Any], Any]) -> Any:
    kernel = tf.cast(scaled(layer.kernel), inputs.dtype)
    if _is_pointwise(layer):
        # One matrix product, whose gradients take less time than those of a convolution.
        rows = tf.reshape(inputs, (-1, kernel.shape[-2]))
        outputs = tf.matmul(rows, tf.reshape(kernel, kernel.shape[-2:]))
        return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:-1], kernel.shape[-1:]], 0))
    return layer.convolution_op(inputs, kernel)


def _is_pointwise(layer: Any) -> bool:
    """Whether each output value comes from one place of the input."""
    return (
        set(layer.kernel_size) == set(layer.strides) == {1}
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


def _convolve_depthwise(layer: Any, inputs: Any, scaled: Callable[[Any], Any]) -> Any:
    kernel = tf.cast(scaled(layer.kernel), inputs.dtype)
    return keras.ops.depthwise_conv(inputs, kernel, **_how(layer))


def _convolve_separable(layer: Any, inputs: Any, scaled: Callable[[Any], Any]) -> Any:
    depthwise = _read(layer.depthwise_kernel, inputs.dtype)
    pointwise = tf.cast(scaled(layer.pointwise_kernel), inputs.dtype)
    return keras.ops.separable_conv(inputs, depthwise, pointwise, **_how(layer))


def _multiply(layer: Any, inputs: Any, scaled: Callable[[Any], Any]) -> Any:
    return tf.matmul(inputs, tf.cast(scaled(layer.kernel), inputs.dtype))


def _how(layer: Any) -> dict[str, Any]:
    return {
        name: getattr(layer, name)
        for name in ("strides", "padding", "dilation_rate", "data_format")
    }


# Exactly these types: a subclass may compute something else.
_LINEAR: dict[type, Callable[[Any, Any, Callable[[Any], Any]], Any]] = {
    keras.layers.Conv1D: _convolve,
    keras.layers.Conv2D: _convolve,
    keras.layers.Conv3D: _convolve,
    keras.layers.DepthwiseConv1D: _convolve_depthwise,
    keras.layers.DepthwiseConv2D: _convolve_depthwise,
    keras.layers.SeparableConv1D: _convolve_separable,
    keras.layers.SeparableConv2D: _convolve_separable,
    keras.layers.Dense: _multiply,
}
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def foldable_pairs(
    model: keras.Model, *, inference: bool = False
) -> list[tuple[Any, keras.layers.BatchNormalization]]:
    """The pairs of linear layer and batch normalization of which nothing else takes a part."""
    calls = calls_of(model)
    counts = Counter(id(call.operation) for call in calls)
    uses = Counter(id(tensor) for call in calls for tensor in call.inputs)
    uses.update(id(tensor) for tensor in model.outputs)
    maker = {id(tensor): call.operation for call in calls for tensor in call.outputs}
    pairs = []
    for call in calls:
        norm = call.operation
        if type(norm) is not keras.layers.BatchNormalization or (norm.trainable and not inference):
            continue
        (tensor,) = call.inputs
        layer = maker[id(tensor)]
        alone = uses[id(tensor)] == counts[id(layer)] == counts[id(norm)] == 1
        if alone and _is_linear(layer) and _normalizes_channels(norm, layer, len(tensor.shape)):
            pairs.append((layer, norm))
    return pairs


def _is_linear(layer: Any) -> bool:
    return (
        type(layer) in _LINEAR
        and layer.activation is keras.activations.linear
        and layer.activity_regularizer is None
        and getattr(layer, "padding", None) != "causal"
        and layer.dtype_policy.quantization_mode is None
    )


def _normalizes_channels(norm: Any, layer: Any, rank: int) -> bool:
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return norm.axis % rank == (1 if first else rank - 1) and norm.activity_regularizer is None
