"""The report of a search: its trials, in every drawing and on the board."""

import json
import re
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from finetune import FineTuner
from finetune.cli.main import app
from finetune.exceptions import StorageError, StudyError
from finetune.report.facts import Board, _spared
from finetune.report.plots import shade_of
from finetune.search import report_study, reporting
from finetune.search.reporting import LivePage


@pytest.fixture(scope="module")
def tuner(make_backbone, tmp_path_factory):
    return FineTuner(
        make_backbone(),
        cache_dir=tmp_path_factory.mktemp("features"),  # so that the pass is timed
        preprocess="tf",
        freeze_depth=[7, 10],
        learning_rate=[1e-3, 1e-2],
        dropout=[0.0, 0.2],
        epochs=2,
        warm_up=0.0,  # of so few steps the first would be none
        head_epochs=2,
        refit=0,
    )


@pytest.fixture(scope="module")
def result(tuner, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "study"
    return tuner.search(data, strategy="grid", out=out, verbose=0)


@pytest.mark.thorough
def test_every_number_of_result_json_is_in_the_report_as_it_is(result, read_facts):
    facts = read_facts(result.report())
    written = json.loads((result.folder / "result.json").read_text())
    assert facts["metrics"] == written
    for name in ("validation", "test", "verdict", "calibration", "combined", "best", "spared"):
        for key, value in written[name].items():
            assert facts["figures"][name][key] == value, (name, key)
    assert facts["figures"]["seconds"] == written["seconds"]


def test_a_trial_of_the_head_alone_is_not_told_to_have_been_ended_early():
    def told(*trials):
        rows = [{"epochs": epochs, "status": status} for epochs, status in trials]
        return _spared(Board("val_loss", rows))

    assert "ended early" not in told((10, "completed"), (0, "completed"))
    assert told((10, "completed"), (3, "pruned"), (0, "completed")).startswith("13 of 20 epochs")


def test_a_search_counts_what_all_its_trials_were_spared(result, tuner, data):
    splits = data.splits
    images = len(splits["train"]) + len(splits["validation"])
    epochs = sum(row["epochs"] for row in result.trials)
    assert result.spared is not None
    assert result.spared.images == epochs * images
    assert result.spared.whole == pytest.approx(result.seconds + result.spared.seconds, abs=0.02)
    gone_on_with = tuner.search(data, strategy="grid", out=result.folder, verbose=0)
    assert gone_on_with.spared is None  # its trials were trained by the search before


def test_the_trials_are_those_of_the_board(result, read_facts, read_page):
    facts = read_facts(result.report())
    shown = {"freeze_depth", "block", "loss", "error"}
    for trial, row in zip(facts["trials"], result.trials, strict=True):
        assert {name: value for name, value in trial.items() if name not in shown} == {
            name: value for name, value in row.items() if name not in shown
        }
        assert trial["loss"] == row["score"]
    assert facts["training"]["trial"] == result.chosen.trial.trial
    assert facts["training"]["epochs"] == result.chosen.trial.outcome.history
    text = read_page(result.report()).text
    gain = 100 * (result.verdict.tuned - result.verdict.head_only)
    assert f"difference {gain:+.1f} points [" in text


def test_every_trial_is_in_the_map_the_lines_and_the_board_in_the_same_colour(result):
    text = result.report().read_text(encoding="utf-8")
    losses = {row["id"]: row["score"] for row in result.trials}
    colours = {}
    for kind in ("circle", "polyline"):
        found = re.findall(rf'<{kind} class="trial (q\d*)[^"]*" data-trial="(\w+)"', text)
        colours[kind] = {trial: shade for shade, trial in found}
        assert colours[kind].keys() == losses.keys()
    assert colours["circle"] == colours["polyline"]
    best, worst = min(losses, key=losses.get), max(losses, key=losses.get)
    assert (colours["circle"][best], colours["circle"][worst]) == ("q0", "q11")
    assert {*re.findall(r'<tr data-trial="(\w+)"', text)} == losses.keys()
    assert shade_of(None, 0, 1) == "q"


def test_the_images_are_those_of_the_model_that_is_handed_over(result, read_facts):
    facts = read_facts(result.report())
    split = result.model.predict, result.work.data.splits["test"]
    said = dict(zip(split[1].ids, split[0](split[1].images), strict=True))
    for image in facts["images"]:
        prediction = said[image["id"]]
        assert prediction.label == image["said"]
        assert prediction.probabilities[image["said"]] == pytest.approx(image["sure"], abs=1e-4)


def test_the_command_makes_the_page_anew(result, read_facts):
    before = read_facts(result.report())
    result.report().unlink()
    done = CliRunner().invoke(app, ["report", str(result.folder)])
    assert (done.exit_code, done.output.strip()) == (0, str(result.folder / "report.html"))
    assert read_facts(result.report()) == before


def test_a_search_that_is_not_over_shows_its_trials(result, tmp_path, read_page, read_facts):
    import shutil

    folder = tmp_path / "study"
    shutil.copytree(result.folder, folder)
    for name in ("result.json", "evidence.npz", "report.html"):
        (folder / name).unlink()
    page = report_study(folder)
    assert "The search is not over These are its trials so far." in read_page(page).text
    assert len(read_facts(page)["trials"]) == len(result.trials)


def test_while_a_search_runs_its_page_shows_the_trials_so_far_and_says_so(
    tuner, data, tmp_path, read_page, read_facts, monkeypatch
):
    monkeypatch.setattr(reporting, "_SECONDS_BETWEEN_PAGES", 0.0)
    monkeypatch.setattr(reporting, "_SHARE_OF_TIME", 1e9)
    seen = []

    def shown(page, ranking, far, show=LivePage.show):
        show(page, ranking, far)
        facts = read_facts(page.page)
        seen.append((read_page(page.page).text, facts["trials"], facts["figures"]))

    monkeypatch.setattr(LivePage, "show", shown)
    out = tmp_path / "study"
    result = tuner.search(data, strategy="grid", max_trials=2, out=out, verbose=0)
    assert [len(trials) for _, trials, _ in seen] == [1, 2]
    for done, (text, _, figures) in enumerate(seen, start=1):
        assert "The search is running These are its trials so far. " in text
        assert f"{done} of 2 trainings are done" in text
        assert figures is None and not (result.folder / "figures").exists()
    assert "The search is running" not in read_page(result.report()).text
    assert read_facts(result.report())["figures"]


def test_a_page_is_written_as_often_as_it_is_cheap(result, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    written = []

    def slow(folder, board):
        written.append(clock[0])
        clock[0] += 1.0
        return folder / "report.html"

    monkeypatch.setattr(reporting, "write_page", slow)
    page = LivePage(tmp_path, "val_loss")
    for _ in range(14):
        page.show(result.ranking, "1 training is done")
        clock[0] += 9.0
    assert written == [0.0, 55.0, 110.0]  # of 1 s, which is a fiftieth of the time between them


def test_a_page_that_cannot_be_written_is_told_once_and_ends_no_search(
    tuner, data, tmp_path, caplog, monkeypatch
):
    def refuse(folder, board):
        raise StorageError("Could not write report.html: no space is left.")

    monkeypatch.setattr(reporting, "write_page", refuse)
    with caplog.at_level("WARNING", "finetune"):
        result = tuner.search(
            data, strategy="grid", max_trials=2, out=tmp_path / "study", verbose=0
        )
    assert len(result.ranking) == 2
    told = [line for line in caplog.messages if "goes on without its page" in line]
    assert told == [
        "The search goes on without its page: Could not write report.html: no space is left."
    ]


def test_a_folder_of_no_study_is_refused(tmp_path):
    with pytest.raises(StudyError):
        report_study(tmp_path)


def test_an_ensemble_has_no_maps_and_it_is_said(tuner, data, tmp_path, read_page, read_facts):
    result = tuner.search(
        data, strategy="grid", max_trials=3, combine="ensemble", out=tmp_path / "study", verbose=0
    )
    assert result.combined.how == "ensemble"
    page = read_page(result.report())
    assert "There are no activation maps: the model is an ensemble" in page.text
    assert len(read_facts(result.report())["images"]) == result.test.n
    assert not [address for address in page.addresses if address.startswith("#s")]


def test_a_search_says_what_more_images_would_bring(result, read_facts):
    written = json.loads((result.folder / "result.json").read_text())["plan"]
    assert written == json.loads(json.dumps(result.plan.to_dict()))
    assert read_facts(result.report())["figures"]["plan"] == written
    assert "What to photograph next" in (result.folder / "report.html").read_text()
