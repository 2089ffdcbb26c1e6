"""Batches: an order that depends on seed and epoch alone, and views that take turns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from finetune.reuse.batches import RowBatches, StreamBatches


def rows(batches, epoch):
    """The first input and the labels of an epoch."""
    parts = [batches.batch(epoch, step) for step in range(batches.steps)]
    return (
        np.concatenate([inputs[0] for inputs, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
    )


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 4), st.integers(0, 5))
def test_every_image_comes_once_an_epoch_with_its_own_label(n, batch_size, views, epoch):
    values = np.concatenate([np.arange(n) + 100 * view for view in range(views)])
    batches = RowBatches(
        (values[:, None],), np.arange(n), batch_size=batch_size, seed=3, views=views
    )
    inputs, labels = rows(batches, epoch)
    assert sorted(labels) == list(range(n))
    assert np.array_equal(inputs[:, 0] % 100, labels)
    assert batches.steps == -(-n // batch_size)


def test_each_image_goes_through_all_its_views():
    views, n = 3, 5
    values = np.repeat(np.arange(views), n)[:, None]
    batches = RowBatches((values,), np.arange(n), batch_size=2, seed=0, views=views)
    seen = []
    for epoch in range(views):
        inputs, labels = rows(batches, epoch)
        seen.append(inputs[np.argsort(labels), 0])
    assert np.array_equal(np.sort(seen, axis=0), np.repeat(np.arange(views)[:, None], n, axis=1))


def test_the_order_follows_from_seed_and_epoch():
    def order(seed, epoch):
        batches = RowBatches((np.zeros((20, 1)),), np.arange(20), batch_size=6, seed=seed)
        return list(rows(batches, epoch)[1])

    assert order(0, 4) == order(0, 4)
    assert order(0, 4) != order(0, 5)
    assert order(0, 4) != order(1, 4)
    assert order(None, 4) == list(range(20))


def test_a_resumed_dataset_goes_on_in_the_same_order():
    batches = RowBatches((np.zeros((7, 1)),), np.arange(7), batch_size=3, seed=0)
    whole = [labels.tolist() for _, labels in batches.dataset(0, 3).as_numpy_iterator()]
    resumed = [labels.tolist() for _, labels in batches.dataset(1, 2).as_numpy_iterator()]
    assert len(whole) == 9
    assert whole[3:] == resumed


def test_pixels_become_floats_and_are_augmented_anew():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), "uint8")
    augment = keras.layers.RandomBrightness(0.5, seed=1)
    batches = RowBatches((images,), np.arange(4), batch_size=4, augment=augment)
    (first,), _ = batches.batch(0, 0)
    (second,), _ = batches.batch(1, 0)
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("filtered", [False, True])
def test_streams_are_counted_where_they_do_not_know_their_length(filtered):
    dataset = tf.data.Dataset.range(10).batch(4)
    if filtered:
        dataset = dataset.filter(lambda batch: True)
    batches = StreamBatches(dataset)
    assert batches.steps == 3
    assert len(list(batches.dataset(0, 2))) == 6
