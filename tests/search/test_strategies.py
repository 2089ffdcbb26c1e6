"""Strategies, budgets and ranking apart from training."""

import itertools
from dataclasses import replace

import keras_tuner
import pytest
from hypothesis import given
from hypothesis import strategies as some

from finetune.exceptions import ArgumentError
from finetune.search.budget import Forecast, parse_seconds
from finetune.search.ranking import promising, rank
from finetune.search.run import _measure
from finetune.search.spaces import near
from finetune.search.strategies import build_strategy, rungs
from finetune.search.trials import Outcome, Step, Trial
from finetune.support import format_seconds, new_console

OBJECTIVE = keras_tuner.Objective("val_accuracy", "max")


def space(depths=(0, 50, 100), rates=(1e-5, 1e-4, 1e-3), **further):
    hp = keras_tuner.HyperParameters()
    hp.Choice("freeze_depth", list(depths))
    if isinstance(rates, tuple) and len(rates) == 2:
        hp.Float("learning_rate", *rates, sampling="log")
    else:
        hp.Choice("learning_rate", list(rates))
    for name, choices in further.items():
        hp.Choice(name, choices)
    return hp


# What `outcome_of` says is best.
BEST = {"freeze_depth": 0, "learning_rate": 1e-3}


def strategy(name, space, epochs=9, max_trials=None, begun_with=None, good=(BEST,)):
    return build_strategy(
        name,
        space=space,
        objective=OBJECTIVE,
        better=promising,
        epochs=epochs,
        max_trials=max_trials,
        begun_with=begun_with or max_trials,
        good=[near(space, one) for one in good],
        seed=0,
    )


def outcome_of(job):
    """Smaller depths and higher rates are better, and longer training too."""
    score = 0.5 + job.values["learning_rate"] * 1000 - job.values["freeze_depth"] / 1000
    score += (job.until or 0) / 1000
    return Outcome({"val_accuracy": score, "val_loss": 1 - score}, score, 1 - score, job.until or 9)


def play(chosen, workers=1):
    """Ask and tell until the end; with several workers the oldest job ends first."""
    jobs, running = [], []
    while True:
        while len(running) < workers and (job := chosen.ask()):
            running.append(job)
            jobs.append(job)
        if not running:
            return jobs
        job = running.pop(0)
        chosen.tell(job, outcome_of(job))


@pytest.mark.parametrize("workers", [1, 3])
def test_grid_gives_every_combination_once(workers):
    jobs = play(strategy("grid", space()), workers)
    values = [tuple(sorted(job.values.items())) for job in jobs]
    assert len(values) == len(set(values)) == 9
    assert all(job.until is None for job in jobs)


def test_grid_keeps_all_workers_busy():
    chosen = strategy("grid", space())
    assert all(chosen.ask() is not None for _ in range(9))
    assert chosen.ask() is None


@pytest.mark.parametrize("workers", [1, 4])
def test_halving_takes_the_best_third_of_each_rung(workers):
    jobs = play(strategy("halving", space(), epochs=9), workers)
    by_rung = {until: [j for j in jobs if j.until == until] for until in (2, 3, 9)}
    assert [len(by_rung[until]) for until in (2, 3, 9)] == [9, 3, 1]
    # The best is the smallest depth with the highest rate.
    assert by_rung[9][0].values == {"freeze_depth": 0, "learning_rate": 1e-3}
    assert {j.values["learning_rate"] for j in by_rung[3]} == {1e-3}
    assert by_rung[9][0].trial in {j.trial for j in by_rung[3]}


@pytest.mark.parametrize("workers", [1, 4])
def test_halving_trains_what_is_known_to_be_good_to_its_end_too(workers):
    worst = {"freeze_depth": 100, "learning_rate": 1e-5}
    jobs = play(strategy("halving", space(), epochs=9, good=(worst,)), workers)
    assert [job.until for job in jobs] == [2] * 9 + [3] * 4 + [9] * 3
    assert worst in [job.values for job in jobs if job.until == 9]
    assert BEST in [job.values for job in jobs if job.until == 9]


