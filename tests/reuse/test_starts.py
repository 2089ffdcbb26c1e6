"""Where trainings start: within the room that there is, and never at the pixels in silence."""

import logging
from dataclasses import dataclass

import pytest

from finetune.backbones import load_backbone
from finetune.reuse import FeatureCache, starts
from finetune.reuse.choice import Demand
from finetune.training import SharedBackbone

MB = 10**6


@dataclass(frozen=True)
class Rows:
    """A source that only tells how many rows it has."""

    train: int = 800
    validation: int = 200
    key: str = "rows"
    views: int = 1
    persistent: bool = False

    def rows(self, split):
        return self.train if split == "train" else self.validation


@pytest.fixture(scope="module")
def mobilenet_v2():
    return load_backbone("MobileNetV2", weights=None, image_size=96, alpha=0.35)


@pytest.fixture
def make_shared(mobilenet_v2, tmp_path, monkeypatch):
    """What trainings share, with a budget of so many MB for features, at the prices of a CPU."""
    monkeypatch.setattr(starts, "_LOADED", 2e9)
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    def make(budget, depths=(), epochs=15):
        cache = FeatureCache(int(budget * MB), tmp_path)
        return SharedBackbone(mobilenet_v2, cache, freeze_depths={*depths}, epochs=epochs)

    return make


@pytest.mark.parametrize(("disk", "disk_load"), [(1e-3, 1e-3), (1e-12, 5e-10)])
def test_a_byte_from_disk_takes_as_long_as_one_from_memory_at_least(make_shared, disk, disk_load):
    prices = starts.prices(disk)
    assert (prices.load, prices.disk_load, prices.disk_write) == (5e-10, disk_load, disk)


def test_with_room_little_is_run_again_and_with_less_room_more(make_shared):
    shares = [make_shared(budget).start(Rows(), 100).share for budget in (1000, 10, 4, 0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.05 and shares[-1] == 1.0
    assert shares[2] < 1.0  # the next best that fits, not the pixels


def test_depths_share_the_room_whichever_is_asked_for_first(make_shared):
    depths = (54, 100, 130)
    chosen = []
    for order in (depths, depths[::-1]):
        shared = make_shared(20, depths)
        chosen.append({depth: shared.start(Rows(), depth) for depth in order})
    assert chosen[0] == chosen[1]
    kept = [option for option in chosen[0].values() if option.place == "memory"]
    assert len(kept) >= 2
    assert sum({option.point: option.row_bytes for option in kept}.values()) * 1000 <= 20 * MB


def test_a_depth_that_was_not_announced_starts_from_what_is_kept_where_that_is_near(make_shared):
    shared = make_shared(1000, (100,))
    many = Rows(8000, 2000)
    kept = shared.start(many, 100)
    near = shared.start(many, 102)
    assert (near.point, near.kept) == (kept.point, True)
    assert near.again >= kept.again and near.frozen > kept.frozen
    far = shared.start(many, 150)  # another pass pays, and begins where the first one ended
    assert (far.point != kept.point, far.kept) == (True, False)
    assert far.spared == kept.frozen - kept.again


def test_that_images_are_run_whole_for_lack_of_room_is_said(make_shared, caplog):
    with caplog.at_level(logging.INFO, logger="finetune"):
        assert make_shared(0).start(Rows(), 100).point == "pixels"
    assert caplog.messages == [
        "Freeze depth 100 starts from the pixels: there is no room, in memory or on a disk that is "
        "quick enough, for features of 1000 images. Raise cache_budget, or train with a larger "
        "freeze depth or a smaller image size."
    ]


def test_every_start_is_told_from_the_pixels_on_and_why_it_is_not_taken(make_shared):
    roomy, narrow = make_shared(1000), make_shared(4)
    told = roomy.candidates(Rows(), 100)
    assert told[0].where == "the pixels" and told[0].option.share == 1.0
    order = [(-one.option.again, one.option.row_bytes) for one in told]
    assert order == sorted(order)
    assert [one.remark for one in told].count("chosen") == 1
    assert {one.remark for one in told} == {"chosen", ""}
    chosen = roomy.start(Rows(), 100)
    (taken,) = [one for one in told if one.remark]
    assert taken.option.point == chosen.point
    assert taken.seconds == min(one.seconds for one in told)
    # The same starts, of which those that take more than 4 MB are out of reach.
    cramped = narrow.candidates(Rows(), 100)
    assert [one.where for one in cramped] == [one.where for one in told]
    beyond = [one.option.row_bytes * 1000 > 4 * MB for one in cramped[1:]]
    assert [one.remark == "no room in memory" for one in cramped[1:]] == beyond
    assert True in beyond


def test_rows_whose_number_is_not_known_count_as_one(make_shared):
    demand = make_shared(1)._starts.demand(Rows(train=None, validation=None), 0)
    assert demand == Demand(kept=2, loaded=2, epochs=1)


def test_views_are_all_kept_and_one_of_them_is_loaded_in_an_epoch(make_shared):
    demand = make_shared(1)._starts.demand(Rows(train=800, validation=200, views=4), 15)
    assert demand == Demand(kept=1000, loaded=400, epochs=15)


def test_where_a_start_is_and_what_it_costs_is_said_once(make_shared, caplog):
    shared = make_shared(1000)
    with caplog.at_level(logging.INFO, logger="finetune"):
        option = shared.start(Rows(), 100)
        shared.start(Rows(), 100)
    assert caplog.messages == [
        f"Freeze depth 100 starts from new features of {option.row_bytes / MB:.2f} MB an image, in "
        f"memory; {100 * option.share:.0f}% of the frozen work is run again in every step."
    ]


def test_why_a_model_that_cannot_be_split_is_trained_whole_is_said(twice_named, tmp_path, caplog):
    backbone = load_backbone(twice_named, preprocess="tf")
    shared = SharedBackbone(backbone, FeatureCache(1000 * MB, tmp_path))
    with caplog.at_level(logging.INFO, logger="finetune"):
        assert shared.start(Rows(), 2).point == "pixels"
    assert caplog.messages == ["Training the whole model: more than one layer is named 'conv'."]


def test_features_that_one_epoch_cannot_pay_for_are_not_computed(make_shared, caplog):
    with caplog.at_level(logging.INFO, logger="finetune"):
        augmented = Rows(train=3200, views=4)  # to be computed four times, to be used once
        assert make_shared(1000, epochs=1).start(augmented, 100).point == "pixels"
    assert caplog.messages == [
        "Freeze depth 100 starts from the pixels: to have features would take longer than they "
        "spare."
    ]
