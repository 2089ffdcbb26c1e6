"""Makes the weights of the demo's backbone: learns to read distorted printed characters.

    python -m finetune.cli.demo.train_backbone [--out FILE] [--epochs N]

Takes about three minutes on two cores and needs no network and no files: the characters are drawn
from the fonts that Matplotlib brings along. No handwritten digit is seen.

The file that ships must open in every Keras that pyproject.toml allows, and Keras opens files of
older versions, not of newer ones: make it with the Python of `.venv-oldest`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from finetune.cli.demo.glyphs import CHARACTERS, glyph_images
from finetune.cli.demo.network import INPUT_SHAPE, build_backbone

_BATCH_SIZE = 128
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-2
_HELD_OUT = 0.05


def train_backbone(
    out: str | Path,
    *,
    characters: str = CHARACTERS,
    per_class: int = 800,
    epochs: int = 4,
    seed: int = 0,
) -> float:
    """Trains the demo's backbone on glyphs and saves it without its head.

    Args:
        out: The `.keras` file to write. It holds the network up to its feature map, not compiled,
            so that no optimizer state travels with it.
        characters: Characters to tell apart, one class each.
        per_class: Distorted images of each character, drawn once.
        epochs: Passes over the images.
        seed: Seed of the images, the initial weights and the order.

    Returns:
        The accuracy on images held out, 0 to 1.
    """
    keras.utils.set_random_seed(seed)
    images, labels = glyph_images(characters, per_class=per_class, seed=seed)
    order = np.random.default_rng(seed).permutation(len(images))
    held_out, rest = np.split(order, [max(1, round(len(order) * _HELD_OUT))])
    train = _batches(images[rest], labels[rest], seed)
    validation = _batches(images[held_out], labels[held_out])

    backbone = build_backbone()
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    x = keras.layers.Dropout(0.1)(x)
    logits = keras.layers.Dense(len(characters))(x)
    model = keras.Model(backbone.input, logits)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        len(train) * epochs,
        warmup_target=_LEARNING_RATE,
        warmup_steps=len(train) // 4,
    )
    model.compile(
        # Keras annotates the rate as a float only, though a schedule is welcome.
        keras.optimizers.AdamW(schedule, weight_decay=_WEIGHT_DECAY),  # pyright: ignore[reportArgumentType]
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(train, validation_data=validation, epochs=epochs, shuffle=False)
    backbone.save(out)
    return history.history["val_accuracy"][-1]


def _batches(
    images: np.ndarray, labels: np.ndarray, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Batches of images as the backbone wants them, in a new order each epoch if seeded."""

    def prepare(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        coarse = tf.cast(tf.expand_dims(images, -1), tf.float32) / 127.5 - 1
        fine = tf.image.resize(coarse, INPUT_SHAPE[:2])
        return tf.repeat(fine, INPUT_SHAPE[2], axis=-1), labels

    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(len(images), seed=shuffle_seed)
    return dataset.batch(_BATCH_SIZE).map(prepare).prefetch(tf.data.AUTOTUNE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description="Train the demo's backbone on distorted printed characters."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).with_name("backbone.keras"),
        help="the file to write (default: the one that ships with the package)",
    )
    parser.add_argument(
        "--epochs", type=int, default=4, help="passes over the images (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    accuracy = train_backbone(options.out, epochs=options.epochs)
    size = options.out.stat().st_size / 1e6
    print(f"accuracy on glyphs held out: {accuracy:.3f}; wrote {options.out} ({size:.2f} MB)")


if __name__ == "__main__":
    main()
