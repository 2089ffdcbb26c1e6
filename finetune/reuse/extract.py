"""Run the frozen part over batches of images."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from finetune.reuse.fold import fold_batch_norm


def extractor(model: keras.Model) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Compile a frozen model for speed.

    Args:
        model: A functional model with several outputs whose batch norm is frozen.

    Returns:
        From a batch of float pixels to the outputs, one array each.
    """
    folded = fold_batch_norm(model)

    @tf.function(reduce_retracing=True)
    def run(batch: tf.Tensor) -> list[tf.Tensor]:
        return tf.nest.flatten(folded(batch, training=False))

    return lambda pixels: [np.asarray(values) for values in run(tf.convert_to_tensor(pixels))]
