"""Turn MNIST's four idx files into something that a data loader reads.

    python recipes/mnist_from_idx.py IDX_DIR OUT_DIR --format folder --limit 1000

IDX_DIR holds {train,t10k}-images-idx3-ubyte and -labels-idx1-ubyte, gzipped or not. Formats:
    folder  OUT_DIR/train/0 to OUT_DIR/test/9, PNG files: fine_tune("OUT_DIR")
    tfds    what TFDS itself prepares: fine_tune("tfds:mnist", data_dir="OUT_DIR")
    npz     OUT_DIR/mnist.npz with x_train, y_train, x_test, y_test
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def read_idx(path):
    """Reads one idx file of unsigned bytes, gzipped or not."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"Expected an idx file of unsigned bytes, got {path}. Download it again.")
    start = 4 + 4 * data[3]
    return np.frombuffer(data, np.uint8, offset=start).reshape(np.frombuffer(data[4:start], ">u4"))


def read_mnist(folder, limit=None):
    """Reads the four files: {"train": (images, labels), "test": (images, labels)}."""
    splits = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        names = [f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"]
        found = [path for name in names for path in sorted(folder.glob(f"{name}*"))[:1]]
        if len(found) < 2:
            raise FileNotFoundError(f"Expected {names[0]} and {names[1]} (or .gz) in {folder}.")
        images, labels = (read_idx(path) for path in found)
        if len(images) != len(labels):
            raise ValueError(f"{folder}: {len(images)} {split} images, {len(labels)} labels.")
        splits[split] = images[:limit], labels[:limit]
    return splits


def write_folder(splits, out):
    for split, pair in splits.items():
        for number, (image, label) in enumerate(zip(*pair, strict=True)):
            path = out / split / str(label) / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def write_tfds(splits, out):
    class MNISTFromFiles(tfds.image_classification.MNIST, skip_registration=True):
        name = "mnist"  # by which TFDS finds what is prepared

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(*pair) for split, pair in splits.items()}

        def _generate_examples(self, images, labels):
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield number, {"image": image[..., None], "label": int(label)}

    MNISTFromFiles(data_dir=out).download_and_prepare()


def write_npz(splits, out):
    out.mkdir(parents=True, exist_ok=True)
    (x_train, y_train), (x_test, y_test) = splits["train"], splits["test"]
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    np.savez_compressed(out / "mnist.npz", **arrays)


WRITERS = {"folder": write_folder, "tfds": write_tfds, "npz": write_npz}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("idx_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--format", choices=WRITERS, default="folder")
    parser.add_argument("--limit", type=int, help="the first so many images of each split")
    options = parser.parse_args(arguments)
    splits = read_mnist(options.idx_dir, options.limit)
    WRITERS[options.format](splits, options.out_dir)
    counts = " and ".join(f"{len(labels)} {split}" for split, (_, labels) in splits.items())
    print(f"Wrote {counts} images to {options.out_dir}.")


if __name__ == "__main__":
    main()

# To change first: the stems in read_mnist, for Fashion-MNIST or EMNIST, whose files are alike.
