"""Fine-tune a pretrained Keras backbone on a folder of images."""

import os
from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version("keras-finetuner")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

# Else TensorFlow takes all of a GPU's memory at once, and no second process can train on it.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

# The names stand in __init__.pyi. Each is imported when it is first used, which keeps
# `import finetune` and `finetune --help` free of TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