@pytest.mark.parametrize(("trials", "first"), [(12, 3), (8, 2), (3, 1)])
def test_a_quarter_of_the_trials_has_values_known_to_be_good(trials, first):
    good = [{"freeze_depth": depth, "learning_rate": 1e-3} for depth in (100, 50, 0)]
    searched = space(rates=(1e-5, 1e-3))
    jobs = play(strategy("halving", searched, epochs=9, max_trials=trials, good=good))
    begun = [job.values for job in jobs[:trials]]
    assert [job.known for job in jobs[:trials]] == [True] * first + [False] * (trials - first)
    assert sum(job.known for job in jobs if job.until == 9) == first
    assert begun[:first] == good[:first]
    assert not [values for values in begun[first:] if values in good]
    ended = [job.values for job in jobs if job.until == 9]
    assert all(values in ended for values in good[:first])
    assert strategy("random", searched, max_trials=trials, good=good).ask().values == good[0]


def test_what_is_known_to_be_good_ends_where_it_failed():
    worst = {"freeze_depth": 100, "learning_rate": 1e-5}
    chosen = strategy("halving", space(), epochs=9, good=(worst,))
    for job in [chosen.ask() for _ in range(9)]:
        chosen.tell(job, Outcome(error="x") if job.values == worst else outcome_of(job))
    assert worst not in [chosen.ask().values for _ in range(3)]
    assert chosen.ask() is None


def test_rungs_compare_losses():
    """Here the rate with the lowest losses has the lowest accuracies."""
    chosen = strategy("halving", space(), epochs=9, good=({"learning_rate": 1e-3},))
    for job in [chosen.ask() for _ in range(9)]:
        rate = job.values["learning_rate"]
        score = 0.5 - rate
        chosen.tell(job, Outcome({"val_accuracy": score, "val_loss": 1.0}, score, 1.0 - rate, 1))
    assert {chosen.ask().values["learning_rate"] for _ in range(3)} == {1e-3}


def test_halving_draws_from_a_space_that_is_larger_than_its_number_of_trials():
    jobs = play(strategy("halving", space(rates=(1e-5, 1e-3)), max_trials=6))
    first = [job for job in jobs if job.until == rungs(6, 9)[0]]
    assert len({job.values["learning_rate"] for job in first}) == 6


def test_trials_that_failed_do_not_go_on():
    chosen = strategy("halving", space(), epochs=9)
    first = [chosen.ask() for _ in range(9)]
    assert chosen.ask() is None
    for job in first:
        chosen.tell(job, Outcome(error="x") if job.trial != "0004" else outcome_of(job))
    assert chosen.ask().trial == "0004"
    assert chosen.ask() is None


@pytest.mark.parametrize("name", ["halving", "random", "bayesian"])
def test_what_is_drawn_begins_near_what_is_known_to_be_good(name):
    good = {"freeze_depth": 54, "learning_rate": 3e-4}
    chosen = strategy(name, space(rates=(1e-5, 1e-3)), max_trials=4, good=(good,))
    values = [chosen.ask().values for _ in range(3)]
    assert values[0] == {"freeze_depth": 50, "learning_rate": 3e-4}
    assert values[0] not in values[1:]


@pytest.mark.parametrize(
    ("rates", "nearest"),
    [
        ([1e-6, 1e-5], 1e-5),
        ([1e-4, 1e-3], 1e-4),  # by factors; 3e-4 is nearer to 1e-4 by 3.0 against 3.3
        ((1e-3, 1e-2), 1e-3),
        ((1e-6, 1e-5), 1e-5),
    ],
)
def test_nearest_point_of_a_space(rates, nearest):
    searched = space(rates=rates, dropout=[0.2, 0.5])
    assert near(searched, {"learning_rate": 3e-4, "freeze_depth": 80}) == {
        "learning_rate": nearest,
        "freeze_depth": 100,
        "dropout": 0.2,  # its default
    }


def test_names_of_blocks_are_nowhere_near():
    searched = space(depths=["block_2", "block_1"])
    assert near(searched, {"freeze_depth": 80})["freeze_depth"] == "block_2"


def test_trials_at_their_end_leave_their_place_to_others():
    chosen = strategy("halving", space(), epochs=9)
    for job in [chosen.ask() for _ in range(9)]:
        best = job.values == {"freeze_depth": 0, "learning_rate": 1e-3}
        chosen.tell(job, replace(outcome_of(job), finished=best))
    went_on = [chosen.ask().values for _ in range(3)]
    assert chosen.ask() is None
    assert {"freeze_depth": 0, "learning_rate": 1e-3} not in went_on
    assert {"freeze_depth": 50, "learning_rate": 1e-3} in went_on


