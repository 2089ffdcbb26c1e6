"""Folders that are whole or not there."""

import pytest

from finetune.exceptions import ArgumentError, StorageError
from finetune.support import whole_folder

MARK = "mark.json"


def fill(place, text, **options):
    with whole_folder(place, MARK, **options) as folder:
        assert not place.exists() or options
        (folder / MARK).write_text(text)


def test_it_appears_once_it_is_whole(tmp_path):
    fill(tmp_path / "a" / "b", "first")
    assert (tmp_path / "a" / "b" / MARK).read_text() == "first"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_after_an_error_all_is_as_it_was(tmp_path):
    place = tmp_path / "b"
    for expected in ([], ["b"]):
        with pytest.raises(KeyboardInterrupt), whole_folder(place, MARK, overwrite=True) as folder:
            (folder / MARK).write_text("half")
            raise KeyboardInterrupt
        assert [path.name for path in tmp_path.iterdir()] == expected
        if not expected:
            fill(place, "first")
    assert (place / MARK).read_text() == "first"


def test_one_of_the_kind_is_replaced_where_that_was_asked_for(tmp_path):
    fill(tmp_path / "b", "first")
    with pytest.raises(ArgumentError, match=r"is there already\. Replace it with overwrite=True"):
        fill(tmp_path / "b", "second")
    fill(tmp_path / "b", "second", overwrite=True)
    assert (tmp_path / "b" / MARK).read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "b").mkdir()
    fill(tmp_path / "b", "first", overwrite=False)
    assert (tmp_path / "b" / MARK).read_text() == "first"


def test_files_of_somebody_else_stay(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ArgumentError, match=r"holds files without mark\.json among them"):
        fill(tmp_path, "first", overwrite=True)
    with pytest.raises(ArgumentError, match="mine is a file"):
        fill(tmp_path / "mine", "first", overwrite=True)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Expected a folder that can be written"):
        fill(tmp_path / "file" / "b", "first")
