"""What a model's variables would take, known before there is one of them."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

_REGISTRY = "uninitialized_variables"


def declared_bytes(build: Callable[[], Any]) -> int:
    """Bytes of all variables that something would make, without the memory for them.

    Args:
        build: Makes layers or a model. Where it fails, what it had declared by then counts.

    Example:
        >>> declared_bytes(lambda: keras.layers.Dense(10**9).build((None, 10**6)))
        4000004000000000
    """
    # In this scope Keras notes variables with their shapes and makes none. It would make those of
    # the note at the end of its next scope, and has no public way to take them off again.
    before = global_state.get_global_attribute(_REGISTRY) or []
    global_state.set_global_attribute(_REGISTRY, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            build()
    except Exception:  # of whatever build is made of: it will fail again where it counts
        pass
    finally:
        noted: Any = global_state.get_global_attribute(_REGISTRY)
        global_state.set_global_attribute(_REGISTRY, before)
    return sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in noted)
