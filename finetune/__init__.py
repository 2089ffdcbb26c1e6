"""Fine-tune a pretrained Keras backbone on a folder of images."""

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version("keras-finetuner")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

# The names stand in __init__.pyi. Each is imported when it is first used, which keeps
# `import finetune` and `finetune --help` free of TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
