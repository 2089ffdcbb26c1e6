"""Three networks through every export, each beside Keras: the tables of docs/export.md.

    python benchmarks/exports.py IMAGES [--weights MOBILENET.h5] [--out FOLDER]

MobileNetV2 is fine-tuned. EfficientNetV2B0 and a vision transformer of KerasHub's have random
weights and a head solved on their features: what is measured is whether their layers are expressed
rightly, how fast and how large, not how good they are.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import keras_hub

from finetune import FineTuneError, export_model, fine_tune

ROUTES = (
    ("onnx", "float32"),
    ("savedmodel", "float32"),
    ("litert", "float32"),
    ("litert", "float16"),
    ("litert", "int8"),
    ("folder", "float32"),
)
SIZE = 128


def networks(weights: str | None) -> dict[str, dict[str, Any]]:
    """Arguments of `fine_tune` by name."""
    head_only = {"freeze_depth": 1.0, "refit": 0}
    transformer = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=16,
        num_layers=6,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
    )
    return {
        "mobilenet_v2": {
            "backbone": "MobileNetV2",
            "backbone_options": {"alpha": 0.35},
            "weights": weights or "imagenet",
        },
        "efficientnet_v2_b0": {"backbone": "EfficientNetV2B0", "weights": None, **head_only},
        "vit": {"backbone": transformer, "preprocess": "tf", **head_only},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("--weights", help="of MobileNetV2 0.35 without its top")
    parser.add_argument("--out", help="where runs and exports go; default: nowhere that lasts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(given.out or temporary)
        for name, arguments in networks(given.weights).items():
            run = out / name
            if not (run / "model.keras").exists():
                fine_tune(given.images, image_size=SIZE, seed=0, out=run, verbose=0, **arguments)
            print(f"\n{name}")
            for to, precision in ROUTES:
                try:
                    print(export_model(run, to, precision=precision, overwrite=True).proof)
                except FineTuneError as error:
                    print(error)


if __name__ == "__main__":
    main()
