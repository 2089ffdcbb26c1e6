"""The README.md of an export: a model card, as Hugging Face reads it and people do."""

import json
from pathlib import Path
from typing import Any

from finetune.export.proof import Export
from finetune.export.sample import named_in
from finetune.export.serving import answer_name
from finetune.model import FineTunedModel, ModelCard

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
({answer},) = session.run(None, {{"pixels": pixels}})
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

_PIXELS = """
`pixels` is a float32 array (images, {height}, {width}, 3) of RGB values 0..255: the model prepares
them itself. An image of another size is {resizing} (bilinear, with antialiasing).
"""


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
    if export.to != "folder":
        use += "\n" + _PIXELS.format(height=height, width=width, resizing=_RESIZING[card.resize])
    return (
        "\n\n".join(
            part.strip()
            for part in (
                _front_matter(name, export.to, metrics, run),
                f"# {name}",
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


def _what(card: ModelCard) -> str:
    kinds = {
        "binary": "says which of two classes an image is of",
        "multiclass": "says which of its classes an image is of",
        "multilabel": "says which of its labels an image has: those above one half",
        "regression": "says a value, or several, of an image",
    }
    lines = [f"A network that {kinds[card.task]}, fine-tuned with keras-finetuner."]
    if card.class_names:
        lines.append(f"Classes, in this order: {', '.join(card.class_names)}.")
    if card.temperature != 1:
        lines.append(f"Its probabilities are calibrated (temperature {card.temperature:.3f}).")
    return " ".join(lines)


def _metrics(run: Path | None) -> dict[str, Any]:
    """What a run or a search says of its model; nothing where there is neither."""
    for path in (run / "metrics.json", run / "result.json") if run else ():
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return found if isinstance(found, dict) else {}
    return {}


def _score(metrics: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The images that say most of the model, and its score on them."""
    for split in ("test", "validation"):
        score = metrics.get(split)
        if isinstance(score, dict) and isinstance(score.get("accuracy"), float):
            return split, score
    return None


def _in_words(split: str, score: dict[str, Any]) -> str:
    text = f"{score['n']} {split} images"
    if score.get("interval"):
        low, high = score["interval"]
        text += f", 95% interval {low:.3f} to {high:.3f}"
    return text


def _quality(metrics: dict[str, Any]) -> str:
    found = _score(metrics)
    if found is None:
        return "The export was made without a run that says how good the model is."
    split, score = found
    lines = [f"Accuracy {score['accuracy']:.3f} on {_in_words(split, score)}."]
    if split == "validation":
        lines.append("These images chose the epoch, so that it is a little optimistic.")
    calibration = metrics.get("calibration")
    if isinstance(calibration, dict) and "error" in calibration:
        lines.append(f"Expected calibration error {calibration['error']:.3f}.")
    return " ".join(lines)


def _front_matter(name: str, to: str, metrics: dict[str, Any], run: Path | None) -> str:
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
            f"      value: {score['accuracy']:.4f}",
            f"      name: {json.dumps(f'Accuracy ({_in_words(split, score)})')}",
        ]
    return "\n".join([*lines, "---"])
