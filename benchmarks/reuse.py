"""Which share of the frozen work is run again in every step, for each family of backbones.

    python benchmarks/reuse.py
    python benchmarks/reuse.py resnet50 "hub vit_base" --images 5000 --budget 4

Weights are random and nothing is trained: what is shown is where trainings would start, as they
choose it, for `fine_tune`'s default freeze depth alone and for the depths of a default search
together.
"""

import argparse
import os
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# One of each family, and the large ones that people take for their accuracy.
FAMILIES = (
    *("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("resnet50", "resnet50_v2", "resnet101", "vgg16", "densenet121", "inception_v3", "xception"),
    *("inception_resnet_v2", "nasnet_mobile", "convnext_tiny", "convnext_base"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b4"),
    *("efficientnet_v2_b0", "efficientnet_v2_s"),
)

_VIT_BASE = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768}

# Families of KerasHub in the size of their presets, with random weights: class and settings.
HUB = {
    "hub vit_base": (
        "ViTBackbone",
        _VIT_BASE | {"mlp_dim": 3072, "patch_size": 16, "image_shape": (224, 224, 3)},
    ),
    "hub deit_base": (
        "DeiTBackbone",
        _VIT_BASE | {"intermediate_dim": 3072, "patch_size": 16, "image_shape": (224, 224, 3)},
    ),
    "hub dinov2_small": (
        "DINOV2Backbone",
        {
            "num_layers": 12,
            "num_heads": 6,
            "hidden_dim": 384,
            "intermediate_dim": 1536,
            "patch_size": 14,
            "image_shape": (224, 224, 3),
            "position_embedding_shape": (518, 518),
        },
    ),
    "hub siglip_base": (
        "SigLIPVisionEncoder",
        _VIT_BASE | {"intermediate_dim": 3072, "patch_size": 16, "image_shape": (224, 224, 3)},
    ),
    "hub resnet_50": (
        "ResNetBackbone",
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [3, 4, 6, 3],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "bottleneck_block",
        },
    ),
    "hub efficientnet_b0": (
        "EfficientNetBackbone",
        {
            "stackwise_width_coefficients": [1.0] * 7,
            "stackwise_depth_coefficients": [1.0] * 7,
            "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
            "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
            "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
            "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
            "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
            "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
            "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
            "stackwise_block_types": ["v1"] * 7,
            "stackwise_force_input_filters": [0] * 7,
            "stackwise_nores_option": [False] * 7,
        },
    ),
}


@dataclass(frozen=True)
class Images:
    """So many images that there are none of: a source that only tells how many rows it has."""

    train: int
    validation: int
    key: str = "benchmark"
    views: int = 1
    persistent: bool = False

    def rows(self, split: str) -> int:
        return self.train if split == "train" else self.validation


def starts_of(name: str, depths: list[float | int] | None, images: Images, options) -> list[str]:
    """A row for each freeze depth: where it starts."""
    from finetune.backbones import default_depths, leaf_layers, load_backbone, resolve_depth
    from finetune.reuse import FeatureCache
    from finetune.training import SharedBackbone

    if name in HUB:
        import keras_hub

        family, settings = HUB[name]
        model = getattr(keras_hub.models, family)(**settings)
        backbone = load_backbone(model, preprocess=None, image_size=224)
    else:
        backbone = load_backbone(name, weights=None)
    layers = len(leaf_layers(backbone.model))
    depths = [
        resolve_depth(backbone.model, depth) for depth in depths or default_depths(backbone.model)
    ]
    between = [depth for depth in depths if 0 < depth < layers]
    cache = FeatureCache(int(options.budget * 1e9))
    shared = SharedBackbone(backbone, cache, epochs=options.epochs, freeze_depths={*between})
    rows = []
    for depth in between:
        option = shared.start(images, depth)
        size = option.row_bytes * (images.train + images.validation)
        rows.append(
            f"| {name} | {depth} of {layers} | {option.row_bytes / 1e6:.2f} | "
            f"{size / 1e9 * (option.place != 'pixels'):.2f} | {option.share:.1%} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*FAMILIES, *HUB])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--budget", type=float, default=8.0, help="GB of memory for features")
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    import keras

    images = Images(round(options.images * 0.8), options.images - round(options.images * 0.8))
    print("| backbone | freeze depth | MB an image | GB | run again |\n|---|---|---|---|---|")
    for name in options.names:
        for depths in ([0.35], None):
            print("\n".join(starts_of(name, depths, images, options)), flush=True)
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
