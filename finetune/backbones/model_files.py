"""Model files of Keras', read without being taken in by what they claim to hold."""

from pathlib import Path

import keras

from finetune.exceptions import DamagedFileError, ModelFileError
from finetune.support import read_archive

# Keras writes without compression; that of other tools makes weights a little smaller.
_MOST_COMPRESSION = 100


def read_model(path: Path) -> keras.Model:
    """Read a `.keras` file, in Keras' safe mode.

    Raises:
        ModelFileError: If it is none, or none that can be used.
        StorageError: If it cannot be read.
    """
    try:
        with read_archive(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
    except DamagedFileError as error:
        raise ModelFileError(f"{error} Expected a .keras file.") from error
    size = path.stat().st_size
    if declared > _MOST_COMPRESSION * size:
        raise ModelFileError(
            f"'{path}' would take {declared:,} bytes unpacked, which is more than "
            f"{_MOST_COMPRESSION} times its own {size:,}. Save the model again with Keras."
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    # What a file says may end anywhere in Keras, and in any kind of error.
    except Exception as error:
        raise ModelFileError(
            f"'{path}' cannot be loaded by `keras.saving.load_model`: {error}. If it holds classes "
            "of your own, load it yourself with `custom_objects` and pass the model."
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(
            f"'{path}' must hold a `keras.Model`. Received: a {type(model).__name__}."
        )
    return model
