import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from finetune.data.finding import find_images
from finetune.data.images import read_image, read_images
from finetune.data.pixels import to_rgb
from finetune.exceptions import DataError, DataNotFoundError, UnreadableImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, suffix: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def close(pixel: np.ndarray, expected: tuple[int, int, int], within: int = 3) -> bool:
    return bool((np.abs(pixel.astype(int) - expected) <= within).all())


def corners() -> Image.Image:
    """Red at the top left, green at the top right, blue at the bottom left, white."""
    image = Image.new("RGB", (64, 64), WHITE)
    image.paste(RED, (0, 0, 32, 32))
    image.paste(GREEN, (32, 0, 64, 32))
    image.paste(BLUE, (0, 32, 32, 64))
    return image


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("PPM", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
    ],
)
def test_each_format_gives_its_colors_as_rgb(format: str, options: dict):
    pixels = read_image(encoded(corners(), format, **options), 64)
    assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
    assert close(pixels[16, 16], RED) and close(pixels[16, 48], GREEN)
    assert close(pixels[48, 16], BLUE) and close(pixels[48, 48], WHITE)


@pytest.mark.parametrize(
    "mode",
    [
        *("1", "L", "P", "RGB", "CMYK", "RGBA", "LA"),
        pytest.param(
            "YCbCr",
            marks=pytest.mark.skipif(
                int(PIL.__version__.split(".")[0]) < 13,
                reason="Pillow before 13 cannot read the TIFF of this mode that it writes",
            ),
        ),
    ],
)
def test_every_mode_becomes_rgb(mode: str):
    format = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    white = Image.new("RGB", (4, 4), WHITE).convert(mode)
    assert (read_image(encoded(white, format), 4) >= 253).all()


def test_cmyk_jpeg_keeps_its_colors():
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert close(read_image(data, 16)[8, 8], RED, within=5)


def test_transparency_is_laid_on_white():
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (read_image(encoded(half, "PNG"), 4) == 127).all()
    clear = Image.new("LA", (4, 4), (0, 0))
    assert (read_image(encoded(clear, "PNG"), 4) == 255).all()


def test_palette_with_transparency_is_laid_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 1)
    for transparency in (0, bytes([0, 255])):
        pixels = read_image(encoded(image, "PNG", transparency=transparency), 4)
        assert tuple(pixels[0, 0]) == RED and tuple(pixels[3, 3]) == WHITE


def test_gray_with_a_transparent_value_is_laid_on_white():
    image = Image.new("L", (4, 4), 10)
    image.putpixel((0, 0), 20)
    pixels = read_image(encoded(image, "PNG", transparency=10), 4)
    assert tuple(pixels[0, 0]) == (20, 20, 20) and tuple(pixels[3, 3]) == WHITE


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_not_clipped(format: str):
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    pixels = read_image(encoded(Image.fromarray(values), format), 64)
    assert np.array_equal(pixels[..., 0], np.rint(values / 257))
    assert pixels.mean() == pytest.approx(127.5, abs=0.1)


