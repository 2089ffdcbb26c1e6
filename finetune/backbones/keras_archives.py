"""What a `.keras` file claims to hold, looked at before Keras takes it at its word.

Keras' safe mode runs no code of the file. On top of that, nothing here is imported because a file
names it, nothing is read from beyond the file, and no more memory is taken than the file's own
weights explain.
"""

import json
import math
import stat
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import keras

from finetune.compat import declared_bytes
from finetune.support import read_member

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

# More than any network's configuration: that of EfficientNetV2L has 0.5 MB.
_MOST_CONFIG = 32 * 2**20

# Keras writes without compression; that of other tools makes weights a little smaller.
_MOST_COMPRESSION = 100

# Where layers, their parts and operations are at home. A class of the user's own is known to Keras
# by its registered name.
_PACKAGES = ("keras", "keras_hub", "builtins")

# They run code that comes with them, or read files that they name.
_REACHING_OUT = frozenset(
    {
        *("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "__lambda__"),
        *("IntegerLookup", "StringLookup", "TextVectorization"),
    }
)

_CHUNK = 2**20

# Twenty times those of EfficientNetV2L.
_MOST_LINKS = 10**5

# What layers may keep beside the weights in the file, such as the states of random generators.
_SPARE_BYTES = 2**20


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses an archive that Keras should not even open.

    Args:
        archive: The opened file.
        size: Its bytes on disk.

    Raises:
        ValueError: Says what is wrong with it.
    """
    declared = 0
    for member in archive.infolist():
        declared += member.file_size
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] in ("", "~") or ":" in parts[0]:
            raise ValueError(f"it holds the path {member.filename!r}, which leads out of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"it holds the link {member.filename!r}")
    if declared > _MOST_COMPRESSION * size:
        raise ValueError(
            f"it would take {declared:,} bytes unpacked, which is more than {_MOST_COMPRESSION} "
            f"times its own {size:,}"
        )
    names = archive.namelist()
    if CONFIG not in names or WEIGHTS not in names:
        raise ValueError(f"expected {CONFIG} and {WEIGHTS} in it")
    config = json.loads(read_member(archive, CONFIG, _MOST_CONFIG))
    for described in _objects(config):
        _check_object(described)
    with archive.open(WEIGHTS) as file:
        # To its end, where its checksum is compared: HDF5 may go round in circles in damaged files.
        while file.read(_CHUNK):
            pass
    with archive.open(WEIGHTS) as file:
        held = _bytes_of_weights(file, declared)
    _check_room(config, held)


def check_config(config: Any) -> None:
    """Refuses a configuration of Keras' that names a class from elsewhere.

    Raises:
        ValueError: If it does.

    Example:
        >>> check_config({"class_name": "Dense", "module": "keras.layers", "config": {}})
        >>> check_config({"class_name": "Popen", "module": "subprocess", "config": {}})
        Traceback (most recent call last):
        ValueError: it asks for 'subprocess.Popen', ...
    """
    for described in _objects(config):
        _check_object(described)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """All objects that a configuration describes, whatever they are part of."""
    unseen = [config]
    while unseen:
        part = unseen.pop()
        if isinstance(part, dict):
            if "class_name" in part or "registered_name" in part:
                yield part
            unseen += part.values()
        elif isinstance(part, list):
            unseen += part


def _check_object(described: dict[str, Any]) -> None:
    named = ("class_name", "module", "registered_name")
    name, module, registered = (described.get(key) for key in named)
    if not all(isinstance(one, str | None) for one in (name, module, registered)):
        raise ValueError(f"expected texts as {', '.join(named)}")
    if name in _REACHING_OUT:
        raise ValueError(f"it holds a {name}, which runs code or reads files that are not its own")
    own = keras.saving.get_custom_objects()
    if module is None or registered in own or name in own:
        return
    package = module.split(".")[0]
    if package not in _PACKAGES:
        raise ValueError(
            f"it asks for '{module}.{name}', and only classes of Keras' own are taken from a file, "
            "and those that you registered with @keras.saving.register_keras_serializable()"
        )


def _bytes_of_weights(file: Any, most: int) -> int:
    """How much memory the weights in a file take, if all of them are in it."""
    held, links, seen, unseen = 0, 0, set(), []
    with h5py.File(file, "r") as store:
        unseen.append(store)
        while unseen:
            group = unseen.pop()
            if group.id in seen:  # a circle: equal by where it lies in the file
                continue
            seen.add(group.id)
            for name in group:
                links += 1
                if links > _MOST_LINKS:
                    raise ValueError(f"its weights have more than {_MOST_LINKS:,} names")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"its weights {name!r} are a link to elsewhere")
                part = group[name]
                if isinstance(part, h5py.Group):
                    unseen.append(part)
                    continue
                if part.external or part.is_virtual:
                    raise ValueError(f"its weights {name!r} lie in another file")
                held += math.prod(part.shape or ()) * part.dtype.itemsize
    if held > _MOST_COMPRESSION * most:
        raise ValueError(f"its weights would take {held:,} bytes, and it has {most:,}")
    return held


def _check_room(config: Any, held: int) -> None:
    """Refuses a model with far more variables than the file has values for."""

    def build() -> Any:
        return keras.saving.deserialize_keras_object(config, safe_mode=True)

    wanted = declared_bytes(build)
    if wanted > 2 * held + _SPARE_BYTES:
        raise ValueError(f"its layers need {wanted:,} bytes of weights, and it holds {held:,}")
