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

# Its notes would bury what a run has to say; errors are told. It heeds this where it has not been
# imported yet, and a value of the user's own stays. What it says before it reads any level, six
# lines on standard error, only the command line can hold back.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The names stand in __init__.pyi. Each is imported when it is first used, which keeps
# `import finetune` and `finetune --help` free of TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
