"""LiteRT, formerly TensorFlow Lite: for phones and small machines."""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from finetune.export.quietly import quietly
from finetune.export.saved_models import write_saved_model
from finetune.export.serving import METADATA, PIXELS, cannot_express, metadata
from finetune.model import ModelCard


def write_litert(
    function: Any, card: ModelCard, path: Path, *, precision: str, images: np.ndarray
) -> None:
    """Write a function as a LiteRT file, with what has to be known of it attached.

    Args:
        function: Of `as_function`.
        card: Of the model.
        path: The file.
        precision: "float32", "float16" (the weights alone) or "int8" (all that can be).
        images: uint8 (n, height, width, 3): for int8, what the ranges of its values are taken from.

    Raises:
        ExportError: If the model has something that LiteRT's own operations cannot express.
    """
    with tempfile.TemporaryDirectory() as folder, quietly():
        write_saved_model(function, card, Path(folder) / "saved")
        converter = tf.lite.TFLiteConverter.from_saved_model(str(Path(folder) / "saved"))
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = partial(_one_by_one, images)
            # What has no form in int8 stays in float32.
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own class is private
            raise cannot_express("LiteRT by itself", error) from error
    path.write_bytes(content)
    # At the end of the file, where LiteRT's own tools put labels: its readers pass over it.
    with zipfile.ZipFile(path, "a") as attached:
        attached.writestr(METADATA, json.dumps(metadata(card), indent=2))
        attached.writestr("labels.txt", "\n".join(card.class_names))


def open_litert(path: Path) -> Any:
    """A function of images that runs a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    return lambda pixels: runner(**{PIXELS: pixels})


def _one_by_one(images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for image in images:
        yield {PIXELS: image[None].astype("float32")}
