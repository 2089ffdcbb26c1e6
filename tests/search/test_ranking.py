"""Which trial is the best."""

import pytest

from finetune.search.board import render
from finetune.search.ranking import rank
from finetune.search.trials import COMPLETED, FAILED, Outcome, Step, Trial


def trial(number, **metrics):
    outcome = Outcome(metrics=metrics, score=metrics["val_loss"], lowest_loss=metrics["val_loss"])
    return Trial(number, {}, status=COMPLETED, steps=[Step(None, 0, 1, outcome)])


@pytest.mark.parametrize(("error", "best"), [(0.2, "tuned"), (0.05, "head")])
def test_a_kept_head_comes_before_what_is_worse_by_more_than_chance(error, best):
    trials = [trial("head", val_loss=0.5, standard_error=error), trial("tuned", val_loss=0.6)]
    assert rank(trials, "val_loss")[0].trial.trial == best


def drawn(number, loss, known=False):
    """A trial that begins with a head whose loss has a standard error of 0.1."""
    history = [{"phase": "head", "val_loss": 2.0, "standard_error": 0.1}, {"phase": "fine_tune"}]
    outcome = Outcome({"val_loss": loss}, loss, loss, history=history)
    return Trial(number, {}, status=COMPLETED, steps=[Step(None, 0, 1, outcome)], known=known)


SAID = "The settings of fine_tune stand before others that are better by less than a standard error"


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("loss", "order"), [(0.45, ["0000", "0001"]), (0.35, ["0001", "0000"])])
def test_others_have_to_be_better_than_the_settings_of_one_call_by_more_than_chance(
    loss, order, known
):
    ranking = rank([drawn("0001", loss, known), drawn("0000", 0.5, known=True)], "val_loss")
    assert [entry.trial.trial for entry in ranking] == order
    assert [entry.score for entry in ranking] == [{"0000": 0.5, "0001": loss}[n] for n in order]
    assert (SAID in render(ranking, "val_loss")) == (order[0] == "0000")


def test_others_that_are_known_to_do_well_and_drawn_ones_stand_as_they_were_measured():
    trials = [drawn("0000", 0.5, known=True), drawn("0001", 0.46, known=True), drawn("0002", 0.45)]
    ranking = rank(trials, "val_loss")
    assert [entry.trial.trial for entry in ranking] == ["0000", "0002", "0001"]


def test_where_the_settings_of_one_call_failed_the_next_that_is_known_takes_their_place():
    failed = Trial("0000", {}, status=FAILED, known=True)
    ranking = rank([failed, drawn("0001", 0.5, known=True), drawn("0002", 0.45)], "val_loss")
    assert [entry.trial.trial for entry in ranking] == ["0001", "0002", "0000"]


def test_a_mean_over_seeds_is_not_said_to_stand_first_by_chance():
    more = drawn("0000", 0.5, known=True)
    more.execution = 1
    ranking = rank([drawn("0000", 0.5, known=True), more, drawn("0001", 0.35)], "val_loss")
    assert [entry.trial.trial for entry in ranking] == ["0000", "0001"]
    assert SAID not in render(ranking, "val_loss")


def test_where_nothing_is_known_to_do_well_the_lowest_loss_is_first():
    alone = trial("0002", val_loss=0.48)  # of a backbone of its own, with no head to begin with
    ranking = rank([drawn("0000", 0.5), drawn("0001", 0.45), alone], "val_loss")
    assert [entry.trial.trial for entry in ranking] == ["0001", "0002", "0000"]
    assert SAID not in render(ranking, "val_loss")
