"""Which trial is the best."""

import pytest

from finetune.search.ranking import rank
from finetune.search.trials import COMPLETED, Outcome, Step, Trial


def trial(number, **metrics):
    outcome = Outcome(metrics=metrics, score=metrics["val_loss"], lowest_loss=metrics["val_loss"])
    return Trial(number, {}, status=COMPLETED, steps=[Step(None, 0, 1, outcome)])


@pytest.mark.parametrize(("error", "best"), [(0.2, "tuned"), (0.05, "head")])
def test_a_kept_head_comes_before_what_is_worse_by_more_than_chance(error, best):
    trials = [trial("head", val_loss=0.5, standard_error=error), trial("tuned", val_loss=0.6)]
    assert rank(trials, "val_loss")[0].trial.trial == best
