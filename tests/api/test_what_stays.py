"""What one call has made is gone when its result is."""

import gc
from collections import Counter

import pytest

from finetune import fine_tune
from tiny import SIZE, build_backbone, make_images

# By name, for TensorFlow's are private: networks, their compiled steps, and what they train on.
KINDS = ("Functional", "FuncGraph", "SharedBackbone", "Program", "RowBatches", "Split", "Features")


@pytest.fixture
def train(tmp_path):
    """Fits on the tiny backbone, and counts what is left of it."""

    def run(name):
        fine_tune(
            make_images(12),
            backbone=build_backbone(),
            preprocess="tf",
            image_size=SIZE,
            freeze_depth=10,
            epochs=2,
            batch_size=16,
            out=tmp_path / name,
            verbose=0,
        )
        gc.collect()
        held = Counter(type(thing).__name__ for thing in gc.get_objects())
        return {kind: held[kind] for kind in KINDS}

    return run


@pytest.mark.thorough
def test_networks_steps_and_images_of_a_call_do_not_stay(train):
    train("first")  # what is made once for all of them stays
    assert train("second") == train("third")
