"""What a layer is made of: layers within it, variables of its own, and its class in Keras."""

from typing import Any

import keras


def all_layers(operation: Any) -> list[keras.Layer]:
    """Lists a layer and all layers within it.

    Args:
        operation: A layer, or an operation that is none.

    Returns:
        The layers, those that hold others first; none for a plain operation.

    Example:
        >>> inner = keras.Sequential([keras.layers.Dense(2, name="dense")], name="inner")
        >>> [layer.name for layer in all_layers(keras.Sequential([inner], name="outer"))]
        ['outer', 'inner', 'dense']
    """
    # Only models list what is within them in public (`model.layers`), and only one level of it.
    return operation._flatten_layers() if isinstance(operation, keras.Layer) else []


def inner_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Lists the layers directly within a layer.

    Args:
        layer: Any layer.

    Returns:
        The layers that it holds, without those within them.

    Example:
        >>> [layer.name for layer in inner_layers(keras.layers.TimeDistributed(
        ...     keras.layers.Dense(2, name="dense")))]
        ['dense']
    """
    # As for `all_layers`: nothing public leads from a composite layer to its parts.
    return layer._flatten_layers(include_self=False, recursive=False)


def own_variables(layer: keras.Layer) -> list[Any]:
    """Lists the variables that a layer holds itself and that training may change.

    Args:
        layer: Any layer.

    Returns:
        The variables that were made to be trained, frozen or not, without those of inner layers.

    Example:
        >>> dense = keras.layers.Dense(2, trainable=False)
        >>> dense.build((None, 8))
        >>> [variable.name for variable in own_variables(dense)]
        ['kernel', 'bias']
    """
    # `layer.trainable_variables` takes in those of inner layers, and none of a frozen layer.
    return list(layer._trainable_variables)


def own_state(layer: keras.Layer) -> list[Any]:
    """Lists the variables that a layer holds itself and that no training changes.

    Args:
        layer: Any layer.

    Returns:
        Such as a counter, or moving statistics; without random states and inner layers'.

    Example:
        >>> norm = keras.layers.BatchNormalization()
        >>> norm.build((None, 8))
        >>> [variable.name for variable in own_state(norm)]
        ['moving_mean', 'moving_variance']
    """
    # `layer.non_trainable_variables` has all variables of a frozen layer.
    return list(layer._non_trainable_variables)


def seed_generators(layer: keras.Layer) -> list[keras.random.SeedGenerator]:
    """Lists the random generators of a layer and of all layers within it.

    Args:
        layer: Any layer.

    Returns:
        The generators, in the order of the layers.

    Example:
        >>> layers = [keras.layers.RandomFlip(seed=3), keras.layers.RandomZoom(0.1, seed=4)]
        >>> [draws.get_config()["seed"] for draws in seed_generators(keras.Sequential(layers))]
        [3, 4]
    """
    # `layer.variables` has their states among all else, and not what they were seeded with.
    return [generator for inner in all_layers(layer) for generator in inner._seed_generators]


def is_from_keras(cls: type) -> bool:
    """Whether a class is one of Keras' own, exported or not.

    Example:
        >>> is_from_keras(keras.layers.Dense)
        True
    """
    # By where it is defined: `keras.layers` does not export all of them, such as ConvNeXt's.
    return cls.__module__.split(".")[0] == "keras"


def keras_class(layer: keras.Layer) -> type:
    """The class of Keras' own that a layer is, or that its class is derived from.

    Example:
        >>> class Mine(keras.layers.Dense):
        ...     pass
        >>> keras_class(Mine(2)).__name__
        'Dense'
    """
    return next(cls for cls in type(layer).__mro__ if is_from_keras(cls))
