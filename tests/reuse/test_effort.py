"""What layers take, counted; and passes that are timed on the way."""

import keras
import numpy as np
import pytest

from finetune.backbones import apply_freeze_depth, load_backbone
from finetune.compat import calls_of
from finetune.data import load_data
from finetune.reuse import FeatureCache, StoredSource
from finetune.reuse.effort import Spared, work_of
from finetune.training import SharedBackbone
from tiny import build_backbone, make_images


@pytest.fixture
def source():
    data = load_data(make_images(20), image_size=16, validation=0.25, augment="none")
    return StoredSource(data, reuse=True)


@pytest.fixture
def shared(tmp_path):
    backbone = load_backbone(build_backbone(), preprocess="tf")
    return SharedBackbone(backbone, FeatureCache(folder=tmp_path), epochs=3)


def test_work_is_multiply_adds_and_thirty_for_each_value():
    inputs = keras.Input((8,))
    norm = keras.layers.BatchNormalization()
    model = keras.Model(inputs, norm(keras.layers.Dense(4)(inputs)))
    assert work_of(calls_of(model)) == 8 * 4 + 30 * (4 + 4)
    assert work_of(calls_of(model), {id(norm)}) == 8 * 4 + 30 * 4


def test_what_is_spared_grows_with_the_depth_up_to_the_whole_network(shared, source):
    shared.freeze_depths.update([5, 10])
    near, far = (shared.start(source, depth).point for depth in (5, 10))
    frozen = shared.frozen
    whole = frozen.work_spared(shared.mark_pooled())
    assert 0 < frozen.work_spared(near) < frozen.work_spared(far) < whole
    assert whole == work_of(calls_of(frozen.graph))


def test_batch_norm_that_is_folded_behind_a_cut_is_spared_too(shared, source):
    point = shared.start(source, 5).point
    frozen = shared.frozen
    apply_freeze_depth(shared.backbone.model, 5, batch_norm="adapt")
    adapting = frozen.work_spared(point)
    apply_freeze_depth(shared.backbone.model, 5, batch_norm="frozen")
    assert frozen.work_spared(point) > adapting


def test_passes_are_timed_but_for_the_batches_that_functions_are_traced_in(shared, source):
    shared.pooled(source, "train")
    shared.pooled(source, "validation")
    train, validation = (source.rows(split) for split in ("train", "validation"))
    pace = shared.frozen.pace
    assert pace.images == train - 16 + max(0, validation - 16)
    assert pace.seconds > 0
    # Batch norm is folded in a pass, so it does without what that would write.
    assert 0 < pace.work < pace.images * shared.frozen.work_spared(shared.mark_pooled())


def test_nothing_is_estimated_where_nothing_was_trained_from_features(shared, source):
    shared.pooled(source, "train")
    assert shared.spared(10.0, pass_anyway=True) is None
    shared.began["pixels"] += 50
    assert shared.spared(10.0, pass_anyway=True) is None


def test_the_estimate_is_the_work_not_done_at_the_pace_of_the_pass(shared, source):
    shared.pooled(source, "train")
    point = shared.start(source, 10).point
    shared.began[point] += 1000
    found, pace = shared.spared(10.0, pass_anyway=True), shared.frozen.pace
    assert found is not None
    expected = 1000 * shared.frozen.work_spared(point) * pace.seconds / pace.work
    assert found.seconds == pytest.approx(expected, abs=0.01)
    assert found.whole == pytest.approx(10 + expected, abs=0.01)
    assert found.image_ms == pytest.approx(expected, abs=0.001)  # of 1000 images
    assert found.pass_ms == pytest.approx(1000 * pace.seconds / pace.images, abs=0.001)
    paid = shared.spared(10.0, pass_anyway=False)
    assert paid is not None
    assert paid.seconds == pytest.approx(max(0, expected - pace.seconds), abs=0.01)


def test_an_estimate_is_told_in_seconds_of_seconds():
    found = Spared(41.2, 63.4, 1000, 2.0, 3.0)
    assert str(found) == "reuse spared about 41 s of 1 min 03 s"
    assert found.share == pytest.approx(41.2 / 63.4)
    assert np.isclose(Spared(0.0, 0.0, 0, 0.0, 0.0).share, 0.0)
