"""Model files of Keras', read without being taken in by what they claim to hold."""

import os
from pathlib import Path

import keras

from finetune.backbones.hub import import_keras_hub
from finetune.backbones.keras_archives import check_archive
from finetune.exceptions import DamagedFileError, ModelFileError
from finetune.support import read_archive

_OF_A_RUN = "model.keras"


def model_file(place: str | os.PathLike[str]) -> Path:
    """The `.keras` file that is meant: of a folder, the model of the run or search in it.

    Example:
        >>> model_file("shoes.keras").name
        'shoes.keras'
    """
    path = Path(place)
    return path / _OF_A_RUN if os.path.isdir(path) else path


def looks_like_path(text: str) -> bool:
    """Whether a text is the place of a model, and no name.

    Example:
        >>> [looks_like_path(text) for text in ("mobilenet_v2", "runs/a", "own.keras")]
        [False, True, True]
    """
    return Path(text).suffix in {".keras", ".h5", ".hdf5"} or "/" in text or os.sep in text


def read_model(path: Path) -> keras.Model:
    """Read a `.keras` file, in Keras' safe mode.

    Raises:
        ModelFileError: If it is none, or none that can be used.
        StorageError: If it cannot be read.
    """
    try:
        with read_archive(path) as archive:
            check_archive(archive, path.stat().st_size)
    except DamagedFileError as error:
        raise ModelFileError(
            f"{error} Expected a .keras file as Keras saves it. A model with classes of your own "
            "you can load yourself, with `custom_objects`, and pass."
        ) from error
    try:
        model = keras.saving.load_model(path, compile=False)
    # What a file says may end anywhere in Keras, and in any kind of error.
    except Exception as error:
        if "keras_hub" in str(error):
            import_keras_hub(f"'{path}', which holds a backbone of KerasHub's")
        raise ModelFileError(
            f"'{path}' cannot be loaded by `keras.saving.load_model`: {error}. If it holds classes "
            "of your own, load it yourself with `custom_objects` and pass the model."
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(
            f"'{path}' must hold a `keras.Model`. Received: a {type(model).__name__}."
        )
    return model
