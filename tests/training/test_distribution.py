"""Training on two devices of one machine, here two halves of the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune import FineTuner
from finetune.exceptions import ArgumentError

# Logical devices can only be made before TensorFlow has started, so in a process of its own.
SCRIPT = """
import json, sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from finetune import FineTuner, load_data
from tiny import SIZE, build_backbone, make_images

data = load_data(make_images(24), image_size=SIZE, batch_size=16, augment="none")
LIMIT = json.loads(sys.argv[2])
RATE = 1e-2 if LIMIT is None else 1.0  # each step is as long as the limit lets it be
results = {}
for name, distribution in (
    ("one", None), ("two", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
):
    tuner = FineTuner(
        build_backbone(), preprocess="tf", freeze_depth=7, learning_rate=RATE, epochs=3,
        head_epochs=3, dropout=0.0, optimizer="sgd", distribution=distribution, clip_norm=LIMIT,
    )
    settings = tuner.trainer.settings()
    model, record = tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
    results[name] = [[row["loss"], row["val_loss"]] for row in record.epochs]
    if distribution is not None and LIMIT is None:
        assert model.layers[-1].trainable_variables[0].value.values[1].device.endswith("CPU:1")
        result = FineTuner(
            build_backbone(), preprocess="tf", freeze_depth=7, learning_rate=[1e-2, 1e-3],
            epochs=1, head_epochs=1, distribution=distribution,
        ).search(data, strategy="grid", out=sys.argv[1], verbose=0)
        results["search"] = [trial["status"] for trial in result.trials]
print(json.dumps(results))
"""


@pytest.mark.thorough
@pytest.mark.parametrize("limit", [None, 0.05])
def test_two_devices_give_the_losses_of_one(tmp_path: Path, limit: float | None):
    tests = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "study"), json.dumps(limit)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    results = json.loads(ended.stdout.strip().splitlines()[-1])
    # The last batch is not split into equal halves, so the mean of means differs a little.
    for one, two in zip(results["one"], results["two"], strict=True):
        assert two == pytest.approx(one, rel=0.02)
    assert results.get("search") == (["completed", "completed"] if limit is None else None)


def test_other_distributions_are_refused():
    with pytest.raises(ArgumentError, match="distribution to be 'mirrored'"):
        FineTuner(num_classes=2, weights=None, distribution="everywhere")
