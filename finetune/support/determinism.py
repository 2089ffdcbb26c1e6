"""The same numbers to the bit, whatever the number of cores: sums are made in one order."""

import os

from finetune.exceptions import ArgumentError

_ENVIRONMENT = "TF_NUM_INTRAOP_THREADS"


def use_one_order() -> None:
    """Have TensorFlow compute with one thread an operation, and choose deterministic ones.

    Threads add up parts of a sum, and floating-point sums depend on which. This holds for the whole
    process and cannot be taken back.

    Raises:
        ArgumentError: If TensorFlow has begun to compute with more threads.
    """
    import tensorflow as tf

    if os.environ.get(_ENVIRONMENT) != "1":
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
        except RuntimeError as error:
            raise ArgumentError(
                "Expected deterministic=True before TensorFlow computes anything, received it in "
                "a process where it has, with several threads. Begin a new process, and make the "
                f"FineTuner or call fine_tune first; or set {_ENVIRONMENT}=1 in its environment."
            ) from error
    # On GPUs: kernels that add up in one order.
    tf.config.experimental.enable_op_determinism()
