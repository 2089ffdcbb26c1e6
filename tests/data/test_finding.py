"""Finding image files where links, pipes and closed folders lie about."""

import os
from collections import Counter
from pathlib import Path

import pytest

from finetune.data.finding import entries, find_images, walk
from finetune.data.folder import scan_folder
from finetune.exceptions import DataError, DataNotFoundError


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two class folders of two (empty) image files each."""
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def ids(root: Path) -> list[str]:
    return [item.id for item in scan_folder(root).parts["train"].items]


def test_links_in_circles_are_entered_once(classes: Path):
    for name, target in (("a/here", "."), ("a/here_too", "."), ("a/up", ".."), ("b/side", "../a")):
        (classes / name).symlink_to(target)
    source = scan_folder(classes)
    assert ids(classes) == [
        *("a/1.png", "a/2.png"),
        *("b/1.png", "b/2.png", "b/side/1.png", "b/side/2.png"),
    ]
    assert source.ignored == {"links to folders met before": 6}


def test_a_link_to_the_whole_folder_is_no_class(classes: Path):
    (classes / "loop").symlink_to(".")
    source = scan_folder(classes)
    assert source.class_names == ["a", "b"]
    assert source.ignored == {"links to folders met before": 1}


def test_many_ways_to_one_folder_are_gone_once(tmp_path: Path):
    """Each folder holds two links to the next: 2**40 ways lead to the image."""
    for level in range(40):
        (tmp_path / str(level)).mkdir()
        for way in ("x", "y"):
            (tmp_path / str(level) / way).symlink_to(f"../{level + 1}")
    (tmp_path / "40").mkdir()
    (tmp_path / "40" / "1.png").touch()
    ignored: Counter[str] = Counter()
    assert len(list(walk(tmp_path / "0", ignored))) == 1
    assert ignored == {"links to folders met before": 40}


def test_a_link_to_a_folder_elsewhere_is_followed(classes: Path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "3.png").touch()
    (classes / "a" / "more").symlink_to(elsewhere)
    assert ids(classes) == ["a/1.png", "a/2.png", "a/more/3.png", "b/1.png", "b/2.png"]


def test_a_deep_folder_is_searched_to_its_end(tmp_path: Path):
    deep = str(tmp_path)
    for _ in range(1100):
        deep += "/d"
        os.mkdir(deep)
    Path(deep, "1.png").touch()
    try:
        assert [str(file) for file in find_images(tmp_path)] == [f"{deep}/1.png"]
    finally:
        os.remove(f"{deep}/1.png")
        os.removedirs(deep)  # which pytest could not: it goes down by recursion


def test_a_pipe_that_is_named_is_neither_file_nor_folder(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"Expected files or folders, but .*pipe\.png is neither\."):
        find_images(tmp_path / "pipe.png")


def test_a_pattern_that_nothing_is_like_is_told(tmp_path: Path):
    with pytest.raises(DataNotFoundError) as caught:
        find_images(tmp_path / "*.png")
    assert str(caught.value) == f"No file or folder is as the pattern {tmp_path / '*.png'} says."


def test_what_cannot_be_listed_is_told_with_its_reason(classes: Path):
    with pytest.raises(DataError) as caught:
        entries(classes / "a" / "1.png")
    assert str(caught.value) == (
        f"The folder {classes / 'a' / '1.png'} cannot be read: Not a directory. Allow it, or leave "
        "it out."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_closed_folder_is_named(classes: Path):
    (classes / "a").chmod(0)
    try:
        with pytest.raises(DataError, match=r"The folder .*a cannot be read: Permission denied\."):
            scan_folder(classes)
    finally:
        (classes / "a").chmod(0o700)