def test_hyperband_continues_the_trial_that_it_names():
    jobs = play(strategy("hyperband", space(rates=(1e-5, 1e-3)), epochs=9))
    continued = [job for job in jobs if job.after]
    assert continued
    by_name = {job.trial: job for job in jobs}
    for job in continued:
        assert by_name[job.after].values == job.values
        assert by_name[job.after].until < job.until


@pytest.mark.parametrize("name", ["halving", "hyperband", "grid"])
@pytest.mark.parametrize("workers", [1, 3])
def test_no_job_goes_on_from_a_trial_that_is_over(name, workers):
    rates = (1e-5, 1e-3) if name == "hyperband" else (1e-5, 1e-4, 1e-3)
    chosen = strategy(name, space(rates=rates), epochs=9)
    running, jobs, ended, most = [], [], set(), 0
    while True:
        over = chosen.over()
        while len(running) < workers and (job := chosen.ask()):
            running.append(job)
            jobs.append(job)
            assert not {job.trial, job.after} & over
        if not running:
            break
        job = running.pop(0)
        assert job.trial not in chosen.over()
        chosen.tell(job, outcome_of(job))
        ended.add(job.trial)
        most = max(most, len(ended - chosen.over()))
    finalists = {job.trial for job in jobs if job.until == 9} if name == "halving" else set()
    assert ended - chosen.over() == finalists
    assert (most > 5) == (name != "grid")


def test_a_trial_of_halving_is_over_as_soon_as_others_go_on_in_its_place():
    chosen = strategy("halving", space(), epochs=9)
    first = [chosen.ask() for _ in range(9)]
    for job in first:
        assert chosen.over() == set()
        chosen.tell(job, outcome_of(job))
    goes_on = {chosen.ask().trial for _ in range(3)}
    assert chosen.over() == {job.trial for job in first} - goes_on


@given(
    trials=some.integers(1, 300),
    epochs=some.integers(1, 200),
    warm_up=some.floats(0, 1, exclude_max=True),
)
def test_rungs_rise_to_all_epochs_and_come_after_the_warm_up(trials, epochs, warm_up):
    found = rungs(trials, epochs, warm_up)
    assert found[-1] == epochs
    assert all(epoch > warm_up * epochs for epoch in found)
    assert found[0] >= 1
    assert all(low < high for low, high in itertools.pairwise(found))
    assert 3 ** (len(found) - 1) <= max(trials, 1)


def test_halving_with_more_trials_compares_after_the_same_epochs_as_before():
    begun = strategy("halving", space(rates=(1e-5, 1e-3)), epochs=9, max_trials=8)
    extended = strategy("halving", space(rates=(1e-5, 1e-3)), epochs=9, max_trials=10, begun_with=8)
    assert extended.rungs == begun.rungs == [3, 9]
    assert strategy("halving", space(rates=(1e-5, 1e-3)), epochs=9, max_trials=10).rungs != [3, 9]
    first, all_of_them = play(begun), play(extended)
    assert [job.until for job in all_of_them] == [3] * 10 + [9] * 4
    assert [job.values for job in all_of_them[:8]] == [job.values for job in first[:8]]


def test_halving_begun_with_a_part_of_a_grid_goes_on_drawing_from_it():
    begun = strategy("halving", space(), epochs=3, max_trials=5)
    extended = strategy("halving", space(), epochs=3, max_trials=8, begun_with=5)
    first, all_of_them = play(begun), play(extended)
    assert [job.values for job in all_of_them[:5]] == [job.values for job in first[:5]]
    assert [job.until for job in all_of_them] == [2] * 8 + [3] * 3


def test_halving_knows_how_much_is_to_come():
    worst = {"freeze_depth": 100, "learning_rate": 1e-5}
    chosen = strategy("halving", space(), epochs=9, good=(worst,))
    assert chosen.remaining_epochs(9) == 9 * 2 + 4 * 1 + 3 * 6
    assert chosen.remaining_jobs() == 9 + 4 + 3
    jobs = play(chosen)
    assert len(jobs) == 16
    assert chosen.remaining_epochs(9) == chosen.remaining_jobs() == 0


