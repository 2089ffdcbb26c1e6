import io

import numpy as np
from PIL import Image

from finetune.checks.copied import feature_limits, find_copies, pairs_of_copies


def cut(pixels, share=0.02):
    side = len(pixels)
    box = (share * side, share * side, side, side)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.BILINEAR, box=box).save(file, "JPEG")
    return np.asarray(Image.open(file).convert("RGB"))


def features_of(pixels):
    """As a network's: much the same for an image that was moved a little."""
    small = [np.asarray(Image.fromarray(one).resize((6, 6)), "float32") for one in pixels]
    return np.stack(small).reshape(len(pixels), -1)


def kinds(images, pairs):
    return {one.kind: [group.rows for group in one.groups] for one in find_copies(images, pairs)}


def test_copies_are_sorted_by_the_harm_that_they_do(pictures, looked):
    images = pictures(40)
    images[2] = images[0]  # one class
    images[5] = images[4]  # two labels
    test = np.stack([images[6], *pictures(5, seed=1)])
    found = looked(images, test=(test, [0, 1] * 3))
    pairs = pairs_of_copies(found, None)
    assert kinds(found, pairs) == {"two labels": [(4, 5)], "leak": [(6, 40)], "copies": [(0, 2)]}
    whys = {one.kind: one.groups[0].why for one in find_copies(found, pairs)}
    assert whys["two labels"] == "exact copies in 0, 1"
    assert whys["leak"] == "exact copies in train, test"


def test_copies_on_both_sides_of_a_split_that_was_made_for_them_are_no_leak(pictures, looked):
    images = pictures(40)
    images[2] = images[0]
    found = looked(images, validation=0.2)
    assert not found.own_splits
    assert [*kinds(found, pairs_of_copies(found, None))] == ["copies"]


def test_copies_that_were_cut_are_found_by_hash_and_features_together(pictures, looked):
    images = pictures(60)
    images = np.stack([*images, cut(images[3]), cut(images[4])])
    found = looked(images, features=features_of(images))
    assert pairs_of_copies(found, None).tolist() == []
    pairs = pairs_of_copies(found, features_of).tolist()
    assert [3, 60] in pairs and [4, 61] in pairs and len(pairs) == 2


def test_the_limits_are_what_copies_of_the_images_keep_to(pictures, looked):
    images = pictures(60)
    found = looked(images, features=features_of(images))
    limits = feature_limits(found, features_of)
    assert 4 < limits.bits < 60 and 0.5 < limits.cosine < 1
    # Features that say nothing of an image leave no copy near.
    random = np.random.default_rng(0)
    nothing = feature_limits(found, lambda pixels: random.normal(0, 99, (len(pixels), 108)))
    assert nothing.cosine < 0.1


def test_of_very_many_images_only_exact_copies_are_looked_for(pictures, looked, monkeypatch):
    monkeypatch.setattr("finetune.checks.copied._MOST", 30)
    images = pictures(40)
    images[2], images[4] = images[0], images[0][:, ::-1]
    assert pairs_of_copies(looked(images), None).tolist() == [[0, 2]]
