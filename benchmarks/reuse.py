"""Which share of the frozen work is run again in every step, for each family of backbones.

    python benchmarks/reuse.py
    python benchmarks/reuse.py resnet50 efficientnet_b0 --images 5000 --budget 4

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
    from finetune.backbones import default_depths, load_backbone, resolve_depth
    from finetune.reuse import FeatureCache
    from finetune.training import SharedBackbone

    backbone = load_backbone(name, weights=None)
    layers = len(backbone.model.layers)
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
    parser.add_argument("names", nargs="*", default=FAMILIES)
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
