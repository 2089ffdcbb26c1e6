"""The folder of a study by itself: what is written, what is read again, and what is refused."""

import json
import logging
from contextlib import closing

import numpy as np
import pytest

from finetune.exceptions import StudyError
from finetune.search.saved import Beginning, BegunWith, read_study
from finetune.search.study import (
    Study,
    begun_with,
    read_monitor,
    read_trials,
    state_file,
    trial_file,
    weights_file,
)
from finetune.search.trials import COMPLETED, Job, Outcome, Step, Trial
from finetune.support import contents

VERSIONS = {"packages": {"keras": "3.15.1", "numpy": "2.2.0"}}


def beginning(**search):
    return Beginning(
        "val_accuracy", {"seed": 0, **search}, {"epochs": 1}, {"seed": 0}, "abc", BegunWith(7)
    )


def translate(old):
    """Version 0.1.0 knew no `images`."""
    return Beginning("val_accuracy", {"seed": old.seed}, {"epochs": 1}, {"seed": 0}, old.data)


def open_study(folder, wanted=None, environment=VERSIONS):
    return closing(Study(folder, wanted or beginning(), environment, translate))


def make_trial(number, *, asked=1, told=2, clock=1.5, **options):
    outcome = Outcome(metrics={"val_accuracy": 0.5, "val_loss": 1.0}, score=0.5, epochs=2)
    step = Step(None, asked, told, outcome, clock)
    return Trial(number, {"learning_rate": 1e-3}, status=COMPLETED, steps=[step], **options)


@pytest.fixture
def folder(tmp_path):
    """A study with two trials, which nobody holds."""
    with open_study(tmp_path / "study") as study:
        study.write(make_trial("0001", asked=3, told=5, clock=2.5))
        study.write(make_trial("0000", asked=2, told=4))
    return tmp_path / "study"


# A study that is begun


def test_a_new_study_says_what_it_was_begun_with_and_on(tmp_path):
    with open_study(tmp_path / "new") as study:
        assert (study.trials, study.clock) == ({}, 0.0)
        assert [study.next_event(), study.next_event()] == [1, 2]
    assert read_study(tmp_path / "new" / "study.json") == beginning()
    assert json.loads((tmp_path / "new" / "environment.json").read_text()) == VERSIONS
    assert contents(tmp_path / "new") == {"study.json", "environment.json"}


def test_its_name_is_that_of_what_decides_the_outcome(tmp_path):
    names = []
    for number, search in enumerate([{}, {"seed": 1}, {}]):
        with open_study(tmp_path / str(number), beginning(**search)) as study:
            names.append(study.name)
    assert names[0] == names[2] != names[1]


def test_files_of_a_trial_are_named_after_it_and_its_execution(tmp_path):
    name = make_trial("0003", execution=2).name
    assert name == "0003-2" and make_trial("0003").name == "0003"
    assert trial_file(tmp_path, name) == tmp_path / "trials" / "0003-2.json"
    assert state_file(tmp_path, name) == tmp_path / "states" / "0003-2.npz"
    assert weights_file(tmp_path, name) == tmp_path / "weights" / "0003-2.npz"


# A study that is gone on with


def test_what_was_written_is_read_again_and_events_and_the_clock_go_on(folder):
    with open_study(folder) as study:
        assert [*study.trials] == ["0000", "0001"]
        assert study.trials["0001"] == make_trial(
            "0001", asked=3, told=5, clock=2.5, digest=study.trials["0001"].digest
        )
        assert study.clock == 2.5
        assert study.next_event() == 6


def test_a_job_that_was_given_out_counts_as_an_event(folder):
    with open_study(folder) as study:
        study.write(make_trial("0002", asked=9, told=None))
    with open_study(folder) as study:
        assert study.next_event() == 10


def test_numbers_of_numpy_are_written_as_numbers(folder):
    trial = make_trial("0002")
    trial.values["learning_rate"] = np.float32(0.5)
    with open_study(folder) as study:
        study.write(trial)
    assert json.loads(trial_file(folder, "0002").read_text())["values"] == {"learning_rate": 0.5}
    with open_study(folder) as study:
        assert "0002" in study.trials


def test_a_trial_of_other_values_or_another_study_is_set_aside(folder, tmp_path, caplog):
    path = trial_file(folder, "0000")
    path.write_text(path.read_text().replace("0.001", "0.002"))
    with open_study(tmp_path / "other", beginning(seed=1)) as other:
        other.write(make_trial("0001"))
    trial_file(folder, "0001").write_text(
        trial_file(tmp_path / "other", "0001").read_text("utf-8"), "utf-8"
    )
    with open_study(folder) as study:
        assert study.trials == {}
    assert [path.name for path in sorted((folder / "trials").iterdir())] == [
        "0000.json.damaged",
        "0001.json.damaged",
    ]
    assert caplog.messages == [
        f"Trial {name} in {folder} was trained with other arguments than the study, or nobody "
        f"knows with which, and is trained again: its file is now {name}.json.damaged."
        for name in ("0000", "0001")
    ]


def test_states_and_weights_of_no_trial_are_set_aside_and_others_stay(folder, caplog):
    lost = [state_file(folder, "0007"), weights_file(folder, "0008")]
    kept = [state_file(folder, "0000"), weights_file(folder, "0001"), folder / "heads" / "a.npz"]
    for path in [*lost, *kept]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"values")
    with open_study(folder):
        assert all(path.exists() for path in kept)
        assert not any(path.exists() for path in lost)
    assert caplog.messages == [
        f"Of no trial of the study: {path}; now {path.name}.damaged." for path in lost
    ]


