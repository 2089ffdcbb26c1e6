import hashlib
import re

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from finetune.backbones.freezing import blocks
from finetune.cli.demo import backbone_path, write_digits
from finetune.cli.demo.glyphs import CHARACTERS, glyph_images, printed_glyphs
from finetune.cli.demo.network import INPUT_SHAPE, build_backbone
from finetune.cli.demo.train_backbone import main, train_backbone
from finetune.exceptions import ArgumentError

# Backbone


@pytest.fixture(scope="module")
def shipped() -> keras.Model:
    return keras.models.load_model(backbone_path(), compile=False)


def prepare(images):
    """8 x 8 grey values as the backbone takes them."""
    fine = keras.ops.image.resize(images[..., None] / 127.5 - 1, INPUT_SHAPE[:2])
    return np.repeat(np.asarray(fine, np.float32), 3, axis=-1)


def test_the_backbone_that_ships_is_under_one_megabyte():
    assert backbone_path().stat().st_size < 1_000_000


def test_the_backbone_that_ships_is_the_network_of_the_script_without_head_and_optimizer(shipped):
    fresh = build_backbone()
    assert [layer.name for layer in shipped.layers] == [layer.name for layer in fresh.layers]
    assert [v.shape for v in shipped.variables] == [v.shape for v in fresh.variables]
    assert shipped.output_shape == (None, 4, 4, 64)
    assert not shipped.compiled


def test_the_backbone_has_few_parameters_and_a_block_for_each_freeze_depth(shipped):
    assert shipped.count_params() < 250_000
    assert [(block.name, block.end) for block in blocks(shipped)] == [
        ("stem", 4),
        ("block_1", 11),
        ("block_2", 20),
        ("block_3", 27),
        ("block_4", 36),
        ("block_5", 43),
    ]


def test_the_backbone_that_ships_tells_handwritten_digits_apart_better_than_random_weights(shipped):
    digits = load_digits()
    images, labels = prepare(digits.images * (255 / 16)), digits.target
    keras.utils.set_random_seed(0)

    def nearest_mean(backbone):
        features = backbone.predict(images, verbose=0).mean(axis=(1, 2))
        features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
        means = np.stack(
            [features[:600][labels[:600] == label].mean(axis=0) for label in range(10)]
        )
        distances = np.linalg.norm(features[600:, None] - means, axis=-1)
        return (distances.argmin(axis=1) == labels[600:]).mean()

    pretrained, random = nearest_mean(shipped), nearest_mean(build_backbone())
    assert pretrained > 0.93
    assert random < pretrained - 0.05


# Digits


def test_digits_are_written_by_split_and_class(tmp_path):
    folder = write_digits(tmp_path / "digits", per_class=3, test_per_class=2)
    assert folder == tmp_path / "digits"
    assert sorted(path.name for path in folder.iterdir()) == ["test", "train"]
    for split, count in (("train", 3), ("test", 2)):
        assert {path.name: len(list(path.iterdir())) for path in (folder / split).iterdir()} == {
            str(label): count for label in range(10)
        }


def test_digits_by_default_are_200_to_train_and_600_to_test_and_none_is_in_both(tmp_path):
    folder = write_digits(tmp_path)
    train, test = (
        {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob(f"{split}/*/*.png")}
        for split in ("train", "test")
    )
    assert (len(train), len(test)) == (200, 600)
    assert not train & test


def test_all_that_is_left_is_written_for_training_on_request(tmp_path):
    folder = write_digits(tmp_path, per_class=None, test_per_class=100)
    assert len(list(folder.glob("*/*/*.png"))) == 1797


def test_a_digit_is_the_image_of_scikit_learn_with_white_as_full_ink(tmp_path):
    digits = load_digits()
    folder = write_digits(tmp_path, per_class=2, test_per_class=2)
    for path in folder.glob("*/*/*.png"):
        number = int(path.stem)
        pixels = np.asarray(Image.open(path))
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels / 255 * 16, digits.images[number], atol=0.04)
        assert path.parent.name == str(digits.target[number])


