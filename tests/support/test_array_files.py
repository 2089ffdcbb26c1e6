import io
import json
import pickle
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from archive_members import rewrite
from finetune.exceptions import DamagedFileError, StorageError
from finetune.support import read_arrays, values_of, write_arrays


@dataclass
class Meta:
    epochs: int


ARRAYS = [np.arange(6, dtype="float32").reshape(2, 3), np.array(7, dtype="int64"), np.zeros((0, 4))]


def read(path, like=ARRAYS):
    return read_arrays(path, Meta, lambda meta: like)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"epochs": 3}, ARRAYS)
    return path


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(shape, descr="<f4"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"shape": shape, "fortran_order": False, "descr": descr}
    )
    return buffer.getvalue()


def test_what_was_written_is_read(file):
    meta, arrays = read(file)
    assert meta == Meta(3)
    for array, expected in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


def test_values_of_keras_variables_of_every_precision_are_read(tmp_path):
    kinds = ("float32", "bfloat16", "float16", "int32", "uint32", "bool")
    variables = [keras.Variable(np.ones((2, 2)), dtype=kind, trainable=False) for kind in kinds]
    write_arrays(tmp_path / "a.npz", {"epochs": 1}, values_of(variables))
    _, arrays = read(tmp_path / "a.npz", variables)
    assert [array.dtype.name for array in arrays] == [*kinds]
    assert all((array == 1).all() for array in arrays)


def set_meta(members, meta, dtypes=("float32", "int64", "float64")):
    members["meta.npy"] = npy(np.array(json.dumps({"meta": meta, "dtypes": [*dtypes]})))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.pop("meta.npy"), "meta.npy"),
        (lambda m: m.pop("array_1.npy"), "array_1.npy"),
        (lambda m: set_meta(m, {"epochs": "3"}), "meta.epochs should be a valid integer, recei"),
        (lambda m: set_meta(m, {}), "meta.epochs is missing"),
        (lambda m: set_meta(m, {"epochs": 3}, ["float32"]), "expected 3 types, received 1"),
        (
            lambda m: set_meta(m, {"epochs": 3}, ["float16", "int64", "float64"]),
            "expected types[0] to be float32, received 'float16'",
        ),
        (lambda m: m.update({"meta.npy": npy(np.arange(3))}), "expected meta to be a text, recei"),
        (
            lambda m: m.update({"array_0.npy": npy(np.zeros((3, 2), "float32"))}),
            "expected array_0 to be float32 (2, 3), received float32 (3, 2)",
        ),
        (
            lambda m: m.update({"array_0.npy": header((10**12,)) + bytes(24)}),
            "expected array_0 to be float32 (2, 3), received float32 (1000000000000,)",
        ),
        (
            lambda m: m.update({"array_0.npy": header((2, 3)) + bytes(20)}),
            "expected 24 bytes in array_0, received others",
        ),
        (
            lambda m: m.update({"array_0.npy": header((2, 3)) + bytes(2**20)}),
            "expected 24 bytes in array_0, received others",
        ),
        (
            lambda m: m.update({"array_0.npy": header((2, 3), "|O") + pickle.dumps([1])}),
            "expected array_0 to be float32 (2, 3), received object (2, 3)",
        ),
        (lambda m: m.update({"array_0.npy": b"garbage"}), "magic"),
    ],
)
def test_what_is_not_expected_is_refused_before_it_is_read(file, change, reason):
    rewrite(file, change)
    with pytest.raises(DamagedFileError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file} cannot be used: ")
    assert reason in str(caught.value)


def test_a_flipped_bit_is_noticed(file):
    content = bytearray(file.read_bytes())
    place = content.index(ARRAYS[0].tobytes()) + 5
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedFileError, match="Bad CRC-32"):
        read(file)


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1}), npy(ARRAYS[0])])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="File is not a zip file"):
        read(path)


def test_any_truncation_is_refused(file):
    content = file.read_bytes()
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            read(file)


def test_no_single_wrong_byte_ends_in_another_kind_of_error_or_other_values(file):
    content = file.read_bytes()
    refused = 0
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            meta, arrays = read(file)
        except DamagedFileError:
            refused += 1
            continue
        assert meta == Meta(3)  # the byte was one that does not matter, such as a date
        for array, expected in zip(arrays, ARRAYS, strict=True):
            np.testing.assert_array_equal(array, expected, strict=True)
    assert refused > len(content) / 2


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(StorageError, match=r"cannot be read: .*No such file") as caught:
        read(tmp_path / "none.npz")
    assert not isinstance(caught.value, DamagedFileError)
