#!/usr/bin/env python3
"""Classify images with the model beside this file.

    python predict.py IMAGE_OR_FOLDER... [--json] [--doubt] [--maps FOLDER]

Needs nothing but NumPy, Pillow and ONNX Runtime (requirements.txt); as a module:
`load(folder).predict(images)`. Images are brought to the model's size as they were when it was
trained: upright, transparency on white, 16 bits scaled to 8, resized with antialiasing.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = tuple(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "gif", "webp", "bmp", "dib", "tif", "tiff", "avif"),
        *("heic", "heif", "jp2", "tga", "ppm", "pgm", "pbm", "pnm"),
    )
)
ORIENTATION = 0x0112  # EXIF
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# These would start other programs.
UNSAFE = frozenset({"EPS", "PDF", "WMF"})
BATCH = 32
MAPS = "activation_maps"


class Model:
    """An ONNX file and what stands in it: class names, image size, resizing, task."""

    def __init__(self, path):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        properties = self.session.get_modelmeta().custom_metadata_map
        self.card = {key: json.loads(value) for key, value in properties.items()}
        self.outputs = [output.name for output in self.session.get_outputs()]

    def probabilities(self, pixels):
        """What the model says of uint8 pixels (n, height, width, 3), a row for each image."""
        return self._run(next(name for name in self.outputs if name != MAPS), pixels)

    def activation_maps(self, pixels):
        """How much each place speaks for each class, (n, rows, columns, classes)."""
        if MAPS not in self.outputs:
            raise SystemExit("This model has no activation maps: export it with --activation-map.")
        return self._run(MAPS, pixels)

    def _run(self, name, pixels):
        return np.asarray(self.session.run([name], {"pixels": pixels.astype("float32")})[0])

    def answers(self, pixels):
        """A label, and probabilities by class name, for each image."""
        names, task = self.card["class_names"], self.card["task"]
        for row in self.probabilities(pixels):
            values = [float(value) for value in row]
            if task == "regression":
                yield (values[0] if len(values) == 1 else values), {}
                continue
            named = dict(zip(names, values, strict=True))
            if task == "multilabel":
                yield [name for name, value in named.items() if value >= 0.5], named
            else:
                yield names[int(row.argmax())], named

    def classes(self, probabilities, coverage="0.95"):
        """The classes that an image may be of, the most probable first.

        In so many images like those of the training the true one is among them. None where the
        model was made with no images set aside for that (`calibration`).
        """
        least = (self.card.get("least_probability") or {}).get(coverage)
        if least is None:
            return None
        ordered = sorted(probabilities, key=lambda name: -probabilities[name])
        return [name for name in ordered if name == ordered[0] or probabilities[name] >= least]

    def predict(self, paths):
        """The path, label and probabilities of each image; and on standard error what failed."""
        size, resize = self.card["image_size"], self.card["resize"]
        waiting = []
        for path in paths:
            try:
                waiting.append((path, read_image(path, size, resize)))
            except Exception as error:  # broken files make decoders raise errors of every class
                print(printable(f"skipped: {path}: {error}"), file=sys.stderr)
            if len(waiting) == BATCH:
                yield from self._batch(waiting)
                waiting = []
        yield from self._batch(waiting)

    def _batch(self, waiting):
        if waiting:
            answers = self.answers(np.stack([pixels for _, pixels in waiting]))
            for (path, _), (label, probabilities) in zip(waiting, answers, strict=True):
                yield path, label, probabilities


def load(folder):
    """The model in an exported folder."""
    return Model(Path(folder) / "model.onnx")


def read_image(path, size, resize):
    """An image file as uint8 RGB pixels (height, width, 3)."""
    Image.init()
    formats = [name for name in Image.ID if name not in UNSAFE]
    image = Image.open(io.BytesIO(Path(path).read_bytes()), formats=formats)
    # A large JPEG is decoded at part of its size, at least twice what is needed.
    longer = 2 * max(size)
    image.draft(None, (longer, longer))
    image.load()
    turned = TURNED.get(orientation(image))
    image = image if turned is None else image.transpose(turned)
    return np.asarray(resized(to_rgb(image), size, resize))


def orientation(image):
    """How a camera was held; broken EXIF counts as none."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1


def to_rgb(image):
    """Transparency is laid on white, 16 bits are scaled to 8."""
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("it has more than 16 bits per pixel; save it with 8 or 16")
        image = Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def resized(image, size, resize):
    """Crop, pad with white, or squash to (height, width)."""
    height, width = size
    bilinear = Image.Resampling.BILINEAR
    if image.size == (width, height):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (width, height), bilinear)
    if resize == "squash":
        return image.resize((width, height), bilinear)
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = Image.new("RGB", (width, height), "white")
    offset = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    padded.paste(image.resize(inner, bilinear), offset)
    return padded


def shaded(pixels, strengths):
    """An image with a veil over what says nothing for a class; strengths are (rows, columns)."""
    positive = np.maximum(strengths, 0)
    shares = Image.fromarray((positive / max(float(positive.max()), 1e-30)).astype("float32"))
    height, width = pixels.shape[:2]
    clear = np.clip(np.asarray(shares.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)
    return Image.fromarray((pixels * (0.15 + 0.85 * clear[..., None])).astype(np.uint8))


def draw_maps(model, paths, folder):
    """Write for each image a PNG that shows where it speaks for the answer."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        try:
            pixels = read_image(path, model.card["image_size"], model.card["resize"])
        except Exception as error:
            print(f"skipped: {path}: {error}", file=sys.stderr)
            continue
        unit = int(model.probabilities(pixels[None])[0].argmax())
        strengths = model.activation_maps(pixels[None])[0, ..., unit]
        shaded(pixels, strengths).save(folder / f"{number:05d}-{path.stem}.png")


def find_images(paths):
    """Files as they are given, and the images below folders."""
    for path in map(Path, paths):
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            yield from (file for file in below if not file.name.startswith("."))
        else:
            yield path


def main(arguments=None):
    """What is done when this file is run."""
    parser = argparse.ArgumentParser(description="Classify images with the model in this folder.")
    parser.add_argument("paths", nargs="+", help="image files or folders")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--doubt", action="store_true", help="name all classes that it may be")
    parser.add_argument("--maps", type=Path, help="folder to draw into where images speak for it")
    given = parser.parse_args(arguments)
    model = load(Path(__file__).parent)
    if given.maps:
        draw_maps(model, find_images(given.paths), given.maps)
        return
    if given.doubt and model.classes({"a": 1.0}) is None:
        parser.error("the model was made with no images set aside for --doubt (calibration)")
    for path, label, probabilities in model.predict(find_images(given.paths)):
        classes = model.classes(probabilities) if given.doubt else None
        if given.json:
            answer = {"path": str(path), "label": label, "probabilities": probabilities}
            print(json.dumps({**answer, **({"set": classes} if given.doubt else {})}))
        elif classes and len(classes) > 1:
            print(printable(f"{path}  not sure: {' or '.join(classes)}"))
        else:
            sure = f"  {max(probabilities.values()):.1%}" if probabilities else ""
            print(printable(f"{path}  {label}{sure}"))


def printable(text):
    """A line in which nothing commands the terminal: names of files may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in text)


if __name__ == "__main__":
    main()
