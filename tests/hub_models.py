"""Backbones of KerasHub's families, tiny and with random weights, that several tests share."""

import sys
from collections.abc import Callable
from typing import Any

import keras
import pytest

from extras import require

if sys.version_info < (3, 11):
    pytest.skip("KerasHub needs Python 3.11 or newer", allow_module_level=True)
hub = require("keras_hub")

IMAGE = (32, 32, 3)
_TRANSFORMER = {"image_shape": IMAGE, "patch_size": 8, "num_layers": 3, "num_heads": 2}


def vit(**options: Any) -> keras.Model:
    return hub.models.ViTBackbone(**{**_TRANSFORMER, "hidden_dim": 16, "mlp_dim": 32} | options)


def deit() -> keras.Model:
    return hub.models.DeiTBackbone(**_TRANSFORMER, hidden_dim=16, intermediate_dim=32)


def dinov2(**options: Any) -> keras.Model:
    return hub.models.DINOV2Backbone(
        **{
            **_TRANSFORMER,
            "hidden_dim": 16,
            "intermediate_dim": 32,
            "position_embedding_shape": (48, 48),
        }
        | options
    )


def siglip_vision() -> keras.Model:
    return hub.models.SigLIPVisionEncoder(**_TRANSFORMER, hidden_dim=16, intermediate_dim=32)


def siglip() -> keras.Model:
    text = hub.models.SigLIPTextEncoder(
        vocabulary_size=8,
        embedding_dim=16,
        hidden_dim=16,
        num_layers=1,
        num_heads=2,
        intermediate_dim=16,
    )
    return hub.models.SigLIPBackbone(siglip_vision(), text)


def resnet() -> keras.Model:
    return hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )


def efficientnet() -> keras.Model:
    return hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2,
        stackwise_depth_coefficients=[1.0] * 2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_block_types=["v1"] * 2,
        stackwise_force_input_filters=[0] * 2,
        stackwise_nores_option=[False] * 2,
    )


FAMILIES: dict[str, Callable[[], keras.Model]] = {
    make.__name__: make for make in (vit, deit, dinov2, siglip, resnet, efficientnet)
}
