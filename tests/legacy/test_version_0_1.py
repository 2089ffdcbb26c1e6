"""What version 0.1.0 wrote is still read: a model, a run, and a study that was killed half-way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from finetune import FineTuner, load, load_data
from finetune.cli import app
from finetune.exceptions import StudyError
from tiny import SIZE, make_images

HERE = Path(__file__).parent
# What that version said of the first three images.
PROBABILITIES = [
    [0.36975834, 0.31556243, 0.31467932],
    [0.40213078, 0.28612682, 0.3117424],
    [0.3359746, 0.32355633, 0.3404691],
]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Its second trial of two is missing, as after a kill."""
    for name in ("tiny.keras", "study"):
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        copy(HERE / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)  # its backbone is named by a relative path
    return tmp_path / "study"


def test_a_saved_model_says_what_it_said():
    images, _ = make_images(8)
    model = load(HERE / "run")
    assert model.card.class_names == ("0", "1", "2")
    said = model.predict(images[:3]).probabilities
    assert said == pytest.approx(np.array(PROBABILITIES), abs=1e-4)


# What that version did, and could not do otherwise.
AS_IT_DID = {
    "select": "val_accuracy",
    "head_optimizer": "adam",
    "clip_norm": None,
    "warm_up": 0.1,
}


def search(study, augment="none", strategy="grid", **options):
    """Go on with it."""
    data = load_data(
        make_images(8), image_size=SIZE, batch_size=16, validation=0.25, augment=augment
    )
    tuner = FineTuner(
        "tiny.keras",
        preprocess="tf",
        **{"freeze_depth": [7, 10], "learning_rate": 1e-2, "epochs": 1, **AS_IT_DID, **options},
        head_epochs=2,
    )
    return tuner.search(data, strategy=strategy, out=study, verbose=0)


def test_a_study_goes_on(study):
    before = (study / "trials" / "0000.json").read_text()
    result = search(study)
    assert {trial["id"]: trial["status"] for trial in result.trials} == {
        "0000": "completed",
        "0001": "completed",
    }
    assert (study / "trials" / "0000.json").read_text() == before  # it was not trained again
    assert (study / "model.keras").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"dropout": 0.5}, "dropout: 0.2 in the study, 0.5 now"),
        ({"label_smoothing": 0.3}, "label_smoothing: 0.1 in the study, 0.3 now"),
        ({"freeze_depth": [7, 10, 12]}, "freeze_depth: [7, 10] in the study, [7, 10, 12] now"),
        ({"epochs": 2}, "epochs: 1 in the study, 2 now"),
        ({"select": "val_loss"}, "select: 'val_accuracy' in the study, 'val_loss' now"),
        ({"head_optimizer": "auto"}, "head_optimizer: 'adam' in the study, 'auto' now"),
        ({"clip_norm": 1.0}, "clip_norm: None in the study, 1.0 now"),
        ({"warm_up": 0.3}, "warm_up: 0.1 in the study, 0.3 now"),
    ],
)
def test_a_study_is_not_gone_on_with_by_another_training(study, options, line):
    with pytest.raises(StudyError) as caught:
        search(study, **options)
    assert [text.strip() for text in str(caught.value).splitlines()[1:-1]] == [line]


def test_a_study_that_was_gone_on_with_is_compared_in_full(study):
    search(study)
    with pytest.raises(StudyError, match="augment: 'none' in the study, 'light' now"):
        search(study, augment="light")
    assert [trial["status"] for trial in search(study).trials] == ["completed"] * 2


def test_rungs_do_not_compare_losses_with_and_without_smoothing(study):
    file = study / "study.json"
    file.write_text(file.read_text().replace('"strategy": "grid"', '"strategy": "halving"'))
    with pytest.raises(StudyError, match=r"'0.1, also of validation images' in the study, 0.1 now"):
        search(study, strategy="halving")


def test_its_board_is_shown(study):
    shown = CliRunner().invoke(app, ["board", str(study)])
    assert shown.exit_code == 0, shown.output
    assert "0000" in shown.output and "0.364" in shown.output
