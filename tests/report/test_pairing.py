"""Two runs on the same images: who is right where."""

import re
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from finetune.cli.main import app
from finetune.data import load_data
from finetune.exceptions import ArgumentError, RunFolderError
from finetune.report import compare_runs
from finetune.training import right_answers
from tiny import EVIL, make_images


@pytest.fixture(scope="module")
def images():
    pixels, labels = make_images(24)
    names = np.array(["boots", EVIL, "sandals"])
    return load_data((pixels, names[labels]), image_size=16, batch_size=16, test=0.4)


@pytest.fixture(scope="module")
def runs(tune, images):
    """One that has learned a little, and one that has learned nothing."""
    return tune(images), tune(images, head_optimizer="adam", head_epochs=1, epochs=1)


def test_the_counts_are_those_of_the_answers(runs, images, tmp_path, read_facts):
    pair = compare_runs(*(run.folder for run in runs), tmp_path / "pair.html")
    first, second = (right_answers(*run.model.outputs(images, "test"), images.task) for run in runs)
    assert (pair.split, pair.n) == ("test", len(images.splits["test"]))
    assert pair.both == (first & second).sum()
    assert pair.only_first == (first & ~second).sum()
    assert pair.only_second == (~first & second).sum()
    assert pair.neither == (~first & ~second).sum()
    assert pair.accuracies == pytest.approx([run.test.accuracy for run in runs])
    assert pair.difference == pytest.approx(second.mean() - first.mean())
    low, high = pair.interval
    assert low <= pair.difference <= high
    changed = pair.only_first + pair.only_second
    assert changed
    assert pair.p == pytest.approx(binomtest(pair.only_first, changed).pvalue)
    facts = read_facts(tmp_path / "pair.html")
    ids = np.array(images.splits["test"].ids)
    assert [image["id"] for image in facts["images"]] == ids[first != second].tolist()
    for image in facts["images"]:
        assert image["said"][image["second_is_right"]] == image["true"]


def test_the_page_needs_nothing_from_elsewhere_and_nothing_in_it_acts(runs, tmp_path, read_page):
    out = tmp_path / "pair.html"
    compare_runs(*(run.folder for run in runs), out)
    page, text = read_page(out), out.read_text(encoding="utf-8")
    assert [script.get("type") for script in page.scripts] == ["application/json"]
    assert EVIL in page.text
    assert all(address.startswith("data:image/webp;base64,") for address in page.addresses)
    assert not re.findall(r"https?:|//\w", re.sub(r"base64,[\w+/=]+", "", text))


def test_a_run_compared_with_itself_shows_no_difference(runs, tmp_path):
    folder = runs[0].folder
    copy = shutil.copytree(folder, tmp_path / "copy")
    pair = compare_runs(folder, copy, tmp_path / "pair.html")
    assert (pair.only_first, pair.only_second, pair.p) == (0, 0, 1.0)
    assert f"images do not show a difference between {folder.name} and copy" in str(pair)


def test_the_command_says_it_in_a_line_and_names_the_page(runs, tmp_path):
    folders = [str(run.folder) for run in runs]
    out = tmp_path / "pair.html"
    done = CliRunner().invoke(app, ["report", *folders, "--out", str(out)])
    assert done.exit_code == 0
    assert "McNemar's exact test: p=" in done.output
    assert out.exists()


def test_runs_on_other_images_are_refused(tune, runs, tmp_path):
    pixels, labels = make_images(16, seed=9)
    other = tune((pixels, labels), test=0.25)
    with pytest.raises(ArgumentError, match=r"have none\. Train both on the same data"):
        compare_runs(runs[0].folder, other.folder, tmp_path / "pair.html")


def test_a_run_that_kept_no_answers_is_refused(runs, tmp_path):
    with pytest.raises(RunFolderError, match=r"there is no evidence\.npz in "):
        compare_runs(runs[0].folder, tmp_path, tmp_path / "pair.html")


def test_runs_that_predict_values_are_refused(tune, tmp_path):
    pixels, _ = make_images(8)
    values = pixels.mean((1, 2, 3))
    run = tune((pixels, values), task="regression", test=0.25, epochs=1)
    with pytest.raises(
        ArgumentError, match=r"right or wrong, but .* predicts values\. Compare the"
    ):
        compare_runs(run.folder, run.folder, tmp_path / "pair.html")
