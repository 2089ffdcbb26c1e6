"""Every image is predicted once, by a head that did not know its label."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from scipy.special import softmax

from finetune.exceptions import DataError, OutOfTimeError
from finetune.support import time_limit
from finetune.training.cross_validation import out_of_fold, partition
from finetune.training.solving import solve


def images(classes=3, each=12, width=5, seed=0):
    """Features of classes that overlap, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), each)
    middles = random.normal(size=(classes, width))
    return (middles[labels] + random.normal(size=(len(labels), width))).astype("float32"), labels


def own_and_other(parts, image):
    """The fold that an image is in, and one that it is not in."""
    (number,) = (number for number, part in enumerate(parts) if image in part)
    return parts[number], parts[number - 1]


@given(
    strategies.lists(strategies.integers(0, 3), min_size=8, max_size=40),
    strategies.sampled_from(["multiclass", "regression"]),
    strategies.integers(0, 5),
)
def test_every_image_is_in_one_fold(labels, task, seed):
    labels = np.array(labels)
    parts = partition(labels, task, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert 2 <= len(parts) <= 5 and all(len(part) for part in parts)


def test_classes_have_their_share_of_every_fold_and_the_seed_decides_which():
    labels = np.repeat([0, 1], [30, 10])
    parts = partition(labels, "binary")
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[6, 2]] * 5
    same, other = (partition(labels, "binary", seed=seed) for seed in (0, 1))
    assert all(map(np.array_equal, parts, same))
    assert not all(map(np.array_equal, parts, other))


def test_copies_of_an_image_are_left_out_together():
    content = [str(number % 9) for number in range(36)]
    parts = partition(np.arange(36) % 3, "multiclass", content=content)
    for part in parts:
        told = {content[image] for image in part}
        assert sum(content.count(one) for one in told) == len(part)


def test_too_few_images_are_refused():
    text = "at least two different images of a class, to leave one out; received 2 images in all"
    with pytest.raises(DataError, match=text):
        partition(np.array([0, 1]), "binary")
    with pytest.raises(DataError, match="two different images"):
        partition(np.array([0, 0, 1, 1]), "binary", content=["a"] * 4)


@given(
    strategies.integers(0, 35),
    strategies.integers(1, 2),
    strategies.sampled_from(["multiclass", "regression"]),
)
@settings(max_examples=3)
def test_what_is_said_of_an_image_does_not_depend_on_its_label(image, moved, task):
    """Nor on those left out with it; on all other labels it may, and does."""
    features, labels = images()
    own, other = own_and_other(partition(labels, task), image)
    before = out_of_fold(features, labels, task, [own, other])
    changed = labels.copy()
    changed[image] = (labels[image] + moved) % 3
    after = out_of_fold(features, changed, task, [own, other])
    np.testing.assert_array_equal(after[own], before[own])
    assert not np.array_equal(after[other], before[other])


@given(strategies.integers(0, 35), strategies.floats(-100, 100))
@settings(max_examples=3)
def test_what_is_said_of_an_image_does_not_depend_on_the_features_of_those_left_out_with_it(
    image, value
):
    """So neither their mean nor their scale is used."""
    features, labels = images()
    own, _ = own_and_other(partition(labels, "multiclass"), image)
    before = out_of_fold(features, labels, "multiclass", [own])
    changed = features.copy()
    changed[image] = value
    kept = np.setdiff1d(own, [image])
    after = out_of_fold(changed, labels, "multiclass", [own])
    np.testing.assert_allclose(after[kept], before[kept], rtol=1e-5)


def test_it_is_the_head_that_is_solved_on_the_other_folds():
    features, labels = images()
    parts = partition(labels, "multiclass")
    told = out_of_fold(features, labels, "multiclass", parts)
    others = np.concatenate(parts[1:])
    others.sort()
    found = solve(features[others], labels[others], "multiclass")
    expected = softmax(features[parts[0]] @ found.kernel + found.bias, axis=1)
    np.testing.assert_allclose(told[parts[0]], expected, rtol=1e-5)


def test_labels_that_features_do_not_tell_are_guessed():
    """Where they are known by heart, most answers are right: here they are not."""
    features, labels = images(width=60)
    features = np.random.default_rng(1).normal(size=features.shape)
    told = out_of_fold(features, labels, "multiclass", partition(labels, "multiclass"))
    assert np.mean(told.argmax(1) == labels) < 0.6
    assert (
        np.mean(
            (features @ (f := solve(features, labels, "multiclass")).kernel + f.bias).argmax(1)
            == labels
        )
        > 0.6
    )


@pytest.mark.parametrize(
    ("task", "shape"), [("binary", (36, 1)), ("multilabel", (36, 3)), ("regression", (36, 2))]
)
def test_every_task_has_outputs_as_a_model_has(task, shape):
    features, labels = images()
    targets = {
        "binary": (labels > 0).astype(int),
        "multilabel": np.eye(3, dtype="float32")[labels],
        "regression": features[:, :2] * 3 + 1,
    }[task]
    told = out_of_fold(features, targets, task, partition(targets, task))
    assert told.shape == shape
    if task == "regression":
        np.testing.assert_allclose(told, targets, atol=0.5)
    else:
        assert told.min() >= 0 and told.max() <= 1
        assert np.mean((told > 0.5) == (targets.reshape(shape) > 0.5)) > 0.6


def test_a_class_of_one_image_is_predicted_as_another():
    features, labels = images()
    labels = np.append(labels, 3)
    features = np.concatenate([features, features[:1]])
    told = out_of_fold(features, labels, "multiclass", partition(labels, "multiclass"))
    assert told.shape == (37, 4) and told[-1, 3] == 0
    np.testing.assert_allclose(told.sum(1), 1, rtol=1e-5)


def test_where_one_class_is_left_it_is_what_is_said():
    told = out_of_fold(
        np.zeros((3, 2), "float32"), np.array([0, 0, 1]), "multiclass", [np.array([2]), [0, 1]]
    )
    np.testing.assert_array_equal(told, [[0, 1], [0, 1], [1, 0]])


def test_it_ends_when_time_is_up():
    features, labels = images()
    parts = partition(labels, "multiclass")
    with time_limit(0), pytest.raises(OutOfTimeError, match="when backbones were being compared"):
        out_of_fold(features, labels, "multiclass", parts)
