import errno
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from finetune.data import load_data
from finetune.data.tfds import from_tfds
from finetune.exceptions import (
    DataError,
    DataNotFoundError,
    DatasetNotPreparedError,
    StorageError,
)


class FinetuneTiny(tfds.core.GeneratorBasedBuilder):
    """Gray images 8 x 6, value 10 x number; label "odd" or "even"."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="train_only"),
        tfds.core.BuilderConfig(name="all"),
        tfds.core.BuilderConfig(name="test_only"),
        tfds.core.BuilderConfig(name="unlabelled"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 6, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["odd", "even"]),
                }
            ),
            supervised_keys=None
            if self.builder_config.name == "unlabelled"
            else ("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        names = {
            "train_only": ["train", "unlabelled"],
            "all": ["train", "validation", "test"],
            "test_only": ["test"],
            "unlabelled": ["train"],
        }[self.builder_config.name]
        return {name: self._generate_examples(20 if name == "train" else 4) for name in names}

    def _generate_examples(self, count: int) -> Iterator:
        for number in range(count):
            image = np.full((8, 6, 1), 10 * number, np.uint8)
            yield number, {"image": image, "label": "odd" if number % 2 else "even"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    for config in ("train_only", "all", "test_only", "unlabelled"):
        FinetuneTiny(config=config, data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.mark.parametrize("name", ["all", "all:1.0.0"])
def test_the_splits_of_the_dataset_are_used(prepared: Path, name: str):
    data = load_data(f"tfds:finetune_tiny/{name}", image_size=8, data_dir=prepared, download=False)
    assert data.class_names == ["odd", "even"]
    assert data.counts == {
        "train": {"odd": 10, "even": 10},
        "validation": {"odd": 2, "even": 2},
        "test": {"odd": 2, "even": 2},
    }
    train = data.splits["train"]
    values = train.images[:, 4, 4, 0].astype(int)
    assert sorted(values) == list(range(0, 200, 10))
    assert [data.class_names[label] for label in train.labels] == [
        "odd" if value // 10 % 2 else "even" for value in values
    ]
    assert train.ids[0] == "train/0"


def test_what_is_missing_is_split_off(prepared: Path):
    options: dict[str, Any] = {"image_size": 8, "data_dir": prepared, "download": False}
    data = load_data("tfds:finetune_tiny/train_only", validation=0.3, **options)
    assert set(data.splits) == {"train", "validation"}
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 20
    again = load_data("tfds:finetune_tiny/train_only", validation=0.3, **options)
    assert again.fingerprint == data.fingerprint


def test_another_dataset_can_be_the_test_set(prepared: Path):
    data = load_data(
        "tfds:finetune_tiny/train_only",
        test="tfds:finetune_tiny/all",
        image_size=8,
        data_dir=prepared,
        download=False,
    )
    assert data.counts["test"] == {"odd": 2, "even": 2}


def test_not_prepared_and_not_to_be_downloaded(tmp_path: Path):
    with pytest.raises(DatasetNotPreparedError) as caught:
        load_data("tfds:finetune_tiny/all", data_dir=tmp_path, download=False)
    assert str(caught.value) == (
        "The TFDS dataset 'finetune_tiny/all' is not prepared at "
        f"{tmp_path}/finetune_tiny/all/1.0.0, and `download=False` forbids to fetch it. Prepare "
        "it where there is a network: tfds build finetune_tiny/all --data_dir "
        f"{tmp_path}; copy the folder here; and name it with `data_dir`."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["no_such_dataset", "finetune_tiny/no_such_config"])
def test_an_unknown_name(tmp_path: Path, name: str):
    with pytest.raises(DataNotFoundError, match=f"TFDS cannot find the dataset '{name}' in"):
        from_tfds(f"tfds:{name}", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mnsit", "Dataset mnsit not found. Nearest: mnist, "),
        ("cifar", "Nearest: cifar10, cifar100"),
        ("mnist/evil", "evil not found with version 3.0.1. It has no configurations."),
        ("finetune_tiny/evil", "It has 'train_only', 'all', 'test_only', 'unlabelled'."),
    ],
)
def test_an_unknown_name_is_told_with_those_that_may_be_meant(tmp_path: Path, name: str, text: str):
    with pytest.raises(DataNotFoundError) as caught:
        from_tfds(f"tfds:{name}", data_dir=tmp_path, download=False)
    assert text in str(caught.value)


def test_no_other_server_is_asked_for_a_name_where_nothing_may_be_fetched(tmp_path: Path):
    with pytest.raises(DatasetNotPreparedError, match="is described on another server"):
        from_tfds("tfds:huggingface:foo", data_dir=tmp_path, download=False)


@pytest.fixture
def alone(prepared: Path, tmp_path: Path) -> Path:
    """A prepared dataset that TFDS knows by its files alone."""
    shutil.copytree(prepared / "finetune_tiny" / "all", tmp_path / "foreign" / "all")
    for path in (tmp_path / "foreign").rglob("*.*"):
        if path.is_file():
            path = path.rename(path.with_name(path.name.replace("finetune_tiny", "foreign")))
            if path.name == "dataset_info.json":
                path.write_text(path.read_text().replace("finetune_tiny", "foreign"))
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda content: content[: len(content) // 2], "after the first 9 (truncated record at"),
        (lambda content: content[:500] + b"?" + content[501:], "after the first 4 (corrupted reco"),
        (lambda content: b"", "expected to contain 20 elements but contained only 0"),
        (lambda content: b"x" * 1000, "Is this even a TFRecord file?"),
    ],
)
def test_a_damaged_shard_is_told_with_how_far_it_could_be_read(alone: Path, damage: Any, text: str):
    (shard,) = alone.rglob("*train*tfrecord*")
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DataError) as caught:
        load_data("tfds:foreign/all", image_size=8, data_dir=alone, download=False)
    assert f"in {shard.parent} is damaged: its train images cannot be read" in str(caught.value)
    assert text in str(caught.value)
    assert "prepare the dataset again" in str(caught.value)


def test_a_damaged_description_is_told(alone: Path):
    (path,) = alone.rglob("features.json")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError) as caught:
        load_data("tfds:foreign/all", image_size=8, data_dir=alone, download=False)
    assert str(caught.value).startswith(f"{path} cannot be used: ")
    assert str(caught.value).endswith(" Prepare the TFDS dataset 'foreign' again.")


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
def test_a_prepared_dataset_has_no_module_imported(alone: Path, key: str):
    options: dict[str, Any] = {"image_size": 8, "data_dir": alone, "download": False}
    assert load_data("tfds:foreign/all", **options).class_names == ["odd", "even"]
    (path,) = alone.rglob("features.json")
    kind = '"pythonClassName": "tensorflow_datasets.core.features.image_feature.Image"'
    assert kind in path.read_text()
    path.write_text(path.read_text().replace(kind, f'"{key}": "antigravity.Image"'))
    with pytest.raises(
        DataError, match=r"asks for the Python class 'antigravity\.Image': expected"
    ):
        load_data("tfds:foreign/all", **options)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("raised", "error", "text"),
    [
        (
            ConnectionError("no route to host"),
            DataError,
            r"could not be downloaded .* \(ConnectionError: no route to host\). Check the network",
        ),
        (
            ModuleNotFoundError("No module named 'tifffile'"),
            DataError,
            r"\(ModuleNotFoundError: No module named 'tifffile'\). Install the package it needs",
        ),
        (OSError(28, "No space left on device"), StorageError, "The disk is full: .*`data_dir`"),
    ],
)
def test_a_failing_download_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    error: type[Exception],
    text: str,
):
    def fail(self: object) -> None:
        raise raised

    monkeypatch.setattr(FinetuneTiny, "download_and_prepare", fail)
    with pytest.raises(error, match=text):
        from_tfds("tfds:finetune_tiny/all", data_dir=tmp_path)


class _NotFound(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *arguments):
        pass


def test_without_a_network_the_first_file_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """TFDS asks ten times for each, and warns each time."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _NotFound)
    place = f"127.0.0.1:{server.server_port}"
    monkeypatch.setattr(FinetuneTiny, "url_infos", {f"http://{place}/images.zip": None})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert from_tfds("tfds:finetune_tiny/all", data_dir=tmp_path / "on").parts["train"].count == 20
    server.shutdown()
    server.server_close()
    with pytest.raises(DatasetNotPreparedError) as caught:
        from_tfds("tfds:finetune_tiny/all", data_dir=tmp_path / "off")
    assert str(caught.value) == (
        f"The TFDS dataset 'finetune_tiny/all' is not prepared at {tmp_path}/off/finetune_tiny/all/"
        f"1.0.0, and {place}, where it would come from, cannot be reached (<urlopen error [Errno "
        f"{errno.ECONNREFUSED}] Connection refused>). Connect to the network, or copy a prepared "
        "dataset there; `data_dir` names another place."
    )


def test_a_dataset_that_is_not_prepared_is_prepared(tmp_path: Path):
    assert from_tfds("tfds:finetune_tiny/all", data_dir=tmp_path).parts["train"].count == 20


def test_datasets_that_cannot_be_trained_on(prepared: Path):
    with pytest.raises(DataError, match="has no train split, only 'test'"):
        from_tfds("tfds:finetune_tiny/test_only", data_dir=prepared)
    with pytest.raises(DataError, match=r"is not one of labelled images: .* got None"):
        from_tfds("tfds:finetune_tiny/unlabelled", data_dir=prepared)
