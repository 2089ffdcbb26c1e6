"""README.md beside an export: a model card for people, and for Hugging Face."""

import json

import pytest

from exportable import classifier
from finetune import export_model

METRICS = {
    "validation": {"accuracy": 0.8, "loss": 0.5, "n": 50, "interval": [0.67, 0.888]},
    "test": {"accuracy": 0.75, "loss": 0.6, "n": 40, "interval": [0.598, 0.8587]},
    "calibration": {"error": 0.0512},
}

FRONT = """\
pipeline_tag: image-classification
tags:
- image-classification
- keras-finetuner
- tf
model-index:
- name: "shoes-savedmodel"
  results:
  - task:
      type: image-classification
      name: Image Classification
    dataset:
      name: "my \\"best\\" shoes"
      type: image-folder
      split: test
    metrics:
    - type: accuracy
      value: 0.7500
      name: "Accuracy (40 test images, 95% interval 0.598 to 0.859)"
"""


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "shoes"
    classifier(temperature=1.25).save(folder / "model.keras")
    (folder / "config.toml").write_text('data = "/photos/my \\"best\\" shoes"\n')
    return folder


def card_of(run, **metrics):
    (run / "metrics.json").write_text(json.dumps(METRICS | metrics))
    folder = export_model(run, "savedmodel").folder
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return front, text


def test_it_carries_the_figures_of_the_run_as_hugging_face_reads_them(run):
    front, text = card_of(run)
    assert front == FRONT
    assert text.startswith(
        "\n# shoes-savedmodel\n\nA network that says which of its classes an image is of, "
        "fine-tuned with keras-finetuner. Classes, in this order: boots, sandals, sneakers. Its "
        "probabilities are calibrated (temperature 1.250).\n"
    )
    assert (
        "\n## How good it is\n\nAccuracy 0.750 on 40 test images, 95% interval 0.598 to 0.859. "
        "Expected calibration error 0.051.\n"
    ) in text
    assert "On 32 made-up images, for there are no real ones. Allowed: " in text
    assert 'model.signatures["serving_default"](pixels=tf.constant(pixels))' in text
    assert "scaled until it fits inside, with white bars around it" in text


def test_validation_images_stand_in_for_test_images_and_that_is_said(run):
    front, text = card_of(run, test=None)
    assert "      split: validation\n" in front
    assert (
        "Accuracy 0.800 on 50 validation images, 95% interval 0.670 to 0.888. These images chose "
        "the epoch, so that it is a little optimistic."
    ) in text


def test_yaml_is_what_it_is(run):
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra docs")
    front, _ = card_of(run)
    (entry,) = yaml.safe_load(front)["model-index"]
    (result,) = entry["results"]
    assert result["dataset"]["name"] == 'my "best" shoes'
    assert result["metrics"][0]["value"] == 0.75


def test_names_of_classes_are_text_of_which_nothing_acts(tmp_path):
    names = ("<img src=x>", "[a](http://b)", "c\n# d\x1b[2J")
    folder = export_model(classifier(class_names=names), "savedmodel", out=tmp_path / "one").folder
    assert (
        r"in this order: \<img src=x\>, \[a\](http\://b), c?# d?\[2J."
        in (folder / "README.md").read_text()
    )


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, '{"test": {"accuracy": "0.9"}}', '{"test": {"n": 1e999}}']
)
def test_metrics_that_are_none_leave_the_export_without_figures(run, content):
    (run / "metrics.json").write_text(content)
    text = (export_model(run, "savedmodel").folder / "README.md").read_text()
    assert "The export was made without a run that says how good the model is." in text


def test_a_model_without_a_run_has_no_figures(tmp_path):
    folder = export_model(classifier(), "savedmodel", out=tmp_path / "one").folder
    text = (folder / "README.md").read_text()
    assert "model-index" not in text
    assert "The export was made without a run that says how good the model is." in text
