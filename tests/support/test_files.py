"""Files and folders where others may write too, and text where others chose the letters."""

import os
import stat
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.exceptions import RunFolderError, StorageError
from finetune.support import (
    hold,
    in_one_line,
    new_folder,
    partial_beside,
    printable,
    release,
    remove_partial,
    write_text,
)
from finetune.support.files import is_partial


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_not_whole_yet_has_a_name_that_nobody_can_guess(tmp_path):
    names = {partial_beside(tmp_path / "run.json").name for _ in range(100)}
    assert len(names) == 100
    assert all(map(is_partial, names))


def test_a_link_that_somebody_put_there_is_not_written_through(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda size: "00")  # as if it had been guessed
    partial_beside(tmp_path / "run.json").symlink_to(victim)
    with pytest.raises(StorageError, match=r"Could not write .*run\.json: .*File exists"):
        write_text(tmp_path / "run.json", "new")
    assert victim.read_text() == "mine"


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "run.json").symlink_to(victim)
    write_text(tmp_path / "run.json", "new")
    assert (victim.read_text(), (tmp_path / "run.json").read_text()) == ("mine", "new")
    assert not (tmp_path / "run.json").is_symlink()


def test_folders_of_runs_and_studies_are_their_users_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mode(new_folder()) == 0o700
    release(hold(tmp_path / "study", RunFolderError))
    assert mode(tmp_path / "study") == 0o700
    (tmp_path / "shared").mkdir(0o750)
    release(hold(tmp_path / "shared", RunFolderError))
    assert mode(tmp_path / "shared") == 0o750


def test_a_folder_that_could_not_be_held_is_not_left(tmp_path):
    resource = pytest.importorskip("resource", reason="known to Unix alone")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(StorageError, match=r"Could not write .*process: "):
            hold(tmp_path / "run", RunFolderError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_being_written_is_removed_as_a_file_is(tmp_path):
    left = tmp_path / ".model.keras.0123456789abcdef.partial"
    left.mkdir()
    (left / "model.keras").touch()
    (tmp_path / "kept").touch()
    (tmp_path / ".run.json.0123456789abcdef.partial").symlink_to(tmp_path / "kept")
    remove_partial(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]


@given(st.text())
def test_nothing_printed_commands_a_terminal_and_all_else_stays(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(letter == "\n" or unicodedata.category(letter) != "Cc" for letter in shown)
    kept = [pair for pair in zip(text, shown, strict=True) if pair[1] != "?"]
    assert all(before == after for before, after in kept)
    assert "\n" not in in_one_line(text)


def test_names_in_any_language_are_shown_as_they_are():
    for name in ("Ünïcode", "日本語", "👨‍👩‍👧 family", "עברית", "c'\"d"):
        assert printable(name) == name
    assert printable("a\u202egnp.exe") == "a?gnp.exe"
