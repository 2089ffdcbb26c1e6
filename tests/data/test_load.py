from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from finetune.data import ImageData, load_data
from finetune.exceptions import (
    ArgumentError,
    DataError,
    EmptyClassError,
    ImageSizeError,
    MissingClassError,
    OutOfTimeError,
    TooFewClassesError,
    UnreadableImageError,
)
from finetune.support import time_limit

Write = Callable[..., list[Path]]


def load(source: object, **options) -> ImageData:
    return load_data(source, **{"image_size": 8, "augment": "none", **options})


def membership(data: ImageData) -> dict[str, str]:
    return {item: name for name, split in data.splits.items() for item in split.ids}


def arrays(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return pixels, np.arange(count) % 2


def test_a_folder_is_split_stratified_and_decoded(shoes: Path):
    data = load(shoes, validation=0.5)
    assert data.class_names == ["boots", "sandals"] and data.task == "binary"
    assert {name: sum(count.values()) for name, count in data.counts.items()}.keys() == {
        "train",
        "validation",
    }
    for split in data.splits.values():
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        for image, label, item in zip(split.images, split.labels, split.ids, strict=True):
            assert np.array_equal(image, np.asarray(Image.open(shoes / item)))
            assert data.class_names[label] == item.split("/")[0]
        assert split.ids == sorted(split.ids)


def test_all_splits_are_parts_of_one_array(shoes: Path):
    data = load(shoes, test=0.2)
    bases = {id(split.images.base) for split in data.splits.values()}
    assert len(bases) == 1 and set(data.splits) == {"train", "validation", "test"}


def test_adding_images_moves_no_other(shoes: Path, write_images: Write):
    before = membership(load(shoes, test=0.2))
    for seed, name in enumerate(("boots", "sandals"), 10):
        write_images(shoes / name / "more", 30, seed=seed)
    after = membership(load(shoes, test=0.2))
    assert len(after) == 100 and before == {item: after[item] for item in before}


def test_renaming_and_duplicates_do_not_change_the_split(shoes: Path):
    before = membership(load(shoes))
    for file in (shoes / "boots").iterdir():
        (file.parent / f"a copy of {file.name}").write_bytes(file.read_bytes())
        file.rename(file.with_name(f"new {file.name}"))
    after = membership(load(shoes))
    boots = {item[6:]: name for item, name in before.items() if item.startswith("boots/")}
    assert len(boots) == 20
    assert {stem: after[f"boots/new {stem}"] for stem in boots} == boots
    assert {stem: after[f"boots/a copy of {stem}"] for stem in boots} == boots


def test_splitting_off_a_test_set_moves_no_image_between_the_others(shoes: Path):
    without, with_test = membership(load(shoes)), membership(load(shoes, test=0.3))
    assert {name for item, name in with_test.items() if name != without[item]} == {"test"}


def test_seed_decides_the_split(shoes: Path):
    assert membership(load(shoes)) == membership(load(shoes))
    assert membership(load(shoes, seed=1)) != membership(load(shoes))


def test_parts_of_the_folder_are_used(tmp_path: Path, write_images: Write):
    for seed, part in enumerate(("train", "valid", "test")):
        for name, count in (("a", 6), ("b", 4)):
            write_images(tmp_path / part / name, count, seed=10 * seed + count)
    data = load(tmp_path, validation=0.5, test=0.5)
    assert data.counts == {name: {"a": 6, "b": 4} for name in ("train", "validation", "test")}
    assert data.splits["validation"].ids[0] == "valid/a/000.png"


def test_validation_and_test_may_be_folders_of_their_own(
    shoes: Path, tmp_path: Path, write_images: Write
):
    for seed, name in enumerate(("boots", "sandals"), 5):
        write_images(tmp_path / "extra" / name, 3, seed=seed)
    data = load(shoes, validation=tmp_path / "extra", test=str(tmp_path / "extra"))
    assert data.counts["validation"] == data.counts["test"] == {"boots": 3, "sandals": 3}
    assert data.counts["train"] == {"boots": 20, "sandals": 20} and not data.report.leaked


def test_validation_none_splits_nothing_off(shoes: Path):
    data = load(shoes, validation=None)
    assert set(data.splits) == {"train"} and data.validation is None


def test_training_images_given_again_for_validation_are_reported(shoes: Path):
    assert len(load(shoes, validation=shoes).report.leaked) == 40
    assert load(shoes).report.leaked == ()


def test_an_image_in_two_classes_is_reported(shoes: Path):
    (shoes / "sandals" / "copy.png").write_bytes((shoes / "boots" / "003.png").read_bytes())
    (shoes / "boots" / "twice.png").write_bytes((shoes / "boots" / "004.png").read_bytes())
    report = load(shoes).report
    assert report.contradicting == ("boots/003.png", "sandals/copy.png")
    assert str(report) == (
        "2 images have two labels, as copies of one image: boots/003.png, sandals/copy.png"
    )


def test_unreadable_images_are_skipped_and_listed(shoes: Path):
    (shoes / "boots" / "000.png").write_bytes(b"")
    (shoes / "sandals" / "001.png").write_text("text")
    (shoes / "notes.txt").touch()
    data = load(shoes)
    assert [str(file) for file in data.report.skipped] == [
        f"{shoes}/boots/000.png: the file is empty (0 bytes)",
        f"{shoes}/sandals/001.png: its content is not an image of a known format",
    ]
    assert data.report.ignored == {"stray files": 1}
    assert len(membership(data)) == 38 and "boots/000.png" not in membership(data)
    assert "Skipped 2 unreadable:" in str(data)


def test_links_that_lead_nowhere_are_listed_or_passed_over(shoes: Path):
    (shoes / "boots" / "gone.png").symlink_to(shoes / "no such file")
    (shoes / "boots" / "round.png").symlink_to(shoes / "boots" / "round.png")
    (shoes / "nowhere").symlink_to(shoes / "no such folder")
    data = load(shoes)
    assert [file.path.rsplit("/")[-1] for file in data.report.skipped] == ["gone.png", "round.png"]
    assert "Too many levels of symbolic links" in data.report.skipped[1].reason
    assert data.report.ignored["stray files"] == 1


def test_strict_makes_unreadable_images_an_error(shoes: Path):
    for number in range(12):
        (shoes / "boots" / f"{number:03}.png").write_bytes(b"")
    with pytest.raises(UnreadableImageError) as caught:
        load(shoes, strict=True)
    lines = str(caught.value).splitlines()
    assert lines[0] == "12 of 40 images cannot be read:"
    assert lines[1] == f"  {shoes}/boots/000.png: the file is empty (0 bytes)"
    assert lines[11:] == [
        "  and 2 more",
        "Remove or replace them, or leave them out with strict=False.",
    ]


def test_a_class_without_a_readable_image(shoes: Path):
    for file in (shoes / "boots").iterdir():
        file.write_bytes(b"")
    with pytest.raises(EmptyClassError, match=r"image of 'boots'\. 20 could not be read, such as"):
        load(shoes)
    for file in (shoes / "sandals").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UnreadableImageError, match="40 of 40 images cannot be read"):
        load(shoes)


