"""A plan of what to photograph next: what it expects comes true, and it says where it cannot."""

import dataclasses
import json

import numpy as np
import pytest

from finetune.checks import plan_of, quick_plan
from finetune.checks.learning_curve import SHARES, first_of_each_class, learning_curve
from finetune.checks.next_images import ImagePlan, plan_images
from finetune.data import load_data
from finetune.exceptions import DataError, OutOfTimeError
from finetune.support import read_json, time_limit
from finetune.training import head_says

NAMES = ["boots", "sandals", "shoes"]


def features_of(each, apart=1.0, width=24, seed=0):
    """Features of three classes around fixed middles, of which the last two are nearer."""
    middles = np.zeros((3, width))
    middles[0, :6], middles[1, 6:8], middles[2, 8:10] = 2, 1.5, 1.5
    labels = np.tile(np.arange(3), each)
    random = np.random.default_rng(seed)
    return apart * middles[labels] + random.normal(size=(len(labels), width)), labels


def plan_for(features, labels, **options):
    return plan_images(features, labels, NAMES, list(map(str, range(len(labels)))), **options)


@pytest.fixture(scope="module")
def plan():
    return plan_for(*features_of(50))


def test_what_is_expected_of_more_images_comes_true(plan):
    new, true = features_of(1500, seed=99)
    for one in plan.expected:
        features, labels = features_of(one.images // 3, seed=7)
        told = head_says(features, labels, "multiclass", new, 3)
        low, high = one.interval
        assert low < (told.argmax(axis=1) == true).mean() < high
    assert [one.images for one in plan.expected] == [150, 300, 600]
    assert plan.expected[0].accuracy < plan.expected[1].accuracy < plan.expected[2].accuracy
    assert not plan.flat and plan.sentence.startswith("Twice as many images are expected to give +")


def test_the_points_are_shares_of_four_folds(plan):
    assert [one.images for one in plan.measured] == [30, 60, 90, 120]
    assert all(low < one.accuracy < high for one in plan.measured for low, high in [one.interval])
    assert plan.measured[0].accuracy < plan.measured[-1].accuracy
    assert plan.measured[0].loss > plan.measured[-1].loss


def test_intervals_are_wider_further_out(plan):
    widths = [high - low for one in plan.expected for low, high in [one.interval]]
    assert widths == sorted(widths) and widths[0] > 0


def test_the_class_whose_images_are_known_the_least_comes_first(plan):
    assert [one.name for one in plan.classes][-1] == "boots"
    recalls = [one.recall for one in plan.classes]
    assert recalls == sorted(recalls) and plan.first == (plan.classes[0].name,)
    assert f"Photograph next: {plan.classes[0].name}" in str(plan)


def test_it_stands_in_json_as_it_is(plan):
    written = json.dumps(plan.to_dict()).encode()
    assert read_json(written, ImagePlan) == plan


def test_the_same_seed_gives_the_same_plan_and_another_one_another():
    given = features_of(12)
    same, again, other = (plan_for(*given, divisions=2, seed=seed) for seed in (3, 3, 4))
    assert same == again
    assert same.measured != other.measured


def test_where_nothing_is_to_be_gained_it_says_so():
    flat = plan_for(*features_of(150, apart=8.0))
    assert flat.flat and flat.first == ()
    assert (
        str(flat)
        .splitlines()[-1]
        .startswith(
            "More images of this kind are not expected to help: twice as many are expected to "
        )
    )
    assert flat.expected[0].accuracy == 1.0 and flat.expected[0].interval[0] < 1.0


def test_too_few_images_of_a_class_are_refused_by_name():
    features, labels = features_of(20)
    rows = np.r_[np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)[:7]]
    with pytest.raises(
        DataError,
        match=r"^Expected at least 8 different images of every class, to say what more of them "
        r"bring; received fewer of sandals \(7\)\. Photograph those first\.$",
    ):
        plan_for(features[rows], labels[rows])
    rows = np.r_[rows, np.flatnonzero(labels == 1)[7:8]]
    assert plan_for(features[rows], labels[rows], divisions=1).classes[0].name in NAMES


def test_of_copies_one_counts():
    features, labels = features_of(10)
    twice = np.repeat(np.arange(30), 2)
    together = list(map(str, twice))
    found = plan_images(features[twice], labels[twice], NAMES, together, divisions=2)
    assert found == plan_for(features, labels, divisions=2)


def test_a_head_knows_what_the_one_before_it_knew():
    labels, order = np.tile([0, 1], 20), np.random.default_rng(0).permutation(40)
    sets = [{*first_of_each_class(labels, order, share).tolist()} for share in SHARES]
    assert [len(one) for one in sets] == [10, 20, 30, 40]
    assert sets[0] < sets[1] < sets[2] < sets[3]


def test_two_classes_are_asked_about_as_any_number():
    features, labels = features_of(30)
    rows = labels < 2
    found = learning_curve(features[rows], labels[rows], divisions=1)
    assert found.wrong.shape == found.losses.shape == (1, 4, 60)
    # What is taken for the other class has less than half of the probability.
    assert (found.losses[found.wrong] >= np.log(2)).all()
    assert (found.losses[~found.wrong] <= np.log(2)).all()


def test_test_images_have_no_part_in_it(pictures, looked):
    labels = [row % 2 for row in range(60)]
    options = {"test": (pictures(20, seed=1), labels[:20])}
    images = looked(pictures(60), labels, **options)
    features = np.random.default_rng(0).normal(size=(80, 4))
    found = plan_of(dataclasses.replace(images, features=features))
    features[60:] += 100
    assert found == plan_of(dataclasses.replace(images, features=features))
    assert found.images == 60


def test_labels_that_are_no_single_class_are_refused(pictures, looked):
    images = looked(pictures(20), np.linspace(0, 1, 20), np.zeros((20, 2)), task="regression")
    with pytest.raises(DataError, match=r"exactly one class each.*received a regression task"):
        plan_of(images)


def test_the_report_of_a_run_goes_without_where_it_would_take_long_or_cannot_be(pictures):
    labels = [row % 2 for row in range(40)]
    data = load_data((pictures(40), labels), image_size=64, validation=0.25)
    random = np.random.default_rng(0)
    kept = {name: random.normal(size=(len(data.splits[name].ids), 4)) for name in data.splits}
    found = quick_plan(data, kept.get)
    assert found is not None and (found.images, found.divisions) == (40, 1)
    assert quick_plan(data, lambda split: None) is None
    with time_limit(0):
        assert quick_plan(data, kept.get) is None
        with pytest.raises(OutOfTimeError):
            learning_curve(kept["train"], data.splits["train"].labels)
    few = load_data((pictures(12), labels[:12]), image_size=64, validation=0.25)
    assert quick_plan(few, lambda split: np.zeros((len(few.splits[split].ids), 4))) is None
    many = load_data((np.tile(pictures(61), (20, 1, 1, 1)), labels[:20] * 61), image_size=64)
    assert quick_plan(many, kept.get) is None
