import numpy as np
import pytest
import tensorflow as tf

from finetune.data import fixes, load_data
from finetune.data.fixes import Fix, read_fixes, write_fixes
from finetune.exceptions import ArgumentError, DataError, DataNotFoundError


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def load(images, labels, **options):
    return load_data((images, labels), image_size=8, validation=None, **options)


def contents(images, labels):
    split = load(images, labels).splits["train"]
    return dict(zip(split.ids, split.content, strict=True))


def test_images_are_left_out_and_given_other_labels_by_their_content(images, tmp_path):
    labels = ["boots", "sandals"] * 6
    names = contents(images, labels)
    file = tmp_path / "fixes.csv"
    write_fixes(
        file,
        [
            Fix(names["train/0"], "leave out", path="old name", reason="blank"),
            Fix(names["train/1"], "relabel", "boots"),
            Fix(names["train/2"], "keep"),
            Fix("00", "leave out"),
        ],
    )
    data = load(images, labels, fixes=file)
    split = data.splits["train"]
    assert split.ids == [f"train/{row}" for row in range(1, 12)]
    assert split.labels.tolist() == [0, 0, *[1, 0] * 4, 1]
    np.testing.assert_array_equal(split.images, images[1:])
    fixed = data.report.fixed
    assert (fixed.left_out, fixed.relabelled, fixed.unmet) == (1, 1, 1)
    assert f"As {file} says, 1 images were left out, 1 given another label." in data.summary()
    assert data.fingerprint != load(images, labels).fingerprint
    assert data.at_size(4).splits["train"].ids == split.ids


def test_numbered_classes_are_named_by_their_numbers_or_names(images, tmp_path):
    file = tmp_path / "fixes.csv"
    name = contents(images, [0, 1] * 6)["train/1"]
    write_fixes(file, [Fix(name, "relabel", "0")])
    assert load(images, [0, 1] * 6, fixes=file).counts["train"] == {"0": 7, "1": 5}
    write_fixes(file, [Fix(name, "relabel", "boots")])
    named = load(images, [0, 1] * 6, fixes=file, class_names=["boots", "sandals"])
    assert named.counts["train"] == {"boots": 7, "sandals": 5}


def test_a_table_that_excel_saved_is_read(tmp_path):
    file = tmp_path / "fixes.csv"
    file.write_bytes(
        "\ufeffcontent;action;label\r\nab;Leave_Out;\r\ncd;relabel;Stiefel\r\n".encode()
    )
    assert read_fixes(file) == {
        "ab": Fix("ab", "leave out"),
        "cd": Fix("cd", "relabel", "Stiefel"),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "Expected the columns content and action"),
        ("", "Expected the columns content and action"),
        ("content,action\nab,delete\n", "row 2: expected an action of 'leave out'"),
        ("content,action\nab,relabel\n", "row 2: expected a label, the name of the class"),
        ("content,action\n,keep\n", "row 2: expected a content"),
        (
            "content,action\n" + "a" * 200_000 + ",keep\n",
            "fixes.csv is no table: field larger than",
        ),
        (
            "content,action\nab,keep\nab,leave out\n",
            "row 3: ab is to be left out, but a row before",
        ),
    ],
)
def test_a_table_that_cannot_be_understood_is_told_with_its_row(text, told, tmp_path):
    file = tmp_path / "fixes.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=told):
        read_fixes(file)


def test_a_file_that_is_too_large_to_be_a_table_is_not_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(fixes, "_MOST_BYTES", 2 * 10**6)
    file = tmp_path / "fixes.csv"
    file.write_bytes(b"content,action\n" + b"ab,keep\n" * 250_000)
    with pytest.raises(DataError) as caught:
        read_fixes(file)
    assert str(caught.value) == f"{file} has more than 2 MB: it is no table of fixes."


def test_images_that_come_one_after_the_other_cannot_be_fixed(images, tmp_path):
    file = tmp_path / "fixes.csv"
    write_fixes(file, [Fix("ab", "leave out")])
    dataset = tf.data.Dataset.from_tensor_slices((images, [0, 1] * 6))
    with pytest.raises(ArgumentError) as caught:
        load_data(dataset, image_size=8, fixes=file)
    assert str(caught.value) == (
        "Expected stored images for fixes (a folder, arrays, a TFDS name), received a "
        "tf.data.Dataset. Filter it instead."
    )


def test_what_cannot_be_done_is_told(images, tmp_path):
    file = tmp_path / "fixes.csv"
    names = contents(images, [0, 1] * 6)
    with pytest.raises(DataNotFoundError, match="Expected a table as `finetune check DATA --fix`"):
        load(images, [0, 1] * 6, fixes=file)
    write_fixes(file, [Fix(names["train/1"], "relabel", "boats")])
    with pytest.raises(
        ArgumentError, match=r"'boats', which is no class\. Expected one of '0', '1'"
    ):
        load(images, [0, 1] * 6, fixes=file)
    with pytest.raises(ArgumentError, match="Change the labels themselves"):
        load(images, np.eye(2, dtype="float32")[[0, 1] * 6], task="multilabel", fixes=file)
    write_fixes(file, [Fix(name, "leave out") for name in names.values()])
    with pytest.raises(DataError, match="leaves out every image"):
        load(images, [0, 1] * 6, fixes=file)