def test_a_class_that_validation_lacks(shoes: Path, tmp_path: Path, write_images: Write):
    write_images(tmp_path / "extra" / "boots", 3)
    write_images(tmp_path / "extra" / "heels", 3)
    with pytest.raises(MissingClassError) as caught:
        load(shoes, validation=tmp_path / "extra")
    assert str(caught.value) == (
        "The validation images must have the classes of the training images ('boots', 'sandals'), "
        "but hold no image of 'sandals' and images of 'heels', unknown in training."
    )
    pixels, labels = arrays(4)
    with pytest.raises(MissingClassError, match=r"test images .* hold no image of '1'"):
        load(arrays(), test=(pixels[labels == 0], labels[labels == 0]))


def test_a_class_with_a_single_image_cannot_be_split(shoes: Path, write_images: Write):
    write_images(shoes / "heels", 1)
    with pytest.raises(
        MissingClassError, match=r"Class 'heels' has too few different images \(1\)"
    ):
        load(shoes)


def test_class_names_fix_the_order_of_folders(shoes: Path):
    data = load(shoes, class_names=["sandals", "boots"])
    assert data.class_names == ["sandals", "boots"]
    assert data.splits["train"].ids[0].startswith("boots/")
    assert data.splits["train"].labels[0] == 1
    with pytest.raises(EmptyClassError, match="No readable training image of 'heels'"):
        load(shoes, class_names=["sandals", "boots", "heels"])
    with pytest.raises(DataError, match=r"not in `class_names` \['boots', 'x'\]: \['sandals'\]"):
        load(shoes, class_names=["boots", "x"])