def test_floats_and_32_bits_are_refused_with_a_reason():
    with pytest.raises(UnreadableImageError, match="its pixels are floats, whose range is unknown"):
        read_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), 4)
    with pytest.raises(UnreadableImageError, match="it has more than 16 bits per pixel"):
        read_image(encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"), 4)


@pytest.mark.parametrize(
    ("orientation", "top_left", "top_right"),
    [
        (1, RED, GREEN),
        (2, GREEN, RED),
        (3, WHITE, BLUE),
        (4, BLUE, WHITE),
        (5, RED, BLUE),
        (6, BLUE, RED),
        (7, WHITE, GREEN),
        (8, GREEN, WHITE),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_turns_the_image_upright(
    format: str, orientation: int, top_left: tuple, top_right: tuple
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = read_image(encoded(corners(), format, exif=exif, **options), 64)
    assert close(pixels[16, 16], top_left, 8) and close(pixels[16, 48], top_right, 8)


def test_broken_exif_does_not_cost_the_image():
    data = encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert close(read_image(data, 64)[16, 16], RED, 8)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(format: str):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN, BLUE)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert close(read_image(data, 8)[4, 4], RED, 8)


def test_resize_modes_differ_on_a_wide_image():
    image = Image.new("RGB", (30, 10), GREEN)
    image.paste(RED, (0, 0, 10, 10))
    image.paste(BLUE, (20, 0, 30, 10))
    data = encoded(image, "PNG")
    assert (read_image(data, 10, "crop") == GREEN).all()
    squashed = read_image(data, 9, "squash")
    assert tuple(squashed[4, 0]) == RED and tuple(squashed[4, 8]) == BLUE
    padded = read_image(data, 9, "pad")
    assert (padded[:3] == 255).all() and (padded[6:] == 255).all()
    assert tuple(padded[4, 0]) == RED and tuple(padded[4, 4]) == GREEN


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (7, 3)])
def test_odd_sizes_are_resized(shape: tuple[int, int], resize: str):
    assert read_image(np.full(shape, 9, np.uint8), (6, 4), resize).shape == (6, 4, 3)


def test_a_single_pixel_fills_the_image():
    pixel = Image.new("RGB", (1, 1), (1, 2, 3))
    assert (read_image(encoded(pixel, "PNG"), 8) == (1, 2, 3)).all()


def test_downscaling_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 254
    assert np.abs(read_image(stripes, 8).astype(int) - 127).max() <= 16


def test_a_large_jpeg_looks_the_same_as_its_png():
    ramp = np.tile(np.linspace(0, 255, 1600).astype(np.uint8), (1200, 1))
    image = Image.fromarray(ramp)
    from_jpeg = read_image(encoded(image, "JPEG", quality=95), 32).astype(int)
    assert np.abs(from_jpeg - read_image(encoded(image, "PNG"), 32)).max() <= 2


def test_large_images_are_read_without_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(Image.new("RGB", (12, 12), RED), "PNG")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (read_image(data, 4) == RED).all()
    assert not caught


def test_a_decompression_bomb_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    bomb = tmp_path / "bomb.png"
    Image.new("RGB", (20, 20)).save(bomb)
    _, skipped = read_images([bomb], 4)
    assert str(skipped[0]) == (
        f"{bomb}: it has more than 200 pixels; make it smaller, or raise "
        "PIL.Image.MAX_IMAGE_PIXELS if you trust it"
    )


def test_unreadable_files_are_listed_with_the_reason(tmp_path: Path):
    good, cut, empty, text, absent = (
        tmp_path / name for name in ("good.png", "cut.jpg", "empty.jpg", "text.jpg", "absent.jpg")
    )
    Image.new("RGB", (8, 8), RED).save(good)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    cut.write_bytes(encoded(Image.fromarray(noise), "JPEG")[:1500])
    empty.touch()
    text.write_text("not an image")
    images, skipped = read_images([cut, good, empty, text, absent], 8)
    assert images.shape == (1, 8, 8, 3) and (images == RED).all()
    reasons = {Path(file.path).name: file.reason for file in skipped}
    assert reasons.pop("cut.jpg").startswith("it is damaged (image file is truncated")
    assert reasons == {
        "empty.jpg": "the file is empty (0 bytes)",
        "text.jpg": "its content is not an image of a known format",
        "absent.jpg": "No such file or directory",
    }


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path):
    """Reading a pipe would wait for ever, reading a device may never end."""
    pipe, device, folder = (tmp_path / name for name in ("pipe.png", "device.png", "folder.png"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    folder.mkdir()
    _, skipped = read_images([pipe, device, folder], 8)
    assert [file.reason for file in skipped] == ["it is not a regular file"] * 3


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path):
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(20 * 2**30)
    _, skipped = read_images([tmp_path / "huge.png"], 8)
    assert skipped[0].reason == "the file has 21.5 GB, more than any image that can be read"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("kind", ["gray of 16 bits", "palette with transparency"])
def test_large_images_take_a_few_times_their_pixels_on_many_cores(kind: str, tmp_path: Path):
    """Small as files: 25 million pixels each, which took half a gigabyte on every core."""
    file = tmp_path / "large.png"
    if kind == "gray of 16 bits":
        Image.new("I;16", (5000, 5000)).save(file)
    else:
        Image.new("P", (5000, 5000)).save(file, transparency=bytes([128, 255]))
    code = (
        "import re, sys\n"
        "from finetune.data.images import read_images\n"
        "images, skipped = read_images([sys.argv[1]] * 3, 32)\n"
        "most = re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "print(len(images), most)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], check=True, capture_output=True, text=True
    )
    read, kilobytes = map(int, done.stdout.split())
    assert read == 3 and kilobytes * 1024 < 0.6e9


def test_strips_of_a_large_image_are_as_the_whole(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (30, 20, 4), np.uint8)),
        Image.fromarray(random.integers(0, 65536, (30, 20), np.uint16)),
    ]
    whole = [np.asarray(to_rgb(image)) for image in images]
    monkeypatch.setattr("finetune.data.pixels._STRIP", 130)
    for image, expected in zip(images, whole, strict=True):
        assert np.array_equal(np.asarray(to_rgb(image)), expected)


def test_postscript_is_never_run_whatever_its_suffix(tmp_path: Path):
    file = tmp_path / "image.jpg"
    Image.new("RGB", (8, 8)).save(file, "EPS")
    with pytest.raises(UnreadableImageError, match="not an image of a known format"):
        read_image(file, 8)


def test_read_image_names_the_file(tmp_path: Path):
    file = tmp_path / "empty.png"
    file.touch()
    with pytest.raises(UnreadableImageError) as caught:
        read_image(file, 8)
    assert str(caught.value) == (
        f"{file} is not an image that can be read: the file is empty (0 bytes)."
    )
    with pytest.raises(UnreadableImageError, match=r"^The data \(3 bytes\) is not an image"):
        read_image(b"abc", 8)


def test_order_is_kept_over_many_files(tmp_path: Path):
    files = []
    for number in range(200):
        files.append(tmp_path / f"{number}.png")
        Image.new("L", (2, 2), number).save(files[-1])
    images, skipped = read_images(files, 2)
    assert images[:, 0, 0, 0].tolist() == list(range(200)) and not skipped


def test_find_images_expands_folders_and_keeps_named_files(tmp_path: Path):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", "notes.txt", ".hidden.jpg", ".git/d.jpg", "x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [file.relative_to(tmp_path).as_posix() for file in find_images(tmp_path)]
    assert names == ["a.PNG", "b.jpg", "sub/c.webp"]
    assert find_images([tmp_path / "x", tmp_path / "sub"]) == [
        tmp_path / "x",
        tmp_path / "sub" / "c.webp",
    ]


def test_find_images_says_what_is_missing(tmp_path: Path):
    with pytest.raises(DataNotFoundError, match=r"No such file or folder: .*absent"):
        find_images(tmp_path / "absent")
    with pytest.raises(DataError, match=r"No image in .*: expected files such as \.jpg or \.png"):
        find_images(tmp_path)


def test_reading_images_does_not_load_tensorflow():
    code = "import sys, finetune.data.images; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
