"""recipes/shoes.py: both tables and both figures, on images in small."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shoes

ROW = r"\| %s \| [01]\.\d{3} \[.+\] n=\d+ \| \d+\.\d{3} \| [01]\.\d{3} \[.+\] n=12 \| \d+\.\d \|"


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


@pytest.fixture(scope="module")
def printed(folder, tmp_path_factory):
    """What a run with two freeze depths and two rates prints, and where it draws."""
    out = tmp_path_factory.mktemp("out") / "new"
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        patch.setattr(shoes, "DEPTHS", [140, 154])
        patch.setattr(shoes, "RATES", [1e-4, 1e-5])
        tiny = ["--weights", "none", "--image-size", "32", "--epochs", "1", "--seeds", "0", "1"]
        shoes.main([str(folder), *tiny, "--out", str(out)])
    return text.getvalue().splitlines(), out


def test_prints_a_row_for_each_freeze_depth_and_each_rate(printed):
    lines, _ = printed
    head = "validation accuracy | loss | test accuracy | minutes |"
    assert lines[:3] == ["", f"| freeze depth | {head}", "|---|---|---|---|---|"]
    assert lines[5:8] == ["", f"| learning rate | {head}", "|---|---|---|---|---|"]
    for line, name in zip(lines[3:5] + lines[8:], ("140", "154", "1e-04", "1e-05"), strict=True):
        assert re.fullmatch(ROW % name, line), line


def test_the_rate_of_the_first_table_is_not_trained_again(printed):
    lines, _ = printed
    assert lines[9].removeprefix("| 1e-05") == lines[3].removeprefix("| 140")


def test_draws_both_figures(printed):
    _, out = printed
    assert sorted(path.name for path in out.iterdir()) == ["freeze_depth.png", "learning_rate.png"]
    for path in out.iterdir():
        with Image.open(path) as image:
            assert image.size == (1350, 600)


def test_reproduces_the_rows_of_the_experiment():
    assert (shoes.DEPTHS, shoes.RATE, shoes.RATES) == ([0, 50, 100, 154], 1e-5, [1e-4, 1e-5, 1e-6])


def test_opens_with_the_command_that_runs_it_and_is_short():
    text = Path(shoes.__file__).read_text()
    assert "python recipes/shoes.py" in text[:200]
    assert len(text.splitlines()) < 80
