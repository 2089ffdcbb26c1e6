import math
import os
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from finetune.exceptions import DamagedFileError, StorageError
from finetune.support import AnyFloat, read_json


@dataclass
class Epoch:
    loss: AnyFloat
    rate: float


@dataclass(frozen=True)
class Run:
    name: str
    size: tuple[int, int]
    task: Literal["binary", "regression"] = "binary"
    score: float | None = None
    finished: bool = False
    epochs: list[Epoch] = field(default_factory=list)
    extras: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not self.name:
            raise ValueError("expected a name")


def read(text):
    return read_json(text.encode(), Run, name="run.json")


def test_a_record_of_records_is_read_with_its_own_classes():
    text = (
        '{"name": "a", "size": [2, 3], "score": 1, "finished": true,'
        ' "epochs": [{"loss": NaN, "rate": 0.5}], "extras": {"x": [1, "y"]}}'
    )
    run = read(text)
    assert (run.name, run.size, run.score, run.finished) == ("a", (2, 3), 1.0, True)
    assert type(run) is Run and type(run.epochs[0]) is Epoch
    assert math.isnan(run.epochs[0].loss) and run.epochs[0].rate == 0.5
    assert run.extras == {"x": [1, "y"]}


def test_keys_that_a_later_version_added_are_passed_over():
    assert read('{"name": "a", "size": [2, 3], "colour": {"b": 1}}') == Run("a", (2, 3))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("null", "it should be an object, received None"),
        ("[]", "it should be an object, received []"),
        ('{"size": [1, 2]}', "name is missing"),
        ('{"name": 5, "size": [1, 2]}', "name should be a valid string, received 5"),
        ('{"name": "", "size": [1, 2]}', "it: Value error, expected a name"),
        ('{"name": "a", "size": [1.5, 2]}', "size[0] should be a valid integer, received 1.5"),
        ('{"name": "a", "size": [true, 2]}', "size[0] should be a valid integer, received True"),
        ('{"name": "a", "size": [1, 2], "score": NaN}', "score should be a finite number, rec"),
        ('{"name": "a", "size": [1, 2], "score": 1e999}', "score should be a finite number, rec"),
        ('{"name": "a", "size": [1, 2], "score": "1"}', "score should be a valid number, recei"),
        ('{"name": "a", "size": [1, 2], "task": "evil"}', "should be 'binary' or 'regression', r"),
        ('{"name": "a", "size": [1, 2], "finished": 1}', "finished should be a valid boolean, "),
        (
            '{"name": "a", "size": [1, 2], "epochs": [{"loss": 1, "rate": "x"}]}',
            "epochs[0].rate should be a valid number, received 'x'",
        ),
        ('{"name": "a", "size": [1, 2], "extras": ' + "[" * 10**5, "recursion limit exceeded"),
    ],
)
def test_what_the_record_does_not_hold_is_refused_by_its_key(text, reason):
    with pytest.raises(DamagedFileError, match=r"^run\.json cannot be used: ") as caught:
        read(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_of_many_faults_the_first_three_are_named():
    epochs = ", ".join(['{"loss": "x", "rate": 1}'] * 9)
    with pytest.raises(DamagedFileError, match=r"epochs\[2\]\.loss should .*; and 6 more such\.$"):
        read('{"name": "a", "size": [1, 2], "epochs": [' + epochs + "]}")


def test_a_file_is_named_by_its_path(tmp_path):
    path = tmp_path / "counts.json"
    path.write_text('{"a": 1}')
    assert read_json(path, dict[str, int]) == {"a": 1}
    path.write_text('{"a": "1"}')
    with pytest.raises(DamagedFileError) as caught:
        read_json(path, dict[str, int])
    assert str(caught.value) == (
        f"{path} cannot be used: a should be a valid integer, received '1'."
    )


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "huge.json"
    with open(path, "wb") as file:
        file.truncate(2**40)  # takes no room on disk; it would not fit into memory
    with pytest.raises(DamagedFileError, match="expected at most 33,554,432 bytes, received more"):
        read_json(path, dict[str, int])


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    told = []

    def attempt():
        try:
            read_json(tmp_path / "pipe.json", dict[str, int])
        except DamagedFileError as error:
            told.append(str(error))

    reader = threading.Thread(target=attempt, daemon=True)
    reader.start()
    reader.join(20)
    assert told == [f"{tmp_path / 'pipe.json'} cannot be used: expected a regular file."]


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(StorageError, match=r"cannot be read: .*No such file") as caught:
        read_json(tmp_path / "none.json", dict[str, int])
    assert not isinstance(caught.value, DamagedFileError)
