import io

import numpy as np
import pytest
from PIL import Image

from finetune.data import load_data
from finetune.data.look_alikes import copy_limits, groups_of, looks_of, near_copies
from finetune.data.staying_together import staying_together


def pictures(count, seed=0, side=64):
    """Different smooth pictures, as photos are: blobs of colour."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 6, 6, 3), np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((side, side), Image.BICUBIC)) for one in coarse]
    )


def saved_again(pixels, quality=60):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def made_smaller(pixels):
    small = Image.fromarray(pixels).resize((40, 40), Image.BILINEAR)
    return np.asarray(small.resize(pixels.shape[:2], Image.BILINEAR))


def pairs_in(images):
    looks = looks_of(images)
    return near_copies(looks, copy_limits(images, looks)).tolist()


@pytest.mark.parametrize(
    "change",
    [saved_again, made_smaller, lambda pixels: pixels[:, ::-1]],
    ids=["jpeg", "small", "mirror"],
)
def test_a_picture_that_was_saved_again_made_smaller_or_mirrored_is_a_near_copy(change):
    images = pictures(40)
    assert pairs_in(np.stack([*images, change(images[7])])) == [[7, 40]]


def test_another_colour_of_the_same_shape_is_no_copy():
    images = pictures(40)
    assert pairs_in(np.stack([*images, images[7][:, :, [2, 0, 1]] // 2])) == []


def test_pictures_that_show_nothing_are_copies_of_none():
    flat = np.full((2, 64, 64, 3), 255, np.uint8)
    assert pairs_in(np.concatenate([pictures(10), flat])) == []


def test_where_no_picture_shows_anything_there_is_nothing_to_measure():
    flat = np.full((2, 64, 64, 3), 255, np.uint8)
    limits = copy_limits(flat, looks_of(flat))
    assert (limits.bits, limits.shade) == (0, 0.0)


def test_where_all_pictures_look_alike_only_the_closest_are_copies():
    random = np.random.default_rng(0)
    one = pictures(1)[0].astype(int)
    alike = [
        np.asarray(
            Image.fromarray(random.integers(0, 24, (8, 8, 3), np.uint8)).resize((64, 64)), int
        )
        for _ in range(60)
    ]
    images = np.clip(one + np.stack(alike) - 12, 0, 255).astype(np.uint8)
    looks = looks_of(images)
    limits = copy_limits(images, looks)
    photos = pictures(60)
    assert limits.bits < copy_limits(photos, looks_of(photos)).bits
    assert max(map(len, groups_of(near_copies(looks, limits), len(images))), default=0) < 10


def test_near_copies_are_on_one_side_of_every_split_that_is_made():
    images = pictures(120)
    images = np.concatenate([images, [saved_again(one) for one in images]])
    labels = np.tile(np.arange(120) % 2, 2)
    for seed in range(3):
        data = load_data((images, labels), image_size=64, test=0.2, seed=seed)
        side = {name: split for split in data.splits for name in data.splits[split].ids}
        # All but a hundredth are to be found, and what is found stays together.
        assert len(data.together) >= 2 * 118
        same = sum(side[f"train/{row}"] == side[f"train/{row + 120}"] for row in range(120))
        assert same >= 118
        assert data.report.near == ()
        assert all(data.apart(split) is None for split in ("validation", "test"))


def test_images_stay_in_their_splits_at_another_size():
    images = pictures(60)
    images = np.concatenate([images, [made_smaller(one) for one in images]])
    data = load_data((images, [0, 1] * 60), image_size=64)
    again = data.at_size(20)
    assert again.together == data.together
    assert {name: split.ids for name, split in again.splits.items()} == {
        name: split.ids for name, split in data.splits.items()
    }


def test_near_copies_across_splits_of_ones_own_are_told():
    images = pictures(40)
    test = np.stack([saved_again(images[3]), images[4], *pictures(4, seed=1)])
    data = load_data((images, [0, 1] * 20), image_size=64, validation=None, test=(test, [0, 1] * 3))
    assert data.report.near == ("test/0",) and data.report.leaked == ("test/1",)
    assert data.apart("test").tolist() == [False, False, True, True, True, True]
    assert (
        "1 validation or test images have a near copy among the training images, such as test/0"
        in str(data.report)
    )


def test_a_class_of_nothing_but_copies_is_split_nevertheless():
    images = pictures(30)
    copies = [saved_again(images[0], quality) for quality in (50, 60, 70, 80, 90, 95)]
    labels = [0] * 30 + [1] * 6
    data = load_data((np.concatenate([images, copies]), labels), image_size=64)
    assert data.counts["train"]["1"] and data.counts["validation"]["1"]


def test_of_many_images_only_exact_copies_are_kept_together(monkeypatch):
    monkeypatch.setattr("finetune.data.staying_together._MOST", 3)
    images = pictures(3)
    images = np.stack([*images, saved_again(images[0])])
    assert staying_together(images, list("abcd"), None) == {}
    assert staying_together(images[[0, 1, 3]], list("abd"), None) == {"a": "a", "d": "a"}