def test_other_arguments_are_refused_one_line_each_and_the_folder_is_free_again(folder):
    with pytest.raises(StudyError) as caught:
        open_study(folder, beginning(seed=3, strategy="random"))
    assert str(caught.value).splitlines() == [
        f"The study in {folder} was begun with something else:",
        "  seed of search: 0 in the study, 3 now",
        "  strategy: nothing in the study, 'random' now",
        "Give the same again to go on with it, or another folder with out= (--out).",
    ]
    with open_study(folder) as study:  # the refused one does not hold it
        assert len(study.trials) == 2


def test_a_folder_that_is_held_is_refused_until_it_is_let_go(folder):
    with open_study(folder), pytest.raises(StudyError, match=r"being worked on by process \d+"):
        open_study(folder)
    with open_study(folder):
        pass


def test_trials_alone_are_a_study_whose_beginning_was_lost(folder):
    (folder / "study.json").unlink()
    with open_study(folder) as study:
        assert [*study.trials] == ["0000", "0001"]
    assert read_study(folder / "study.json") == beginning()


def test_a_beginning_that_is_damaged_is_set_aside_and_written_anew(folder, caplog):
    (folder / "study.json").write_text("{")
    with open_study(folder) as study:
        assert len(study.trials) == 2
    assert (folder / "study.json.damaged").read_text() == "{"
    assert caplog.messages[0].startswith("Not of this study, and now study.json.damaged: ")


def test_other_versions_are_named_and_the_first_ones_stay_on_record(folder, caplog):
    with open_study(folder, environment={"packages": {**VERSIONS["packages"], "new": "1.0"}}):
        assert caplog.messages == []  # what was not there then is no difference
    with open_study(folder, environment={"packages": {"keras": "3.16.0"}}):
        pass
    assert caplog.messages == [
        f"The study in {folder} was begun with other versions (keras 3.15.1, now 3.16.0; numpy "
        "2.2.0, now None): trials from before and from now may differ by that."
    ]
    assert json.loads((folder / "environment.json").read_text()) == VERSIONS


# A study of version 0.1.0


def test_of_an_early_study_the_trials_that_it_has_stay_its_own_and_later_ones_need_a_digest(
    folder, early_study, caplog
):
    (folder / "study.json").write_text(json.dumps(early_study))
    content = json.loads(trial_file(folder, "0000").read_text())
    del content["digest"]
    trial_file(folder, "0000").write_text(json.dumps(content))
    with open_study(folder) as study:
        assert [*study.trials] == ["0000", "0001"]
    assert read_study(folder / "study.json").unnamed == ["0000"]
    trial_file(folder, "0005").write_text(json.dumps({**content, "trial": "0005"}))
    with open_study(folder) as study:
        assert [*study.trials] == ["0000", "0001"]
    assert "Trial 0005 in" in caplog.text


# A study that is looked at


def test_a_look_reads_trials_in_their_order_and_passes_over_what_is_set_aside(folder, caplog):
    for name in (".0000.json.partial", "0000.json.damaged", "0000.json.damaged1"):
        (folder / "trials" / name).write_text("{")
    (folder / "trials" / "notes.txt").write_text("mine")
    with caplog.at_level(logging.WARNING, "finetune"):
        assert [trial.name for trial in read_trials(folder)] == ["0000", "0001"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"Not of this study: {folder / 'trials' / 'notes.txt'} ")


def test_what_a_study_was_begun_with_is_read_and_else_what_is_wanted(folder, tmp_path):
    assert begun_with(folder, 9) == 7
    assert begun_with(tmp_path / "none", 9) == 9
    Beginning("val_loss", {}, {}, {}, "").write(folder / "study.json")
    assert (begun_with(folder, 9), read_monitor(folder)) == (None, "val_loss")
    assert read_monitor(tmp_path / "none") == "val_accuracy"


def test_where_there_is_no_study_none_is_read(tmp_path):
    with pytest.raises(StudyError) as caught:
        read_trials(tmp_path)
    assert str(caught.value) == (
        "Expected a study's folder, as `finetune search --out` makes it, but there is no "
        f"study.json in {tmp_path}."
    )


# Trials


def test_a_job_bears_all_that_its_trial_says():
    trial = Trial("0003", {"a": 1}, execution=1, after="0001", batch_size=8, known=True)
    assert trial.job(4) == Job("0003", {"a": 1}, 4, 1, "0001", 8, known=True)


def test_a_trial_is_summed_up_by_its_steps():
    first = Outcome(metrics={"val_loss": 2.0}, seconds=1.5, cut=True)
    last = Outcome(metrics={"val_loss": 1.0}, seconds=2.0)
    steps = [Step(1, 1, 2, first), Step(3, 3, 4, last), Step(None, 5)]
    trial = Trial("0000", {}, steps=steps)
    assert trial.outcome is last
    assert trial.seconds == 3.5
    assert trial.step(3) is steps[1] and trial.step(2) is None
    assert [step.ended for step in steps] == [False, True, False]
    assert Trial("0001", {}).outcome is None


@pytest.mark.parametrize(
    ("outcome", "batches", "remark"),
    [
        (Outcome(head_kept=True, epochs=2), {}, "head kept"),
        (Outcome(head_kept=True, epochs=0), {}, ""),  # there was nothing but the head
        (
            Outcome(head_kept=True, epochs=2),
            {"batch_size": 8, "out_of_memory": 16},
            "head kept; batch 8, out of memory at 16",
        ),
        (Outcome(), {"batch_size": 8}, ""),
        (None, {"batch_size": 8, "out_of_memory": 16}, "batch 8, out of memory at 16"),
    ],
)
def test_what_is_to_be_known_of_a_trial_is_remarked(outcome, batches, remark):
    assert Trial("0000", {}, steps=[Step(None, 1, 2, outcome)], **batches).remark == remark
