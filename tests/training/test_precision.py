"""Mixed precision by flag."""

import keras
import pytest

from finetune.exceptions import ArgumentError
from finetune.training.precision import dtype_policy, policy_name


def test_flags_and_names():
    assert policy_name(False) == "float32"
    assert policy_name(True) in ("mixed_bfloat16", "mixed_float16")
    assert policy_name("mixed_bfloat16") == "mixed_bfloat16"


def test_old_gpus_get_float16(monkeypatch):
    import tensorflow as tf

    for capability, expected in [((7, 5), "mixed_float16"), ((9, 0), "mixed_bfloat16")]:
        details = {"compute_capability": capability}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", lambda gpu, found=details: found
        )
        assert policy_name(True) == expected


def test_unknown_names_are_refused():
    with pytest.raises(ArgumentError, match=r"one of .*'mixed_float16'.* received 'float8'"):
        policy_name("float8")


def test_the_users_own_policy_comes_back_after_an_error():
    before = keras.config.dtype_policy()
    with pytest.raises(RuntimeError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy() is before
