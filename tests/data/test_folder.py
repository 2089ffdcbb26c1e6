from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.data.folder import scan_folder
from finetune.data.items import Source
from finetune.exceptions import (
    DataError,
    DataNotFoundError,
    EmptyClassError,
    MissingClassError,
    TooFewClassesError,
)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Creates empty files: scanning does not open them."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
        return tmp_path

    return make


def ids(source: Source) -> dict[str, list[tuple[str, str]]]:
    return {
        name: [(item.id, item.label) for item in part.items] for name, part in source.parts.items()
    }


def test_class_folders_at_the_top(tree: Callable[..., Path]):
    source = scan_folder(tree("dog/2.jpg", "dog/deep/er/1.PNG", "cat/1.webp"))
    assert ids(source) == {
        "train": [("cat/1.webp", "cat"), ("dog/2.jpg", "dog"), ("dog/deep/er/1.PNG", "dog")]
    }
    assert source.class_names == ["cat", "dog"] and not source.ignored


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("training", "valid", "testing"), ("Train", "validation", "TEST")],
)
def test_parts_by_their_usual_names(
    tree: Callable[..., Path], train: str, validation: str, test: str
):
    names = [f"{part}/{name}/1.jpg" for part in (train, validation, test) for name in "ab"]
    found = ids(scan_folder(tree(*names)))
    assert {part: [item for item, _ in items] for part, items in found.items()} == {
        "train": [f"{train}/a/1.jpg", f"{train}/b/1.jpg"],
        "validation": [f"{validation}/a/1.jpg", f"{validation}/b/1.jpg"],
        "test": [f"{test}/a/1.jpg", f"{test}/b/1.jpg"],
    }


def test_what_is_no_image_is_ignored_and_counted(tree: Callable[..., Path]):
    root = tree(
        "README.md",
        ".DS_Store",
        ".git/config",
        "__MACOSX/a/1.jpg",
        "a/1.jpg",
        "a/Thumbs.db",
        "a/notes.txt",
        "a/.cache/1.jpg",
        "b/1.jpg",
    )
    source = scan_folder(root)
    assert source.class_names == ["a", "b"] and source.parts["train"].count == 2
    assert source.ignored == {"stray files": 2, "hidden files": 2, "hidden folders": 3}
    assert source.ignored.strays == ["README.md", "notes.txt"]


def test_other_folders_beside_train_are_ignored_and_counted(tree: Callable[..., Path]):
    source = scan_folder(tree("train/a/1.jpg", "train/b/1.jpg", "drafts/c/1.jpg", "labels.csv"))
    assert source.class_names == ["a", "b"]
    assert source.ignored == {"other folders": 1, "stray files": 1}
    assert str(source.ignored) == "1 other folder, 1 stray file (labels.csv)"


def test_classes_beside_train_are_not_passed_over(tree: Callable[..., Path]):
    root = tree("train/diesel/1.jpg", "train/steam/1.jpg", "bus/1.jpg", "car/1.jpg")
    with pytest.raises(DataError) as caught:
        scan_folder(root)
    assert str(caught.value) == (
        f"{root} holds train/ and, beside it, folders of images: 'bus', 'car'. Where they are "
        "classes too, bring all classes to one place; else move them away, or name the folders one "
        f"by one: {root}/train, with those to validate and to test on as `validation` and `test`."
    )


def test_a_class_may_be_called_train(tree: Callable[..., Path]):
    assert scan_folder(tree("train/1.jpg", "bus/1.jpg")).class_names == ["bus", "train"]


def test_a_class_may_be_called_test(tree: Callable[..., Path]):
    assert scan_folder(tree("test/1.jpg", "fail/1.jpg")).class_names == ["fail", "test"]


def test_missing_folder_and_file_instead_of_folder(tree: Callable[..., Path]):
    root = tree("file.zip")
    with pytest.raises(DataNotFoundError, match=r"There is no folder .*absent"):
        scan_folder(root / "absent")
    with pytest.raises(DataError, match=r"Expected a folder with one folder per class, got the fi"):
        scan_folder(root / "file.zip")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_name_that_no_folder_can_have(name: str):
    with pytest.raises(DataNotFoundError, match="There is no folder"):
        scan_folder(name)


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(DataNotFoundError, match="Expected a folder of images, received an empty"):
        scan_folder("")


@pytest.mark.parametrize("name", ["Ünï 日本語 😀", "c'\"d", "a\nb", "e\x1b[31m", "n" * 255])
def test_a_folder_of_any_name_is_a_class(tree: Callable[..., Path], name: str):
    found = scan_folder(tree(f"{name}/1.jpg", "other/1.jpg"))
    assert found.class_names == sorted([name, "other"])


def test_ten_thousand_classes_are_found(tree: Callable[..., Path]):
    root = tree(*(f"{number:05}/1.jpg" for number in range(10_000)))
    found = scan_folder(root)
    assert (len(found.class_names or ()), found.parts["train"].count) == (10_000, 10_000)


def test_too_few_classes(tree: Callable[..., Path]):
    root = tree("1.jpg", "2.jpg")
    with pytest.raises(TooFewClassesError, match=r"Found 0 class folders in .*such as cats/1.jpg"):
        scan_folder(root)
    tree("cat/1.jpg")
    with pytest.raises(TooFewClassesError, match=r"Found 1 class folder \(cat\) in"):
        scan_folder(root)


def test_an_empty_class(tree: Callable[..., Path]):
    with pytest.raises(EmptyClassError, match=r"No image in the class folder 'cow' of .*remove th"):
        scan_folder(tree("cat/1.jpg", "dog/1.jpg", "cow/notes.txt"))


def test_a_class_missing_from_validation_or_unknown_in_test(tree: Callable[..., Path]):
    root = tree("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/")
    with pytest.raises(MissingClassError) as caught:
        scan_folder(root)
    assert str(caught.value) == (
        "The validation images must have the classes of the training images ('a', 'b'), but hold "
        "no image of 'b'."
    )
    tree("val/b/1.jpg", "test/a/1.jpg", "test/c/1.jpg")
    with pytest.raises(MissingClassError, match="no image of 'b' and images of 'c', unknown in"):
        scan_folder(root)


def test_layouts_that_can_be_read_in_two_ways(tree: Callable[..., Path]):
    root = tree("val/a/1.jpg", "test/a/1.jpg")
    with pytest.raises(DataError, match="holds test/, val/ but no train/ folder"):
        scan_folder(root)
    tree("train/a/1.jpg", "training/a/1.jpg")
    with pytest.raises(DataError, match=r"Both .*train and .*training look like the train images"):
        scan_folder(root)
