"""SavedModel: what TensorFlow Serving and KServe load, and what LiteRT files are made from."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from finetune.exceptions import StorageError
from finetune.export.quietly import quietly
from finetune.export.serving import METADATA, PIXELS, metadata
from finetune.model import ModelCard
from finetune.support import write_text

_SIGNATURE = "serving_default"
# Where TensorFlow keeps what is of the user's own in a SavedModel, and does not look at it.
_EXTRA = "assets.extra"


def write_saved_model(function: Any, card: ModelCard, path: Path) -> None:
    """Write a function as a SavedModel, with what has to be known of it beside its assets.

    Args:
        function: Of `as_function`.
        card: Of the model.
        path: The folder.

    Raises:
        StorageError: If it cannot be written.
    """
    holder: Any = tf.Module()
    holder.function = function
    # A file that predicts needs no gradients, and those of swish cannot be saved once frozen.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    try:
        with quietly():
            signatures = {_SIGNATURE: function}
            tf.saved_model.save(holder, str(path), signatures=signatures, options=options)
    except tf.errors.OpError as error:  # what TensorFlow's own files raise
        said = re.sub(r"{{.*?}}|\[Op:.*", "", error.message).strip()
        raise StorageError(
            f"Could not write {path}: {said}. Free some space or name another place."
        ) from error
    write_text(path / _EXTRA / METADATA, json.dumps(metadata(card), indent=2) + "\n")


def open_saved_model(path: Path) -> Any:
    """A function of images that runs a SavedModel as it is served."""
    with quietly():
        loaded: Any = tf.saved_model.load(str(path))
    served = loaded.signatures[_SIGNATURE]

    def run(pixels: np.ndarray, loaded: Any = loaded) -> dict[str, np.ndarray]:  # it must live
        return tf.nest.map_structure(np.asarray, served(**{PIXELS: tf.constant(pixels)}))

    return run
