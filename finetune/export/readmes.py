"""The README.md of an export: a model card, as Hugging Face reads it and people do."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from finetune.exceptions import DamagedFileError
from finetune.export.proof import Export
from finetune.export.sample import named_in
from finetune.export.serving import answer_name
from finetune.model import FineTunedModel, ModelCard
from finetune.support import in_one_line, read_json

_TAGS = {"onnx": "onnx", "folder": "onnx", "savedmodel": "tf", "litert": "tflite"}

_RESIZING = {
    "pad": "scaled until it fits inside, with white bars around it",
    "crop": "scaled until it covers the size, and its centre cut out",
    "squash": "scaled to the size, whatever that does to its proportions",
}

_USES = {
    "onnx": """\
```python
import json
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
({answer},) = session.run(["{answer}"], {{"pixels": pixels}})
```""",
    "savedmodel": """\
```python
import tensorflow as tf

model = tf.saved_model.load("{file}")
{answer} = model.signatures["serving_default"](pixels=tf.constant(pixels))["{answer}"]
```

Class names and the rest are in `{file}/assets.extra/finetune.json`. TensorFlow Serving takes this
folder as its `--model_base_path`, and KServe as its `storageUri`.""",
    "litert": """\
```python
import json
import zipfile
from ai_edge_litert.interpreter import Interpreter

run = Interpreter("{file}").get_signature_runner()
{answer} = run(pixels=pixels)["{answer}"]
names = json.loads(zipfile.ZipFile("{file}").read("finetune.json"))["class_names"]
```""",
    "folder": """\
```console
pip install -r requirements.txt
python predict.py IMAGE_OR_FOLDER... [--json]
```

or from Python, in this folder: `list(predict.load(".").predict(["one.jpg"]))`. No TensorFlow is
needed.""",
}

_MAPS = """
A second output, `activation_maps` ({how}), is float32 (images, rows, columns, classes): how much
each place of an image, from the upper left, speaks for each class (below 0: against it).
"""

_MAPS_OF = {
    "onnx": '`session.run(["activation_maps"], {"pixels": pixels})`',
    "savedmodel": '`["activation_maps"]` of the same answer',
    "litert": '`["activation_maps"]` of the same answer',
    "folder": "`python predict.py IMAGES... --maps FOLDER` draws that of the answer",
}

_PIXELS = """
`pixels` is a float32 array (images, {height}, {width}, 3) of RGB values 0..255: the model prepares
them itself. An image of another size is {resizing} (bilinear, with antialiasing).
"""


@dataclass(frozen=True)
class _Score:
    """A score in metrics.json."""

    n: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Calibration:
    """How far probabilities were off, in metrics.json."""

    error: float | None = None


@dataclass(frozen=True)
class _Metrics:
    """What is taken from the metrics.json of a run, or the result.json of a search."""

    test: _Score | None = None
    validation: _Score | None = None
    calibration: _Calibration | None = None


def read_me(export: Export, model: FineTunedModel, file: str, run: Path | None) -> str:
    """The text of the README.md beside an exported model.

    Args:
        export: The export, with how it compares.
        model: What was exported.
        file: Name of the exported file.
        run: The folder of its run, whose metrics.json says how good it is.
    """
    card = model.card
    name = export.folder.resolve().name
    metrics = _metrics(run)
    height, width = card.image_size
    use = _USES[export.to].format(file=file, answer=answer_name(card))
    if export.proof.map_difference is not None:
        use += "\n" + _MAPS.format(how=_MAPS_OF[export.to])
    if export.to != "folder":
        use += "\n" + _PIXELS.format(height=height, width=width, resizing=_RESIZING[card.resize])
    return (
        "\n\n".join(
            part.strip()
            for part in (
                _front_matter(name, export.to, metrics, run),
                f"# {in_markdown(name)}",
                _what(card),
                "## Use",
                use,
                "## How good it is",
                _quality(metrics),
                "## The export beside Keras",
                f"```text\n{export.proof}\n```",
            )
        )
        + "\n"
    )


def in_markdown(name: str) -> str:
    r"""A name as text of Markdown within a line, of which nothing acts: no link and no HTML.

    Example:
        >>> print(in_markdown("<b>[a](x)"))
        \<b\>\[a\](x)
    """
    return re.sub(r"([\\`*_\[\]<>&|~$:])", r"\\\1", in_one_line(name))


def _what(card: ModelCard) -> str:
    kinds = {
        "binary": "says which of two classes an image is of",
        "multiclass": "says which of its classes an image is of",
        "multilabel": "says which of its labels an image has: those above one half",
        "regression": "says a value, or several, of an image",
    }
    lines = [f"A network that {kinds[card.task]}, fine-tuned with keras-finetuner."]
    if card.class_names:
        lines.append(f"Classes, in this order: {', '.join(map(in_markdown, card.class_names))}.")
    if card.temperature != 1:
        lines.append(f"Its probabilities are calibrated (temperature {card.temperature:.3f}).")
    return " ".join(lines)


def _metrics(run: Path | None) -> _Metrics:
    """What a run or a search says of its model; nothing where there is neither."""
    for path in (run / "metrics.json", run / "result.json") if run else ():
        if path.is_file():
            with suppress(DamagedFileError):  # of something else, which says nothing of the model
                return read_json(path, _Metrics)
    return _Metrics()


def _score(metrics: _Metrics) -> tuple[str, _Score] | None:
    """The images that say most of the model, and its score on them."""
    for split in ("test", "validation"):
        score = getattr(metrics, split)
        if score is not None and score.accuracy is not None:
            return split, score
    return None


def _in_words(split: str, score: _Score) -> str:
    text = f"{score.n} {split} images"
    if score.interval:
        low, high = score.interval
        text += f", 95% interval {low:.3f} to {high:.3f}"
    return text


def _quality(metrics: _Metrics) -> str:
    found = _score(metrics)
    if found is None:
        return "The export was made without a run that says how good the model is."
    split, score = found
    lines = [f"Accuracy {score.accuracy:.3f} on {_in_words(split, score)}."]
    if split == "validation":
        lines.append("These images chose the epoch, so that it is a little optimistic.")
    if metrics.calibration is not None and metrics.calibration.error is not None:
        lines.append(f"Expected calibration error {metrics.calibration.error:.3f}.")
    return " ".join(lines)


def _front_matter(name: str, to: str, metrics: _Metrics, run: Path | None) -> str:
    """Metadata in YAML; JSON's texts are YAML's, so that any name can stand there."""
    lines = [
        "---",
        "pipeline_tag: image-classification",
        "tags:",
        *(f"- {tag}" for tag in ("image-classification", "keras-finetuner", _TAGS[to])),
    ]
    found = _score(metrics)
    if found is not None:
        split, score = found
        lines += [
            "model-index:",
            f"- name: {json.dumps(name)}",
            "  results:",
            "  - task:",
            "      type: image-classification",
            "      name: Image Classification",
            "    dataset:",
            f"      name: {json.dumps(named_in(run) or 'images')}",
            "      type: image-folder",
            f"      split: {split}",
            "    metrics:",
            "    - type: accuracy",
            f"      value: {score.accuracy:.4f}",
            f"      name: {json.dumps(f'Accuracy ({_in_words(split, score)})')}",
        ]
    return "\n".join([*lines, "---"])