def test_fingerprint_changes_with_content_labels_size_and_resize_only(shoes: Path):
    def fingerprint(**options) -> str:
        return load(shoes, validation=None, **options).fingerprint

    first = fingerprint()
    assert fingerprint(batch_size=3, augment="light") == first
    changed = {first, fingerprint(image_size=9), fingerprint(resize="crop")}
    (shoes / "boots" / "000.png").rename(shoes / "boots" / "000 with another name.png")
    assert fingerprint() == first  # A name matters only through the order of images.
    (shoes / "boots" / "001.png").rename(shoes / "sandals" / "001 moved.png")
    changed.add(fingerprint())
    file = shoes / "boots" / "002.png"
    pixels = np.array(Image.open(file))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    changed.add(fingerprint())
    assert len(changed) == 5


def test_fingerprint_of_arrays_changes_with_one_pixel_or_label():
    pixels, labels = arrays()
    first = load((pixels, labels)).fingerprint
    assert load((pixels.copy(), list(labels))).fingerprint == first
    other = pixels.copy()
    other[7, 3, 3, 1] ^= 1
    assert load((other, labels)).fingerprint != first
    flipped = labels.copy()
    flipped[7] ^= 1
    assert load((pixels, flipped)).fingerprint != first


@pytest.mark.parametrize("shape", [(40, 5, 6), (40, 5, 6, 1), (40, 5, 6, 4)])
def test_arrays_of_any_shape_are_resized(shape: tuple[int, ...]):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = load((pixels, arrays()[1]), image_size=(10, 12))
    assert data.splits["train"].images.shape[1:] == (10, 12, 3)
    assert set(membership(data)) == {f"train/{number}" for number in range(40)}


def test_labels_of_every_task():
    pixels, labels = arrays()
    assert load((pixels, np.arange(40) % 3)).task == "multiclass"
    multilabel = load((pixels, np.stack([labels, 1 - labels, labels], 1)), task="multilabel")
    assert multilabel.splits["train"].labels.dtype == np.float32
    assert multilabel.counts["train"]["0"] == multilabel.counts["train"]["2"]
    regression = load((pixels, labels / 7), task="regression")
    assert regression.class_names == [] and set(regression.counts["train"]) == {"images"}
    assert "images" in str(regression)


def test_a_class_number_that_no_image_has():
    with pytest.raises(EmptyClassError, match=r"image of '0'\..*count from 0 without a gap"):
        load((arrays()[0], arrays()[1] + 1))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"image_size": 0}, ImageSizeError, "`image_size` must be a positive number of pixels"),
        ({"resize": "fit"}, ArgumentError, '`resize` must be one of "crop"'),
        ({"augment": "much"}, ArgumentError, "Expected augment to be one of"),
        (
            {"batch_size": 1.5},
            ArgumentError,
            "as a whole number of 1 or more.* received 1.5",
        ),
        (
            {"batch_size": 10**22},
            ArgumentError,
            "at most 1,000,000, received 1000",
        ),
        ({"memory_budget": "4GB"}, ArgumentError, "memory_budget as .* received '4GB' of type"),
        ({"seed": -1}, ArgumentError, "seed as a whole number of 0 or more .* received -1"),
        ({"seed": 10**20}, ArgumentError, "seed as .* at most 4,294,967,295, received 1000"),
        ({"validation": 20}, ArgumentError, "`validation` as a number is the share of images"),
        ({"test": 1.0}, ArgumentError, "`test` as a number is the share"),
        ({"task": "detect"}, ArgumentError, "`task` must be one of"),
        ({"validation": "1-fold"}, ArgumentError, "in 2 to 100 folds.* received '1-fold'"),
        ({"validation": "101-fold"}, ArgumentError, "in 2 to 100 folds.* received '101-fold'"),
        ({"validation": [1, 2, 3]}, ArgumentError, "The validation images must be a folder, a TF"),
    ],
)
def test_arguments_that_are_not_allowed(options: dict, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        load(arrays(), **options)


def test_a_source_of_another_kind():
    with pytest.raises(ArgumentError) as caught:
        load({"images": 1})
    assert str(caught.value) == (
        "The train images must be a folder, a TFDS name such as 'tfds:mnist', (images, labels) "
        "arrays or, if all are, a tf.data.Dataset; got dict."
    )
    with pytest.raises(TooFewClassesError):
        load((arrays()[0], np.zeros(40, int)))


def test_a_model_trains_on_a_folder(shoes: Path):
    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
    model.compile(loss="mse")
    data = load(shoes, augment="light")
    history = model.fit(
        data.train, validation_data=data.validation, epochs=2, shuffle=False, verbose=0
    )
    assert len(history.epoch) == 2


def test_decoding_ends_where_time_is_up():
    with time_limit(0.0), pytest.raises(OutOfTimeError, match="0 of 40 images were decoded"):
        load(arrays())
