"""Fine-tune a pretrained Keras backbone on a folder of images."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from finetune.exceptions import FineTuneError

if TYPE_CHECKING:
    from finetune.api import fine_tune
    from finetune.backbones import list_backbones, load_backbone
    from finetune.data import ImageData, load_data
    from finetune.lr_find import LearningRates, find_learning_rate
    from finetune.model import FineTunedModel, load
    from finetune.result import FineTuneResult
    from finetune.search.result import SearchResult
    from finetune.statistics import accuracy_interval
    from finetune.tuner import FineTuner

try:
    __version__ = version("keras-finetuner")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

# Loading on first use keeps `import finetune` and `finetune --help` free of TensorFlow.
_HOMES = {
    "FineTuneResult": "finetune.result",
    "FineTunedModel": "finetune.model",
    "FineTuner": "finetune.tuner",
    "ImageData": "finetune.data",
    "LearningRates": "finetune.lr_find",
    "find_learning_rate": "finetune.lr_find",
    "SearchResult": "finetune.search.result",
    "accuracy_interval": "finetune.statistics",
    "fine_tune": "finetune.api",
    "list_backbones": "finetune.backbones",
    "load": "finetune.model",
    "load_backbone": "finetune.backbones",
    "load_data": "finetune.data",
}

__all__ = [
    "FineTuneError",
    "FineTuneResult",
    "FineTunedModel",
    "FineTuner",
    "ImageData",
    "LearningRates",
    "SearchResult",
    "accuracy_interval",
    "find_learning_rate",
    "fine_tune",
    "list_backbones",
    "load",
    "load_backbone",
    "load_data",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'finetune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
