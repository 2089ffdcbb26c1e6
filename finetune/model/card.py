"""The card of a model: what has to be known to use its predictions."""

import json
import math
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from finetune.data import RESIZE_MODES
from finetune.exceptions import ArgumentError, DamagedFileError, ModelFileError
from finetune.model.prediction_sets import PredictionSets
from finetune.support import read_archive, read_json, read_member
from finetune.training import TASKS

# A member of the .keras archive that Keras itself passes over.
_MEMBER = "finetune.json"
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class ModelCard:
    """What has to be known to use a model's predictions.

    Args:
        task: "binary", "multiclass", "multilabel" or "regression".
        class_names: Names in the order of the outputs; empty for regression.
        image_size: (height, width) in pixels.
        resize: How other sizes are brought to it: "crop", "pad" or "squash".
        temperature: What the model divides its logits by, so that probabilities are as high as the
            share of right answers; 1 where it is not calibrated.
        sets: What prediction sets are made of, at this temperature; None where there are none.

    Raises:
        ArgumentError: If one of them is not allowed.
    """

    task: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    resize: str
    temperature: float = 1.0
    sets: PredictionSets | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("task", TASKS), ("resize", RESIZE_MODES)):
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"Expected {name} to be one of {allowed}, received {getattr(self, name)!r}."
                )
        if min(self.image_size) < 1:
            raise ArgumentError(f"Expected image_size above 0, received {self.image_size}.")
        if not 0 < self.temperature < math.inf:
            raise ArgumentError(f"Expected a temperature above 0, received {self.temperature}.")
        if len(set(self.class_names)) < len(self.class_names):
            raise ArgumentError(f"Expected class_names that differ, received {self.class_names}.")

    @property
    def exclusive(self) -> bool:
        """Whether an image is of just one class."""
        return self.task in ("binary", "multiclass")

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """What the model says of images, (n, units), with a column for each class."""
        if self.task == "binary":
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs

    def check(self, model: keras.Model) -> None:
        """Refuse a model that is not the one that this card is of.

        Raises:
            ArgumentError: If its inputs or outputs are not what the card says.
        """
        height, width = self.image_size
        if tuple(model.input_shape) != (None, height, width, 3):
            raise ArgumentError(
                f"Expected a model of images of {height} x {width} pixels, as its card says, "
                f"received one of input shape {model.input_shape}."
            )
        shape, names = tuple(model.output_shape), len(self.class_names)
        outputs = {"binary": 1, "regression": shape[-1]}.get(self.task, names)
        wanted = {"binary": 2, "regression": 0}.get(self.task, max(names, 2))
        if shape != (None, outputs) or names != wanted:
            raise ArgumentError(
                f"Expected a model of {names} classes ({self.task}), as its card says, received "
                f"one of output shape {shape}."
            )
        if self.sets is not None and not self.exclusive:
            raise ArgumentError(f"Expected no prediction sets for {self.task!r}, received some.")


def write_card(archive: Path, card: ModelCard) -> None:
    """Put a card into a `.keras` file."""
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(_MEMBER, json.dumps(asdict(card)))


def read_card(path: Path) -> ModelCard:
    """The card in a `.keras` file.

    Raises:
        ModelFileError: If it holds none, or none that can be used.
        StorageError: If the file cannot be read.
    """
    try:
        with read_archive(path) as archive:
            if _MEMBER not in archive.namelist():
                raise ModelFileError(
                    f"{path} is a Keras model without class names and image size: it was not "
                    "saved by this package, or was saved again by Keras. Load it with "
                    "keras.models.load_model."
                )
            content = read_member(archive, _MEMBER, _MOST_BYTES)
        return read_json(content, ModelCard, name=f"{_MEMBER} in {path}", most_bytes=_MOST_BYTES)
    except DamagedFileError as error:
        raise ModelFileError(f"{error} Save the model again.") from error
