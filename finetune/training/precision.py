"""Mixed precision by flag, without touching the user's global setting."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from finetune.backbones import leaf_layers
from finetune.exceptions import ArgumentError

_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def policy_name(mixed_precision: bool | str) -> str:
    """The Keras dtype policy that a flag stands for.

    Args:
        mixed_precision: False for float32; True for "mixed_bfloat16", or "mixed_float16" on
            GPUs that lack bfloat16 (compute capability below 8.0); or a policy's name.

    Returns:
        The policy's name.

    Raises:
        ArgumentError: If it is neither a flag nor one of these names.

    Example:
        >>> policy_name(False), policy_name("mixed_float16")
        ('float32', 'mixed_float16')
    """
    if mixed_precision is False:
        return "float32"
    if mixed_precision is True:
        for gpu in tf.config.list_physical_devices("GPU"):
            capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
            if capability and capability < (8, 0):
                return "mixed_float16"
        return "mixed_bfloat16"
    if mixed_precision not in _POLICIES:
        raise ArgumentError(
            f"Expected mixed_precision to be True, False or one of {_POLICIES}, "
            f"received {mixed_precision!r}."
        )
    return mixed_precision


def with_policy(model: keras.Model, name: str) -> keras.Model:
    """The same model under a dtype policy.

    What layers compute in is decided when they are made, so those in float32 are made again.

    Args:
        model: Functional or sequential.
        name: The policy's name.

    Returns:
        A new model of the same weights; the model itself for "float32", and where some of its
        layers are under this policy already.

    Raises:
        ArgumentError: If no layer of it is in float32.
    """
    # An input computes nothing: its policy is the global one of when it was made.
    layers = (leaf for leaf in leaf_layers(model) if not isinstance(leaf, keras.layers.InputLayer))
    policies = {layer.dtype_policy.name for layer in layers}
    if name == "float32" or name in policies:
        return model
    if "float32" not in policies:
        raise ArgumentError(
            f"Expected layers in float32 for mixed_precision={name!r}, but those of model "
            f"{model.name!r} are in {sorted(policies)}. Leave mixed_precision out."
        )

    return _remade(model, "float32", name)


def in_float32(model: keras.Model) -> keras.Model:
    """The same model with all layers in float32, whatever it was trained in.

    Args:
        model: Functional or sequential.

    Returns:
        A new model of the same weights; the model itself where nothing has to change.
    """
    mixed = {leaf.dtype_policy.name for leaf in leaf_layers(model)} & {*_POLICIES[1:]}
    for name in sorted(mixed):
        model = _remade(model, name, "float32")
    return model


def _remade(model: keras.Model, before: str, after: str) -> keras.Model:
    """A copy of a model whose layers of one policy are under another."""

    def remake(layer: Any) -> Any:
        return type(layer).from_config(_in_policy(layer.get_config(), before, after))

    copy = keras.models.clone_model(model, clone_function=remake, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _in_policy(config: Any, before: str, after: str) -> Any:
    """A layer's configuration with another policy, for it and for layers that it wraps."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"]["name"] == before:
            return {**config, "config": {**config["config"], "name": after}}
        return {key: _in_policy(value, before, after) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_in_policy(value, before, after) for value in config)
    return config


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers under a dtype policy, and put the user's own back afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
