"""Architectures whose ImageNet weights Keras has downloaded before."""

from finetune.backbones.weights import keras_home

# What is worth a comparison without being named: one or two of each family, small enough for a
# few seconds a hundred images on a CPU. With the names of Keras' files, read off its source.
_FILES = {
    "mobilenet_v2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5",
    "mobilenet_v3_small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "mobilenet_v3_large": "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    "efficientnet_b0": "efficientnetb0_notop.h5",
    "efficientnet_v2_b0": "efficientnetv2-b0_notop.h5",
    "resnet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "resnet50_v2": "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "densenet121": "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "convnext_tiny": "convnext_tiny_notop.h5",
}

# MobileNetV2 has weights of its own for these sizes; for all others it takes those for 224.
_SIZES = (96, 128, 160, 192, 224)

COMPARED = tuple(_FILES)


def on_disk(image_size: tuple[int, int] | None = None) -> list[str]:
    """Names of `COMPARED` whose ImageNet weights need no download.

    Args:
        image_size: (height, width). Default: that of each architecture.

    Returns:
        The names, in the order of `COMPARED`.

    Example:
        >>> set(on_disk()) <= set(COMPARED)
        True
    """
    folder = keras_home() / "models"
    return [name for name in COMPARED if (folder / weights_file(name, image_size)).is_file()]


def weights_file(name: str, image_size: tuple[int, int] | None = None) -> str:
    """The file in Keras' cache that holds the ImageNet weights of one of `COMPARED`.

    Args:
        name: Its canonical name.
        image_size: (height, width). Default: that of the architecture.

    Example:
        >>> weights_file("mobilenet_v2", (160, 160))
        'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5'
    """
    height, width = image_size or (224, 224)
    size = height if height == width and height in _SIZES else 224
    return _FILES[name].format(size=size)
