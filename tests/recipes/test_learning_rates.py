"""recipes/learning_rates.py: seven ways to change the rate, trained and drawn in small."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import learning_rates


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four epochs of one step each: its results, what it printed, where it drew."""
    root, out = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("out") / "new"
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for name in ("a", "b", "c"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    results, text, draw = {}, io.StringIO(), learning_rates.draw

    def keep(given, path):
        results.update(given)
        draw(given, path)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        patch.setattr(learning_rates, "draw", keep)
        tiny = ["--weights", "none", "--image-size", "32", "--epochs", "4"]
        learning_rates.main([str(root), *tiny, "--learning-rate", "0.001", "--out", str(out)])
    return results, text.getvalue().splitlines(), out


@pytest.mark.slow
def test_each_way_changes_the_rate_as_it_says(run):
    results, _, _ = run
    rates = {way: result.rates["fine_tune"] for way, result in results.items()}
    expected = {
        "constant": [1e-3] * 4,
        "exponential": [1e-3 * 0.01 ** (step / 4) for step in range(4)],
        "a function": [1e-3 * (2 / 3) ** epoch for epoch in range(1, 5)],
        "by hand": [1e-3, 1e-3, 1e-3, 5e-4],
    }
    assert {way: rates[way] for way in expected} == {
        way: pytest.approx(values) for way, values in expected.items()
    }
    assert rates["piecewise"][-1] == pytest.approx(1e-4)
    assert rates["cosine, warm-up"][-1] < rates["cosine, warm-up"][0] / 2
    assert len(rates["on a plateau"]) == 4


@pytest.mark.slow
def test_all_ways_start_from_the_same_head(run):
    results, _, _ = run
    heads = [
        [row["val_loss"] for row in result.rows() if row["phase"] == "head"]
        for result in results.values()
    ]
    assert len(heads) == 7
    assert all(head == pytest.approx(heads[0], rel=1e-4) for head in heads)


@pytest.mark.slow
def test_prints_test_accuracy_with_its_interval(run):
    _, lines, _ = run
    assert [line[:16].strip() for line in lines] == list(learning_rates.WAYS)
    for line in lines:
        assert line[16:].startswith(" test accuracy ") and line.endswith("] (n=12)")


@pytest.mark.slow
def test_draws_one_figure(run):
    _, _, out = run
    with Image.open(out / "learning_rates.png") as image:
        assert image.size == (2100, 675)


def test_opens_with_the_command_that_runs_it_and_is_short():
    text = Path(learning_rates.__file__).read_text()
    assert "python recipes/learning_rates.py" in text[:200]
    assert len(text.splitlines()) <= 100
    assert "\n# To change first: " in text
