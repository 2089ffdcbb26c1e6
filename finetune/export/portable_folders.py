"""A folder that predicts where TensorFlow is not: ONNX, a script and what it needs."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from finetune.export.onnx_files import write_onnx
from finetune.model import ModelCard
from finetune.support import write_text

# As in pyproject.toml: Pillow 11 and newer resize alike.
_REQUIREMENTS = "numpy>=2.0\nonnxruntime>=1.20\npillow>=11.0\n"


def write_portable(function: Any, card: ModelCard, path: Path) -> None:
    """Write a function as ONNX, and beside it what brings images to it.

    Args:
        function: Of `as_function`.
        card: Of the model.
        path: The ONNX file.
    """
    write_onnx(function, card, path)
    script = files("finetune.export").joinpath("portable.py").read_text("utf-8")
    write_text(path.parent / "predict.py", script)
    write_text(path.parent / "requirements.txt", _REQUIREMENTS)
