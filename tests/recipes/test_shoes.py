"""recipes/shoes.py: both tables and both figures, on images in small."""

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shoes

HEAD = "validation accuracy | loss | test accuracy | minutes |"
FIGURES = r"[01]\.\d{3} \[.+\] n=\d+ \| \d+\.\d{4} \| [01]\.\d{3} \[.+\] n=12 \| \d+\.\d"
KEPT = "At the kept epoch, the best by validation:"
LAST = "Last epoch. Shown: their protocol on these photos. Not shown: on theirs."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of noise, 10 images each to train on and 4 to test."""
    root = tmp_path_factory.mktemp("shoes")
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for brand in ("adidas", "converse", "nike"):
            (root / split / brand).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / brand / f"{number}.png")
    return root


def run(folder, out, *arguments, **constants):
    """Runs the recipe with other constants; returns the lines of its tables."""
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        for name, value in constants.items():
            patch.setattr(shoes, name, value)
        shoes.main([str(folder), "--weights", "none", "--out", str(out), *arguments])
    lines = text.getvalue().splitlines()
    return [line for line in lines if line.startswith(("|", KEPT, LAST)) and "---" not in line]


@pytest.fixture(scope="module")
def printed(folder, tmp_path_factory):
    """What a run with two freeze depths, two rates and two seeds prints, and where it draws."""
    out = tmp_path_factory.mktemp("out") / "new"
    tiny = ["--image-size", "32", "--epochs", "1", "--seeds", "2"]
    return run(folder, out, *tiny, DEPTHS=[140, 154], RATES=[1e-4, 1e-5]), out


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """The same of the published protocol, at 32 pixels and for fewer epochs."""
    out = tmp_path_factory.mktemp("published")
    constants = {
        "DEPTHS": [140, 154],
        "RATES": [1e-4, 1e-5],
        "PUBLISHED_DATA": {**shoes.PUBLISHED_DATA, "image_size": 32},
        "PUBLISHED_EPOCHS": {"freeze_depth": [2], "learning_rate": [1, 3]},
        "THEIRS": {"freeze_depth": [".66", ".20"], "learning_rate": ["~.80", "~.73"]},
    }
    return run(folder, out, "--published", **constants), out


@pytest.mark.thorough
def test_prints_a_row_for_each_freeze_depth_and_each_rate(printed):
    lines, _ = printed
    expected = [
        *(re.escape(KEPT), re.escape(f"| freeze_depth | {HEAD}"), rf"\| 140 \| {FIGURES} \|"),
        *(rf"\| 154 \| {FIGURES} \|", re.escape(KEPT), re.escape(f"| learning_rate | {HEAD}")),
        *(rf"\| 0.0001 \| {FIGURES} \|", rf"\| 1e-05 \| {FIGURES} \|"),
    ]
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.slow
def test_published_rows_are_those_of_the_last_epoch_with_the_published_figures_beside_them(
    published,
):
    lines, _ = published
    assert [line for line in lines if not line.startswith("|")] == [KEPT, LAST] * 2
    shown = [line.rsplit(" | ", 1)[1] for line in lines if line.startswith("|")]
    theirs = ["published |", ".66 |", ".20 |", "published |", "~.80 |", "~.73 |"]
    assert [last for last in shown if last in theirs] == theirs
    for line in lines[6:8] + lines[14:]:
        assert re.fullmatch(rf"\| \S+ \| {FIGURES} \| \S+ \|", line), line


@pytest.mark.slow
def test_published_trainings_are_one_phase_and_end_after_the_epochs_of_their_rate(published):
    _, out = published
    ended = {}
    for path in sorted(out.glob("*/trials/*.json")):
        trial = json.loads(path.read_text())
        history = trial["steps"][-1]["outcome"]["history"]
        assert {row["phase"] for row in history} == {"fine_tune"}
        assert ["test_accuracy" in row for row in history] == [False] * (len(history) - 1) + [True]
        assert trial["status"] == "completed"
        ended[tuple(trial["values"].values())] = len(history)
    assert ended == {(140,): 2, (154,): 2, (1e-4,): 1, (1e-5,): 3}


@pytest.mark.slow
def test_the_same_command_goes_on_with_what_is_there(printed, folder):
    lines, out = printed
    tiny = ["--image-size", "32", "--epochs", "1", "--seeds", "2"]
    assert run(folder, out, *tiny, DEPTHS=[140, 154], RATES=[1e-4, 1e-5]) == lines


@pytest.mark.thorough
def test_draws_both_figures(printed):
    _, out = printed
    paths = sorted(out.glob("*.png"))
    assert [path.name for path in paths] == ["freeze_depth.png", "learning_rate.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.size == (1650, 750)


def test_reproduces_the_protocol_of_the_experiment():
    assert (shoes.DEPTHS, shoes.RATE, shoes.RATES) == ([0, 50, 100, 154], 1e-5, [1e-4, 1e-5, 1e-6])
    assert shoes.PUBLISHED == {
        **{"schedule": "constant", "clip_norm": None, "label_smoothing": 0.0, "dropout": 0.0},
        **{"head_epochs": 0, "batch_norm": "adapt"},
    }
    assert (shoes.PUBLISHED_DATA["image_size"], shoes.PUBLISHED_DATA["batch_size"]) == (160, 256)
    assert shoes.PUBLISHED_EPOCHS == {"freeze_depth": [50], "learning_rate": [50, 100, 500]}


def test_opens_with_the_command_that_runs_it_and_is_short():
    text = Path(shoes.__file__).read_text()
    assert "python recipes/shoes.py" in text[:200]
    assert len(text.splitlines()) <= 100
    assert "\n# To change first: " in text
