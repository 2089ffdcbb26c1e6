"""The small residual network of the demo, without weights."""

import keras
from keras import KerasTensor, layers

INPUT_SHAPE = (32, 32, 3)

# Filters and stride of each residual block.
_BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1))

# Keras' default of 0.99 needs hundreds of steps before its averages mean anything; training from
# random weights on a few hundred images has fewer than that, and would be judged on noise.
_BATCH_NORM_MOMENTUM = 0.9


def build_backbone() -> keras.Model:
    """Builds the demo's backbone with random weights.

    A residual network [1] of a stem and five blocks named `block_1` to `block_5`: images of
    32 x 32 x 3 in the range -1..1 (the `"tf"` preprocessing) become a feature map of 4 x 4 x 64.

    Returns:
        An uncompiled functional model of 166,000 parameters.

    Example:
        >>> model = build_backbone()
        >>> model.output_shape
        (None, 4, 4, 64)
        >>> model.layers[-1].name
        'block_5_relu'

    References:
        [1] He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    images = layers.Input(INPUT_SHAPE, name="images")
    x = _conv_bn(images, 16, 2, "stem")  # pyright: ignore[reportArgumentType] -- one tensor, no list
    x = layers.ReLU(name="stem_relu")(x)
    for number, (filters, stride) in enumerate(_BLOCKS, start=1):
        x = _residual_block(x, filters, stride, f"block_{number}")
    return keras.Model(images, x, name="glyph_resnet")


def _residual_block(x: KerasTensor, filters: int, stride: int, name: str) -> KerasTensor:
    """Two convolutions and a way around them, which is projected where the shape changes."""
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _conv_bn(x, filters, stride, f"{name}_shortcut", kernel_size=1)
    x = _conv_bn(x, filters, stride, f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _conv_bn(x, filters, 1, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu")(x)


def _conv_bn(
    x: KerasTensor, filters: int, stride: int, name: str, *, kernel_size: int = 3
) -> KerasTensor:
    """A convolution and its batch norm, which stands in for the bias."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)