def test_halving_expects_no_more_of_a_rung_once_it_is_known_who_goes_on():
    chosen = strategy("halving", space(), epochs=9)  # what is good is among the best by itself
    assert chosen.remaining_jobs() == 9 + 4 + 3
    for _ in range(9):
        job = chosen.ask()
        chosen.tell(job, outcome_of(job))
    first = chosen.ask()
    assert chosen.remaining_jobs() == 3 + 2
    chosen.tell(first, outcome_of(first))
    assert [job.until for job in (first, *play(chosen))] == [3, 3, 3, 9]
    assert chosen.remaining_epochs(9) == chosen.remaining_jobs() == 0


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-3m", "0", "20m extra"])
def test_time_budget_that_says_nothing_is_refused(text):
    with pytest.raises(ArgumentError, match="time budget such as '20m'"):
        parse_seconds(text)


def test_times_are_written_as_people_say_them():
    assert [format_seconds(s) for s in (0.4, 59, 60, 3599, 7260)] == [
        *("0 s", "59 s", "1 min", "59 min 59 s", "2 h 01 min"),
    ]


def test_forecast_is_corrected_by_what_trials_took():
    forecast = Forecast({0: 4.0, 50: 2.0, 154: 0.0}, [0, 50, 154], workers=2)
    assert forecast.seconds(10) == pytest.approx(10 * 3.0 / 2)
    forecast.learn(1000, 1000.0)
    assert forecast.seconds(10) == pytest.approx(10 * 1.0 / 2, rel=0.02)


def test_forecast_takes_depths_that_were_not_measured_for_between_those_that_were():
    measured = {0: 5.0, 50: 1.0, 100: 0.0}  # of the head alone nothing is trained
    assert Forecast(measured, [0, 10, 50], workers=1).seconds(1) == pytest.approx((5 + 4.2 + 1) / 3)
    assert Forecast({"a": 1.0, "b": 3.0}, ["a", "b", "c"], workers=1).seconds(1) == 2.0
    assert Forecast({0: 0.0}, [0], workers=1).seconds(1) == 0.0


@pytest.mark.parametrize(
    ("make", "measured"),
    [
        (lambda hp: hp.Int("freeze_depth", 80, 100), [80, 85, 90, 95, 100]),
        (lambda hp: hp.Choice("freeze_depth", [0, 36, 81]), [0, 36, 81]),
        (lambda hp: hp.Float("freeze_depth", 0.5, 1.0), [0.5, 0.625, 0.75, 0.875, 1.0]),
        (lambda hp: hp.Float("learning_rate", 1e-5, 1e-3), [None]),
    ],
)
def test_a_few_depths_are_measured_before_the_first_trial(make, measured):
    class Listed:
        count = 1

        def measure(self, jobs, seconds):
            self.depths = [job.values.get("freeze_depth") for job in jobs]
            return [2.0] * len(jobs)

    workers, hp = Listed(), keras_tuner.HyperParameters()
    make(hp)
    assert _measure(workers, hp, None, new_console(quiet=True)).seconds(3) == pytest.approx(6.0)
    assert workers.depths == measured


def test_equal_scores_rank_by_loss_and_several_seeds_before_one():
    def trial(number, score, loss, execution=0):
        outcome = Outcome({"val_accuracy": score, "val_loss": loss}, score, n=100)
        return Trial(number, {}, execution, steps=[Step(None, 1, 2, outcome)])

    trials = [
        trial("0000", 0.9, 0.4),
        trial("0001", 0.9, 0.3),
        trial("0002", 0.8, 0.3),
        trial("0002", 0.9, 0.3, execution=1),
    ]
    ranking = rank(trials, "val_accuracy")
    assert [entry.trial.trial for entry in ranking] == ["0002", "0001", "0000"]
    assert ranking[0].score == pytest.approx(0.85)
    low, high = ranking[0].interval
    assert low < 0.85 < high
    assert ranking[0].accuracy_interval == ranking[0].interval
    # Wilson, n=100
    assert ranking[1].accuracy_interval == pytest.approx((0.8256, 0.9448), abs=1e-3)
    assert ranking[1].interval is None
