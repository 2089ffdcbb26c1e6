import numpy as np
from PIL import Image, ImageFilter

from finetune.checks.class_counts import find_imbalance
from finetune.checks.file_headers import find_odd_files
from finetune.checks.looked_through import LookedThrough
from finetune.checks.outliers import find_outliers
from finetune.checks.picture_quality import find_poor_pictures
from finetune.data import load_data


def rows(findings):
    return {one.kind: sorted(row for group in one.groups for row in group.rows) for one in findings}


def test_pictures_that_show_nothing_are_dark_or_blurred_are_found(pictures, looked):
    random = np.random.default_rng(0)
    grain = random.integers(-40, 40, (30, 64, 64, 1))
    images = np.clip(pictures(30) + grain, 0, 255).astype(np.uint8)
    images[3] = 255
    images[4] = 120 + random.integers(0, 3, (64, 64, 3))
    images[5] = images[5] // 6
    blur = ImageFilter.GaussianBlur(4)
    images[6] = np.asarray(Image.fromarray(images[6]).filter(blur))
    assert rows(find_poor_pictures(looked(images))) == {
        "blank": [3, 4],
        "dark": [5],
        "blurred": [6],
    }


def test_white_bars_that_bring_a_picture_to_its_shape_are_no_part_of_it(pictures, looked):
    images = pictures(12)
    images[2, :20] = images[2, -20:] = 255
    images[2, 20:-20] = 90
    assert rows(find_poor_pictures(looked(images)))["blank"] == [2]


def test_nothing_is_odd_about_sharp_pictures(pictures, looked):
    random = np.random.default_rng(0)
    images = np.clip(pictures(30) + random.integers(-40, 40, (30, 64, 64, 1)), 0, 255)
    assert find_poor_pictures(looked(images.astype(np.uint8))) == []


def test_files_of_odd_sizes_and_of_other_formats_are_found(pictures, tmp_path):
    for name in ("boots", "sandals"):
        (tmp_path / name).mkdir()
        for number, pixels in enumerate(pictures(4, seed=len(name))):
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "boots" / "named.png", "JPEG")
    Image.new("RGB", (200, 40), "red").save(tmp_path / "boots" / "wide.jpg")
    Image.new("RGB", (20, 20), "red").save(tmp_path / "sandals" / "tiny.jpg")
    data = load_data(tmp_path, image_size=64, validation=None)
    found = find_odd_files(LookedThrough(data))
    named = {
        one.kind: [(data.splits["train"].ids[group.rows[0]], group.why) for group in one.groups]
        for one in found
    }
    assert named == {
        "small": [("sandals/tiny.jpg", "20 x 20 pixels")],
        "stretched": [("boots/wide.jpg", "200 x 40 pixels")],
        "suffix": [("boots/named.png", "is JPEG, named as PNG")],
    }


def test_images_of_arrays_have_no_files_that_could_be_odd(pictures, looked):
    assert find_odd_files(looked(pictures(4))) == []


def test_an_image_far_from_its_nearest_neighbours_is_an_outlier(pictures, looked):
    random = np.random.default_rng(0)
    features = np.abs(random.normal(0, 0.5, (80, 16))).astype("float32")
    features[:, :4] += 3
    features[:, 4:6] += 2 * (np.arange(80) % 2)[:, None]
    features[11, :6], features[11, 8:] = 0.5, 3
    images = pictures(80)
    found = find_outliers(looked(images, features=features))
    assert found[0].groups[0].rows == (11,)
    # A copy of it beside it does not make it ordinary.
    images[12], features[12] = images[11], features[11]
    found = find_outliers(looked(images, np.arange(80) // 40, features))
    assert found[0].groups[0].rows == (11,)


def test_classes_that_are_many_times_larger_or_small_are_told():
    assert find_imbalance({"train": {"a": 40, "b": 40}, "test": {"a": 5, "b": 9}}) == []
    whys = [group.why for group in find_imbalance({"train": {"a": 70, "b": 19}})[0].groups]
    assert whys == [
        "a has 3.7 times as many images as b (70 and 19)",
        "b has 19 images in all",
    ]
