"""What the killed process does. Loaded once, by the server that all of them are forked from."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from finetune import FineTuner, load_data
from tiny import SIZE, build_backbone, make_images


def search(folder: str, strategy: str, **options) -> None:
    """Search six combinations on the tiny backbone."""
    tuner = FineTuner(
        build_backbone(),
        preprocess="tf",
        freeze_depth=[7, 10, 14],
        learning_rate=[1e-3, 1e-2],
        epochs=4,
        head_epochs=3,
    )
    data = load_data(make_images(24), image_size=SIZE, batch_size=16, test=1 / 6, augment="none")
    tuner.search(data, strategy=strategy, max_trials=6, out=folder, verbose=0, **options)
