"""The report of a run: what it says is what the run's files say, and nothing in it acts."""

import base64
import csv
import hashlib
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from finetune.api import one_call
from finetune.exceptions import DamagedFileError, RunFolderError
from finetune.report import make_report, rendering, writing
from finetune.report.evidence import read_evidence
from finetune.reuse import Spared
from tiny import EVIL, make_images


def numbers_in(value, path=()):
    """Every number in a block of data, and where it stands."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from numbers_in(entry, (*path, name))
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from numbers_in(entry, (*path, place))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def test_a_run_ends_with_a_report_and_who_asks_for_it_anew_has_its_figures(tune, data, tmp_path):
    result = tune(data, out=tmp_path / "run")
    page = result.folder / "report.html"
    written = page.read_text()
    assert not (result.folder / "figures").exists()
    assert result.report() == page
    assert page.read_text() == written
    figures = sorted(path.name for path in (result.folder / "figures").iterdir())
    assert figures == ["training.png", "training.svg"]


def test_every_number_of_metrics_json_is_in_the_report_as_it_is(result, read_facts):
    facts = read_facts(result.report())
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert facts["metrics"] == metrics
    found = dict(numbers_in(facts["figures"]))
    for path, number in numbers_in(metrics):
        assert found[path] == number, path


def test_every_epoch_and_rate_is_that_of_the_tables(result, read_facts):
    training = read_facts(result.report())["training"]
    with open(result.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, epoch in zip(rows, training["epochs"], strict=True):
        assert {name: str(value) for name, value in epoch.items() if name != "epoch"} == {
            name: value for name, value in row.items() if value and name != "epoch"
        }
    kept = training["epochs"][training["kept"]]
    assert (kept["phase"], kept["epoch"]) == (
        result.record.best_epoch["phase"],
        result.record.best_epoch["epoch"],
    )
    rates = [rate for steps in training["rates"].values() for _, rate in steps]
    assert rates == [rate for steps in result.rates.values() for rate in steps]


def test_what_is_counted_anew_agrees_with_what_was_measured(result, read_facts):
    facts = read_facts(result.report())
    quality, figures = facts["quality"], facts["figures"]
    matrix = np.array(quality["matrix"])
    assert quality["split"] == "test"
    assert matrix.sum() == quality["n"] == figures["test"]["n"] == result.test.n
    assert np.trace(matrix) / matrix.sum() == pytest.approx(figures["test"]["accuracy"])
    for number, row in enumerate(quality["classes"]):
        assert (row["n"], row["said"]) == (matrix[number].sum(), matrix[:, number].sum())
        if row["n"]:
            assert row["recall"] == pytest.approx(matrix[number, number] / matrix[number].sum())
            low, high = row["recall_interval"]
            assert low <= row["recall"] <= high
        if row["f1"] is not None:
            low, high = row["f1_interval"]
            assert low <= row["f1"] <= high
    assert quality["n"] - quality["wrong"] == np.trace(matrix)
    for bins, error in (("now", "error"), ("before", "before")):
        gaps = [n * abs(sure - right) for n, sure, right in facts["reliability"][bins]]
        found = sum(gaps) / quality["n"]
        assert found == pytest.approx(figures["calibration"][error], abs=1e-6)


def test_the_images_shown_are_those_that_the_model_answers_so(result, read_facts):
    facts = read_facts(result.report())
    split = result.data.splits["test"]
    said = dict(zip(split.ids, result.predict(split.images), strict=True))
    assert len(facts["images"]) == result.test.n
    for image in facts["images"]:
        prediction = said[image["id"]]
        assert prediction.label == image["said"]
        assert prediction.probabilities[image["said"]] == pytest.approx(image["sure"], abs=1e-4)
        true = result.data.class_names[split.labels[split.ids.index(image["id"])]]
        assert (image["true"], image["right"]) == (true, true == image["said"])
    wrong = [image["off"] for image in facts["images"] if not image["right"]]
    assert wrong == sorted(wrong, reverse=True)
    assert [image["right"] for image in facts["images"][: len(wrong)]] == [False] * len(wrong)


def test_beside_a_mistake_stand_the_training_images_whose_features_are_most_alike(
    result, read_facts, make_backbone
):
    image = next(one for one in read_facts(result.report())["images"] if not one["right"])
    train, test = result.data.splits["train"], result.data.splits["test"]
    pretrained = make_backbone()
    known, asked = (
        np.mean(pretrained(pixels / np.float32(127.5) - 1), axis=(1, 2))
        for pixels in (train.images, test.images[[test.ids.index(image["id"])]])
    )
    cosines = (known @ asked[0]) / np.linalg.norm(known, axis=1) / np.linalg.norm(asked[0])
    best = np.argsort(-cosines)[:3]
    assert [one["id"] for one in image["similar"]] == [train.ids[row] for row in best]
    assert [one["similarity"] for one in image["similar"]] == pytest.approx(cosines[best], abs=1e-4)


def test_the_page_is_small_and_needs_nothing_from_elsewhere(result, read_page):
    page = read_page(result.report())
    text = result.report().read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    assert all(address.startswith(("#", "data:image/webp;base64,")) for address in page.addresses)
    assert not re.findall(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))


def test_no_script_runs_but_the_one_of_the_page(result, read_page):
    """Whatever classes and files are called: they show as text."""
    page = read_page(result.report())
    text = result.report().read_text(encoding="utf-8")
    assert [script.get("type") for script in page.scripts] == ["application/json", None]
    assert "<script>alert" not in text
    assert EVIL in page.text
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_names_of_files_show_as_text(tune, write_folder, read_page, read_facts):
    folder = write_folder(8)
    (folder / "boots").rename(folder / "boots<")
    names = ["script>\"quoted\" 'too'.png", "script><img src=x onerror=alert(1)>.png"]
    for path, name in zip(sorted((folder / "boots<").iterdir()), names, strict=False):
        path.rename(path.with_name(name))
    result = tune(folder, validation=0.5)
    page, facts = read_page(result.report()), read_facts(result.report())
    assert len(page.scripts) == 2
    shown = [image["id"] for image in facts["images"]]
    assert [name for name in shown if "</script>" in name]
    for name in shown:
        assert " ".join(name.split()) in page.text
    assert "onerror" not in page.addresses


def test_the_report_can_be_made_from_the_folder_alone(result, read_facts):
    before = read_facts(result.report())
    result.report().unlink()
    assert make_report(result.folder) == result.report()
    assert read_facts(result.report()) == before


def test_a_run_of_version_0_1_has_a_report_of_what_it_kept(tmp_path, read_facts, read_page):
    folder = shutil.copytree(Path(__file__).parents[1] / "legacy" / "run", tmp_path / "run")
    page = make_report(folder)
    facts = read_facts(page)
    assert facts["quality"] is None
    assert len(facts["training"]["epochs"]) == 3
    assert "20.0% accuracy on 5 test images" in read_page(page).text


def test_a_folder_of_no_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"there is no metrics\.json in "):
        make_report(tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("write_evidence", "The report will say little of the images: ZeroDivisionError: division"),
        ("write_page", "is whole, but its report is not: ZeroDivisionError: division by zero. `f"),
    ],
)
def test_a_report_that_cannot_be_made_costs_nobody_a_run(
    tune, data, tmp_path, monkeypatch, caplog, part, said
):
    def fails(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(writing, part, fails)
    result = tune(data, out=tmp_path / "run")
    assert (result.folder / "model.keras").exists()
    assert said in caplog.text


def test_a_report_is_all_there_though_the_process_ended_before_its_page(
    tune, data, tmp_path, monkeypatch, read_facts
):
    with monkeypatch.context() as patch:
        patch.setattr(one_call, "report_run", lambda folder: None)
        folder = tune(data, out=tmp_path / "run").folder
    assert not (folder / "report.html").exists()
    facts = read_facts(make_report(folder))
    assert facts["images"] and facts["quality"]["n"] > 0


def test_images_that_cannot_be_looked_at_are_left_out(
    tune, data, tmp_path, monkeypatch, caplog, read_facts
):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "look", stopped)
    result = tune(data, out=tmp_path / "run")
    assert "The report will show no images: it was stopped." in caplog.text
    facts = read_facts(result.report())
    assert (facts["images"], facts["quality"]["n"]) == ([], result.test.n)


@pytest.mark.thorough
def test_two_classes_have_a_report(tune, read_facts):
    images, labels = make_images(16, classes=2)
    result = tune((images, labels), test=0.25, hidden_units=4)
    facts = read_facts(result.report())
    matrix = np.array(facts["quality"]["matrix"])
    assert matrix.shape == (2, 2)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(result.test.accuracy)
    for image in facts["images"]:
        assert image["sure"] >= 0.5
        assert image["chance_of_true"] == pytest.approx(
            image["sure"] if image["right"] else 1 - image["sure"], abs=1e-6
        )


def test_several_labels_an_image_have_a_report_without_a_confusion_matrix(tune, read_facts):
    images, labels = make_images(16)
    several = np.stack([labels == 0, labels != 1], axis=1).astype("float32")
    result = tune((images, several), test=0.25, task="multilabel", class_names=["red", "x"])
    facts = read_facts(result.report())
    assert facts["quality"]["matrix"] == []
    assert [row["name"] for row in facts["quality"]["classes"]] == ["red", "x"]
    rows = facts["quality"]["classes"]
    assert rows[0]["n"] == int(result.data.splits["test"].labels[:, 0].sum())


def test_values_have_a_report_without_classes(tune, read_facts, read_page):
    images, labels = make_images(16)
    result = tune((images, labels.astype("float32")), test=0.25, task="regression")
    facts = read_facts(result.report())
    assert (facts["quality"], facts["reliability"]) == (None, None)
    values = facts["values"]
    errors = np.square(np.subtract(values["true"], values["said"]))
    assert errors.mean() == pytest.approx(result.test.loss, rel=1e-4)
    text = read_page(result.report()).text
    assert f"mean squared error on {result.test.n} test images" in text
    assert "The largest errors" in text
    assert "Class by class" not in text


def test_images_of_a_dataset_are_not_shown_and_it_is_said(tune, arrays, read_facts, read_page):
    images, labels = arrays
    train, validation = (
        tf.data.Dataset.from_tensor_slices((images[part::3].astype("float32"), labels[part::3]))
        for part in (0, 1)
    )
    result = tune(train, validation=validation)
    facts = read_facts(result.report())
    assert (facts["images"], facts["quality"]["n"]) == ([], 24)
    assert "Images of a tf.data.Dataset are not kept" in read_page(result.report()).text


def test_evidence_of_something_else_is_refused(result, tmp_path):
    path = tmp_path / "evidence.npz"
    content = (result.folder / "evidence.npz").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError):
        read_evidence(tmp_path)


def test_pictures_give_way_where_the_page_would_be_too_large(result, monkeypatch, tmp_path):
    folder = shutil.copytree(result.folder, tmp_path / "run")
    whole = make_report(folder).read_text(encoding="utf-8")
    monkeypatch.setattr(rendering, "MOST_BYTES", len(whole.encode()) - 3000)
    cut = make_report(folder).read_text(encoding="utf-8")
    assert len(cut.encode()) <= len(whole.encode()) - 2000
    assert "pictures are left out, for the page is to stay below 2 MB" in cut


def test_the_cost_is_divided_and_says_what_was_spared(result, read_facts):
    facts = read_facts(result.report())
    parts = {part["name"]: part["seconds"] for part in facts["cost"]}
    tuned = sum(row["seconds"] for row in result.record.phase("fine_tune"))
    assert parts["Fine-tuning"] == pytest.approx(tuned)
    assert sum(parts.values()) == pytest.approx(result.seconds, rel=0.1)
    assert facts["spared"].startswith("The frozen layers up to ")


def test_what_reuse_spared_is_a_number_in_metrics_summary_and_page(result, read_facts, read_page):
    spared = result.spared
    assert spared is not None
    counts = {split: len(images) for split, images in result.data.splits.items()}
    both = counts["train"] + counts["validation"]
    again = 0 if result.record.best_epoch["phase"] == "head" else 2 * both
    assert spared.images == 2 * both + again
    assert spared.whole == pytest.approx(result.seconds + spared.seconds, abs=0.02)
    assert result.metrics()["spared"] == asdict(spared)
    assert read_facts(result.report())["figures"]["spared"] == asdict(spared)
    text = read_page(result.report()).text
    assert "of the " in text and f"not run for {spared.images} images" in text


def test_the_summary_tells_what_was_spared_from_a_second_on(result):
    told = [
        replace(result, spared=Spared(seconds, 63.0, 10, 1.0, 1.0)).summary().splitlines()[-1]
        for seconds in (0.9, 41.0)
    ]
    assert "spared" not in told[0]
    assert " s (reuse spared about 41 s of 1 min 03 s), saved in" in told[1]


def test_a_run_without_reuse_spared_nothing(tune, data, read_facts):
    result = tune(data, reuse=False)
    assert result.spared is None
    facts = read_facts(result.report())
    assert (facts["spared"], facts["figures"]["spared"]) == ("", None)


def test_a_run_on_few_images_says_what_more_of_them_would_bring(result, read_page, read_facts):
    plan = result.plan
    counts = result.data.counts  # the test images have no part in it
    assert plan.images == sum(sum(counts[split].values()) for split in ("train", "validation"))
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["plan"] == json.loads(json.dumps(plan.to_dict()))
    page = result.report()
    assert read_facts(page)["figures"]["plan"] == metrics["plan"]
    words = read_page(page).text
    assert "What to photograph next" in words and plan.sentence in words
    assert {one.name for one in plan.classes} == {"boots", "sandals", EVIL}
