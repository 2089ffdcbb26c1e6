"""What the killed process does. Loaded once, by the server that all of them are forked from."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # for the same bits, whoever is killed

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
from PIL import Image

from faults.stages import Moment, Watch
from finetune import FineTuner, ImageData, fine_tune, load_data
from finetune.api import one_call
from finetune.exceptions import RunFolderError, StorageError
from finetune.report import write_page
from finetune.reuse import FeatureCache, starts
from finetune.search import conclusion
from finetune.training import relays
from finetune.training.head_store import HeadStore
from finetune.training.program import Program
from tiny import SIZE, build_backbone, make_images

# Names of what a process does, and of the file that says which stages it went through.
SEARCH, FIT, PASSED = "search", "fit", "passed.json"
# With this a process ends that a full disk has stopped, and that has said so.
NO_ROOM = 28

_TRAINING = {
    "preprocess": "tf",
    "head_optimizer": "adam",  # has a state, which a head that is solved has not
    "head_epochs": 3,
    "epochs": 4,
    "refit": 1,
    "deterministic": True,
}


def write_images(folder: Path) -> None:
    """Make the folder of images that all processes train on."""
    for number, (pixels, label) in enumerate(zip(*make_images(24), strict=True)):
        path = folder / f"class {label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def work(what: str, folder: str, images: str, moment: Moment | None, **options: Any) -> None:
    """Search, or train once; each folder has its own cache and temporary files.

    Args:
        what: `SEARCH` or `FIT`.
        folder: Where everything goes; the result into `folder / what`.
        images: Folder of the images.
        moment: When the process is killed.
        **options: Of `FineTuner.search`.
    """
    place = Path(folder)
    tempfile.tempdir = str(place / "temporary")
    os.makedirs(tempfile.tempdir, exist_ok=True)
    os.environ["FINETUNE_CACHE"] = str(place / "cache")
    relays.SECONDS_BETWEEN_STATES = 0.0  # epochs take no ten seconds here
    starts._LOADED = 1e15  # features pay, also of so small a network
    watch = Watch(moment, place)
    for owner, name, stage in (
        (FeatureCache, "get", "extraction"),
        (Program, "fit", None),
        (conclusion, "report_run", "report"),
        (one_call, "report_run", "report"),
    ):
        setattr(owner, name, watch.stage_of(stage, getattr(owner, name)))
    HeadStore.alone = watch.heads(HeadStore.alone)
    keras.utils.set_random_seed(0)
    try:
        with watch.stage("loading"):
            data = load_data(images, image_size=SIZE, batch_size=16, test=1 / 6, augment="none")
        if what == FIT:
            _fit(data, place / what)
        else:
            _search(data, place / what, **options)
        watch.write(place / PASSED)
    except StorageError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(NO_ROOM)


def _fit(data: ImageData, folder: Path) -> None:
    try:
        fine_tune(
            data, backbone=build_backbone(), freeze_depth=10, out=folder, verbose=0, **_TRAINING
        )
    except RunFolderError as refused:
        if "holds a finished run" not in str(refused):
            raise
        if not (folder / "report.html").exists():  # as `finetune report` does
            write_page(folder)


def _search(data: ImageData, folder: Path, **options: Any) -> None:
    """Search six combinations on the tiny backbone."""
    tuner = FineTuner(
        build_backbone(), freeze_depth=[10, 14], learning_rate=[1e-3, 3e-3, 1e-2], **_TRAINING
    )
    tuner.search(data, max_trials=6, out=folder, verbose=0, **options)