def test_the_same_seed_writes_the_same_files_and_another_seed_others(tmp_path):
    def names(folder):
        return sorted(path.relative_to(folder) for path in folder.glob("*/*/*.png"))

    first = write_digits(tmp_path / "first", per_class=5)
    again = write_digits(tmp_path / "again", per_class=5)
    other = write_digits(tmp_path / "other", per_class=5, seed=1)
    assert names(first) == names(again) != names(other)
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names(first))
    assert names(write_digits(first, per_class=5)) == names(first)


def test_the_test_images_do_not_depend_on_how_many_are_for_training(tmp_path):
    few, many = (write_digits(tmp_path / str(n), per_class=n) for n in (1, 9))
    assert {p.name for p in few.glob("test/*/*")} == {p.name for p in many.glob("test/*/*")}


@pytest.mark.parametrize(
    ("per_class", "test_per_class"), [(0, 10), (10, 0), (115, 60), (None, 174)]
)
def test_more_digits_than_there_are_is_refused(tmp_path, per_class, test_per_class):
    message = (
        "Expected at least 1 training and 1 test image per class and at most 174 together; "
        f"received per_class={per_class}, test_per_class={test_per_class}."
    )
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        write_digits(tmp_path, per_class=per_class, test_per_class=test_per_class)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_other_images_is_refused_and_left_alone(tmp_path):
    write_digits(tmp_path, per_class=2, test_per_class=1)
    with pytest.raises(ArgumentError, match=r"holds 10, such as train.*Choose another folder"):
        write_digits(tmp_path, per_class=1, test_per_class=1)
    assert len(list(tmp_path.glob("*/*/*.png"))) == 30


# Glyphs


def test_every_character_is_printed_in_several_fonts():
    assert len(set(CHARACTERS)) == len(CHARACTERS)
    printed = printed_glyphs()
    assert len(printed) == len(CHARACTERS)
    for character, glyphs in zip(CHARACTERS, printed, strict=True):
        assert len(glyphs) >= 15, character
        assert glyphs.max(axis=(1, 2)).min() > 0.5, character


def test_no_two_characters_are_printed_alike():
    firsts = {glyphs[0].tobytes() for glyphs in printed_glyphs()}
    assert len(firsts) == len(CHARACTERS)


def test_glyphs_are_as_coarse_as_the_digits_and_every_one_is_drawn_its_own_way():
    images, labels = glyph_images("0A?", per_class=50)
    assert images.shape == (150, 8, 8)
    assert images.dtype == np.uint8
    assert labels.tolist() == [0] * 50 + [1] * 50 + [2] * 50
    assert len(np.unique(images, axis=0)) == 150
    sixteenths = images / 255 * 16
    np.testing.assert_allclose(sixteenths, np.round(sixteenths), atol=0.04)


def test_glyphs_fill_their_frame_with_about_as_much_ink_as_the_digits():
    images, _ = glyph_images("0123456789", per_class=50)
    ink = images > 0
    reaches = [ink[:, 0].any(1) & ink[:, -1].any(1), ink[:, :, 0].any(1) & ink[:, :, -1].any(1)]
    assert (reaches[0] | reaches[1]).mean() > 0.95
    assert images.mean() / 255 * 16 == pytest.approx(load_digits().images.mean(), rel=0.25)


def test_the_same_seed_draws_the_same_glyphs_and_another_seed_others():
    first, again, other = (glyph_images("ab", per_class=4, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# Training


@pytest.mark.slow
def test_an_epoch_of_training_writes_a_file_that_plain_keras_loads(tmp_path):
    out = tmp_path / "tiny.keras"
    accuracy = train_backbone(out, characters="0A", per_class=64, epochs=1)
    assert 0 <= accuracy <= 1
    model = keras.models.load_model(out)
    assert model.output_shape == (None, 4, 4, 64)
    assert not model.compiled
    assert out.stat().st_size < 1_000_000


def test_the_script_says_where_it_writes_and_how_long_it_trains(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--out OUT" in shown
    assert "(default: 4)" in shown
