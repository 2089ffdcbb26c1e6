"""Arrays and a record of what they are, in one file of numpy's own format, checked before use."""

import json
import math
import reprlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from finetune.exceptions import DamagedFileError
from finetune.support.archives import read_archive
from finetune.support.files import write_whole
from finetune.support.typed_json import MOST_BYTES, read_json

Meta = TypeVar("Meta")

_META = "meta"
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Like(Protocol):
    """What an array should be like: a variable of Keras', or an array."""

    @property
    def shape(self) -> Any:
        """Its shape."""
        ...

    @property
    def dtype(self) -> Any:
        """Its type, or the type's name."""
        ...


@dataclass
class _Described(Generic[Meta]):
    """The record of the file.

    Args:
        meta: What is known of the arrays.
        dtypes: Names of their types.
        file: Name that the file was written under; None in files of version 0.1.0.
    """

    meta: Meta
    dtypes: list[str]
    file: str | None = None


def write_arrays(path: Path, meta: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Write arrays, and what is known of them, in numpy's own format.

    The name of the file is kept in it: a copy under another name is refused by `read_arrays`.

    Args:
        path: File to write, by custom ending in ".npz".
        meta: What JSON can hold.
        arrays: The arrays, in order.

    Raises:
        StorageError: If it cannot be written.
    """
    named: dict[str, Any] = {f"array_{number}": array for number, array in enumerate(arrays)}
    # Numpy's types of custom floats cannot be told from bytes when they are read back.
    kinds = [array.dtype.name for array in arrays]
    text = np.array(json.dumps({"meta": meta, "dtypes": kinds, "file": path.name}))
    write_whole(path, lambda file: np.savez(file, **{_META: text}, **named))


def read_arrays(
    path: Path,
    kind: type[Meta],
    expected: Callable[[Meta], Sequence[Like]],
    *,
    finite: bool = False,
) -> tuple[Meta, list[np.ndarray]]:
    """Read what `write_arrays` wrote, if it is what is expected.

    Number, shapes and types of the arrays are compared before a byte of them is read. Their
    checksums, which the format keeps, are compared while they are.

    Args:
        path: The file.
        kind: Record of what is known of the arrays, see `read_json`.
        expected: From that record to what the arrays have to be like, in order. It raises
            DamagedFileError for a record of something else.
        finite: Whether NaN and infinities are refused.

    Returns:
        The record and the arrays.

    Raises:
        DamagedFileError: If it holds something else.
        StorageError: If it cannot be read.
    """
    with read_archive(path) as archive:
        meta, arrays = _read(archive, path, kind, expected)
    for number, array in enumerate(arrays):
        if finite and not np.isfinite(array).all():
            raise DamagedFileError(f"{path} cannot be used: array_{number} is not finite.")
    return meta, arrays


def _read(
    archive: zipfile.ZipFile,
    path: Path,
    kind: type[Meta],
    expected: Callable[[Meta], Sequence[Like]],
) -> tuple[Meta, list[np.ndarray]]:
    text = str(_read_member(archive, _META, _is_text, "a text"))
    described = read_json(text.encode(errors="surrogatepass"), _Described[kind], name=str(path))
    if described.file not in (None, path.name):
        raise ValueError(f"expected {path.name}, received a copy of {described.file}")
    wanted = list(expected(described.meta))
    types = [np.dtype(like.dtype).name for like in wanted]
    if described.dtypes != types:
        raise ValueError(_differing("types", types, described.dtypes))
    arrays = [
        _read_like(archive, f"array_{number}", np.dtype(like.dtype), tuple(like.shape))
        for number, like in enumerate(wanted)
    ]
    return described.meta, arrays


def _is_text(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    return dtype.kind == "U" and shape == () and dtype.itemsize <= 4 * MOST_BYTES


def _differing(what: str, expected: list[Any], received: list[Any]) -> str:
    """The first place at which two lists differ, in words."""
    if len(expected) != len(received):
        return f"expected {len(expected)} {what}, received {len(received)}"
    pairs = zip(expected, received, strict=True)
    place, pair = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
    return f"expected {what}[{place}] to be {pair[0]}, received {reprlib.repr(pair[1])}"


def _read_like(
    archive: zipfile.ZipFile, member: str, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    # A header has no word for the types that numpy does not know, such as bfloat16.
    types = (dtype, np.dtype(f"V{dtype.itemsize}"))
    values = _read_member(
        archive, member, lambda size, kind: size == shape and kind in types, f"{dtype} {shape}"
    )
    return values.view(dtype)


def _read_member(
    archive: zipfile.ZipFile,
    name: str,
    fits: Callable[[tuple[int, ...], np.dtype], bool],
    expected: str,
) -> np.ndarray:
    """Read one array, if its header says what is expected and just its bytes are there."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _READ_HEADER:
            raise ValueError(f"expected {name} in format 1.0 or 2.0, received {version}")
        shape, fortran, dtype = _READ_HEADER[version](file)
        if not fits(shape, dtype):
            raise ValueError(f"expected {name} to be {expected}, received {dtype} {shape}")
        size = math.prod(shape) * dtype.itemsize
        if member.file_size - file.tell() != size:
            raise ValueError(f"expected {size:,} bytes in {name}, received others")
        return np.ndarray(shape, dtype, file.read(), order="F" if fortran else "C")
