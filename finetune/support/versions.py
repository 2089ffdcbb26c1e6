"""What a run ran on."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tensorflow as tf

_PACKAGES = ("keras-finetuner", "keras", "tensorflow", "keras-tuner", "numpy", "pillow")


def environment() -> dict[str, Any]:
    """What the run ran on: versions, processor, GPUs."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # tensorflow-cpu and its like go by other names
            continue
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "packages": versions,
    }
