"""Which trial is the best."""

import pytest

from finetune.search.board import render
from finetune.search.ranking import rank
from finetune.search.trials import COMPLETED, Outcome, Step, Trial


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


@pytest.mark.parametrize(("loss", "order"), [(0.45, ["0000", "0001"]), (0.35, ["0001", "0000"])])
def test_what_was_drawn_has_to_be_better_than_what_is_known_by_more_than_chance(loss, order):
    ranking = rank([drawn("0000", 0.5, known=True), drawn("0001", loss)], "val_loss")
    assert [entry.trial.trial for entry in ranking] == order
    assert [entry.score for entry in ranking] == [{"0000": 0.5, "0001": loss}[n] for n in order]
    said = "Settings known to do well stand before others that are better by less than"
    assert (said in render(ranking, "val_loss")) == (order[0] == "0000")


def test_where_nothing_is_known_to_do_well_the_lowest_loss_is_first():
    alone = trial("0002", val_loss=0.48)  # of a backbone of its own, with no head to begin with
    ranking = rank([drawn("0000", 0.5), drawn("0001", 0.45), alone], "val_loss")
    assert [entry.trial.trial for entry in ranking] == ["0001", "0002", "0000"]
    assert "known to do well" not in render(ranking, "val_loss")
