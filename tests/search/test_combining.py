"""What a search hands over is made of its best trials."""

import json
from dataclasses import replace
from operator import attrgetter

import keras
import numpy as np
import pytest

from finetune import FineTuner, load
from finetune.exceptions import ArgumentError, TrainingError
from finetune.model import FineTunedModel
from finetune.model.calibration import at_temperature, fit_temperature
from finetune.search.combining import Combined, Maker, members_of
from finetune.search.rows import card_of
from finetune.support import Remarks, assign, values_of
from finetune.training import TrainingRecord, average, best_row
from finetune.tuning import Trainer


@pytest.fixture(scope="module")
def searched(make_backbone, data, tmp_path_factory):
    """A search of four trials that are better than the head, which is not to be the best here."""
    folder = tmp_path_factory.mktemp("combined") / "study"

    def search(refit=False, calibrate=False, **options):
        tuner = FineTuner(
            make_backbone(),
            preprocess="tf",
            freeze_depth=[7, 10],
            learning_rate=[3e-3, 1e-2],
            epochs=3,
            head_epochs=1,
            head_optimizer="adam",
            head_learning_rate=1e-4,
            refit=refit,
            calibrate=calibrate,
        )
        return tuner.search(data, **{"strategy": "grid", "out": folder, "verbose": 0} | options)

    return search


@pytest.fixture(scope="module")
def best(searched):
    return searched(combine="best")


@pytest.fixture(scope="module")
def members(best, data):
    """The shared model, and its best three states."""
    model = best.work.model(best.settings)
    found = members_of(best.work, best.chosen, best.ranking, model, 3)
    return model, found


@pytest.fixture
def three_times_as_slow(monkeypatch):
    """An ensemble takes three times what one model takes, whatever the machine does."""
    seconds = {"ensemble_of_tiny": 3.0, "fine_tuned_tiny": 1.0}
    monkeypatch.setattr(Maker, "_seconds", lambda self, made: seconds[made.keras_model.name])


def said_by(model, data, split="validation"):
    return np.asarray(model(data.splits[split].images.astype("float32")))


def means(members, data):
    """What the mean of the weights says, and the mean of what they say."""
    model, found = members
    said = []
    for member in found:
        assign(model.variables, member.values)
        said.append(said_by(model, data))
    for variable, *values in zip(
        model.variables, *(member.values for member in found), strict=True
    ):
        if variable.dtype.startswith("float"):
            variable.assign(np.mean(values, axis=0))
    return said_by(model, data), np.mean(said, axis=0)


def loss(said, data):
    labels = data.splits["validation"].labels
    return -np.log(said[np.arange(len(labels)), labels]).mean()


def test_members_are_the_best_trials_that_are_not_the_head(best, members):
    names = [member.entry.trial.trial for member in members[1]]
    assert names == [entry.trial.trial for entry in best.ranking[:3]]
    assert not best.head_is_best


def test_a_soup_has_the_mean_of_the_weights_of_the_best_trials(searched, best, members, data):
    result = searched(combine="soup")
    soup, _ = means(members, data)
    np.testing.assert_allclose(said_by(result.model.keras_model, data), soup, atol=1e-5)
    assert result.combined.how == "soup"
    assert result.combined.members == tuple(e.trial.trial for e in best.ranking[:3])
    assert result.validation.loss == pytest.approx(loss(soup, data), rel=1e-4)
    assert result.combined.losses["best"] == pytest.approx(best.validation.loss, rel=1e-4)
    alone = result.combined.losses["best"]
    assert (
        f"weights averaged: validation loss {result.validation.loss:.3f}, the best one alone "
        f"{alone:.3f}" in result.summary()
    )
    facts = json.loads((result.folder / "result.json").read_text())
    assert facts["combined"]["how"] == "soup"
    assert load(result.folder).evaluate(data).loss == pytest.approx(result.test.loss, rel=1e-4)


def test_an_ensemble_says_the_mean_of_what_the_best_trials_say(searched, members, data):
    result = searched(combine="ensemble")
    _, mean = means(members, data)
    np.testing.assert_allclose(said_by(result.model.keras_model, data), mean, atol=1e-5)
    assert result.combined.how == "ensemble" and result.combined.slowdown > 0
    assert result.validation.loss == pytest.approx(loss(mean, data), rel=1e-4)
    assert f"an image takes {result.combined.slowdown:.1f} times as long." in result.summary()
    plain = keras.models.load_model(result.folder / "model.keras")
    np.testing.assert_allclose(said_by(plain, data), mean, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["soup", "ensemble"])
def test_what_is_made_of_several_is_calibrated_as_a_whole(searched, members, data, how):
    result = searched(calibrate=True, combine=how)
    before = means(members, data)[how == "ensemble"]
    temperature = result.calibration.temperature
    assert temperature == pytest.approx(
        fit_temperature(data.splits["validation"].labels, before, "multiclass"), rel=1e-3
    )
    expected = at_temperature(before, temperature, "multiclass")
    plain = keras.models.load_model(result.folder / "model.keras")
    np.testing.assert_allclose(said_by(plain, data), expected, atol=1e-5)
    assert load(result.folder).card.temperature == temperature
    assert result.test.loss == pytest.approx(result.model.evaluate(data).loss, rel=1e-4)
    facts = json.loads((result.folder / "result.json").read_text())
    assert facts["calibration"]["error"] == result.calibration.error
    again = load(result.folder).at_temperature(1.0).keras_model
    np.testing.assert_allclose(said_by(again, data), before, atol=1e-5)


def elsewhere(model, values):
    """The same function, with the last channels in another order."""
    tiny, head = model.get_layer("tiny"), model.get_layer("head").get_layer("predictions")
    last = [tiny.get_layer("d_conv").kernel, *tiny.get_layer("d_bn").variables]
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    changed = [*values]
    for variable in last:
        changed[places[id(variable)]] = changed[places[id(variable)]][..., ::-1]
    kernel = places[id(head.kernel)]
    changed[kernel] = changed[kernel][::-1]
    return changed


def mistaken(model, values, times):
    """With mistakes in the head, of the other sign where `times` is."""
    kernel = model.get_layer("head").get_layer("predictions").kernel
    place = next(n for n, variable in enumerate(model.variables) if variable is kernel)
    noise = np.random.default_rng(0).normal(size=kernel.shape).astype("float32")
    return [*values[:place], values[place] + times * noise, *values[place + 1 :]]


def test_a_soup_that_is_worse_than_what_it_is_made_of_is_not_served(best, members, data, caplog):
    model, (first, _, _) = members
    maker = Maker(best.work, data, FineTunedModel(model, card_of(model, data)))
    twin = replace(first, values=elsewhere(model, first.values))
    made, combined, _ = maker.choose([first, twin], "soup", 1.0)
    assert combined.losses["ensemble"] == pytest.approx(combined.losses["best"], rel=1e-4)
    assert combined.losses["soup"] > 1.1 * combined.losses["best"]
    assert combined.how == "best"
    assert "of their mean: the best trial is taken alone" in caplog.text
    said = said_by(made.keras_model, data)
    assert loss(said, data) == pytest.approx(combined.losses["best"], rel=1e-4)


def test_what_lowers_the_loss_of_an_average_is_in_it(best, members, data):
    model, (first, second, third) = members
    maker = Maker(best.work, data, FineTunedModel(model, card_of(model, data)))
    one = replace(first, values=mistaken(model, first.values, 0.5))
    other = replace(second, values=mistaken(model, first.values, -0.5))
    harmful = replace(third, values=mistaken(model, first.values, 10.0))
    _, mean = means((model, [one, other]), data)
    assign(model.variables, first.values)
    right = loss(said_by(model, data), data)
    made, combined, used = maker.choose([one, harmful, other], "auto", 1.0)
    assert (combined.how, used) == ("soup", [one, other])
    assert combined.losses["soup"] == pytest.approx(right, rel=1e-4)
    assert combined.losses["ensemble"] == pytest.approx(loss(mean, data), rel=1e-4)
    assert loss(said_by(made.keras_model, data), data) == pytest.approx(right, rel=1e-4)
    names = [member.entry.trial.trial for member in used]
    assert str(combined).startswith(f"Made of trials {names[0]} and {names[1]}, weights averaged")
    _, combined, used = maker.choose([one, harmful, other], "auto", 1e6)
    assert combined.how == min(combined.losses, key=combined.losses.__getitem__)
    assert used == [one, other]


def test_what_helps_no_average_is_left_out(best, members, data):
    model, (first, second, _) = members
    maker = Maker(best.work, data, FineTunedModel(model, card_of(model, data)))
    harmful = replace(second, values=mistaken(model, first.values, 10.0))
    made, combined, used = maker.choose([first, harmful], "auto", 1e6)
    assert (combined.how, used) == ("best", [first])
    assert combined.losses == {"best": pytest.approx(loss(said_by(made.keras_model, data), data))}
    assert str(combined) == (
        f"Made of trial {first.entry.trial.trial} alone: its weights averaged with those of others "
        f"have no lower validation loss than its own, {combined.losses['best']:.3f}."
    )


def in_another_valley(values):
    """The same function: the last 16 features, and what the head makes of them, in reverse."""
    backwards = {(16,): np.s_[::-1], (3, 3, 12, 16): np.s_[..., ::-1], (16, 3): np.s_[::-1]}
    return [value[backwards.get(value.shape, np.s_[...])] for value in values]


def test_trials_that_part_when_they_are_trained_again_are_not_averaged(best, members, data):
    model, found = members
    two, names = found[:2], tuple(member.entry.trial.trial for member in found[:2])
    maker = Maker(best.work, data, FineTunedModel(model, card_of(model, data)))
    soup, remarks = Combined("soup", names), Remarks()
    near = [member.values for member in two]
    combined, used, states = maker.settled(soup, two, near, remarks)
    assert combined is soup and used is two and states is near and not remarks
    first = near[0]
    parted = [first, in_another_valley(first)]
    losses = []
    for state in (*parted, average(parted)):
        assign(model.variables, state)
        losses.append(loss(said_by(model, data), data))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[2] > losses[0]
    combined, used, states = maker.settled(soup, two, parted, remarks)
    assert (combined.how, combined.members, used) == ("best", names[:1], two[:1])
    assert len(states) == 1 and states[0] is first
    assert remarks == [
        f"Trained again on all images, trials {names[0]} and {names[1]} have no weights to average "
        f"any more: a loss of {losses[2]:.3f} on the validation images, above the {losses[0]:.3f} "
        f"of their mean. Trial {names[0]} is taken alone."
    ]


@pytest.mark.thorough
def test_a_member_that_cannot_be_trained_again_is_as_it_was_before(
    searched, members, data, monkeypatch, caplog
):
    refit, lost = Trainer.refit, members[1][1]
    chosen = attrgetter("freeze_depth", "learning_rate")

    def fails(self, settings, *arguments):
        made = refit(self, settings, *arguments)
        if chosen(settings) == chosen(lost.settings):
            raise TrainingError("Not fitting.")
        return made

    monkeypatch.setattr(Trainer, "refit", fails)
    result = searched(refit=1, combine="ensemble")
    name = lost.entry.trial.name
    assert (
        f"Trial {name} is not trained again on all images: Not fitting. Its weights before are used"
    ) in caplog.text
    assert result.refitted == len(data.splits["train"]) + len(data.splits["validation"])
    trainer, said = result.work.trainer, []
    model = result.work.model(result.settings)
    for member in members[1]:
        if member is lost:
            assign(model.variables, member.values)
        else:
            settings = replace(member.settings, backbone=result.settings.backbone)
            history = member.entry.trial.outcome.history
            kept = history.index(best_row(history, "val_loss"))
            record = TrainingRecord(epochs=history, best=kept)
            refit(trainer, settings, trainer.source_of(data, settings), record)
        said.append(said_by(model, data))
    np.testing.assert_allclose(
        said_by(result.model.keras_model, data), np.mean(said, axis=0), atol=1e-5
    )


@pytest.mark.parametrize(("allowed", "how"), [(1.0, "best"), (2.9, "best"), (3.0, "ensemble")])
def test_an_ensemble_has_to_be_as_quick_as_was_asked(
    best, members, data, three_times_as_slow, caplog, allowed, how
):
    model, (first, _, _) = members
    maker = Maker(best.work, data, FineTunedModel(model, card_of(model, data)))
    # Each is wrong in its own way, so that together they are better, but not their weights.
    one, other = (
        replace(first, values=mistaken(model, first.values, times)) for times in (0.5, -0.5)
    )
    other = replace(other, values=elsewhere(model, other.values))
    with caplog.at_level("INFO", logger="finetune"):
        made, combined, _ = maker.choose([one, other], "auto", allowed)
    assert combined.losses["ensemble"] < combined.losses["best"]
    assert "soup" not in combined.losses  # their weights are no better than those of the best
    assert (combined.how, combined.slowdown) == (how, 3.0 if how == "ensemble" else None)
    assert ("takes 3.0 times as long for an image" in caplog.text) == (allowed == 2.9)
    shown = "in more time (max_slowdown)" if how == "best" else "an image takes 3.0 times as long"
    assert shown in str(combined)
    assert loss(said_by(made.keras_model, data), data) == pytest.approx(
        combined.losses[how], rel=1e-4
    )


@pytest.mark.thorough
def test_members_of_a_soup_are_each_trained_again_on_all_images(searched, members, data):
    result = searched(refit=True, combine="soup")
    assert result.combined.how == "soup"
    assert result.refitted == len(data.splits["train"]) + len(data.splits["validation"])
    trainer, states = result.work.trainer, []
    model = result.work.model(result.settings)
    for member in members[1]:
        history = member.entry.trial.outcome.history
        kept = best_row(history, "val_loss")
        record = TrainingRecord(epochs=history, best=history.index(kept))
        trainer.refit(member.settings, trainer.source_of(data, member.settings), record)
        states.append(values_of(model.variables))
    assign(model.variables, average(states))
    np.testing.assert_allclose(
        said_by(result.model.keras_model, data), said_by(model, data), atol=1e-5
    )
    # What is said of validation images is said of the model before.
    before = searched(combine="soup")
    assert result.validation.loss == pytest.approx(before.validation.loss, rel=1e-4)
    assert load(result.folder).evaluate(data, "test").known["test"] == result.test.n


@pytest.mark.parametrize(("allowed", "how"), [(1.0, "best"), (2.9, "best"), (3.0, "ensemble")])
def test_trainings_of_the_best_trial_are_averaged_in_what_they_say_where_there_is_time_for_it(
    searched, data, three_times_as_slow, allowed, how
):
    result = searched(refit=2, combine="auto", keep=1, max_slowdown=allowed)
    name = result.chosen.trial.trial
    assert (result.combined.how, result.combined.members) == (
        how,
        (name, name) if how == "ensemble" else (name,),
    )
    if how == "best":
        return
    assert f"Made of 2 trainings of trial {name} on all images, probabilities" in result.summary()
    model = result.work.model(result.settings)
    trainer, said = result.work.trainer, []
    history = result.chosen.trial.outcome.history
    record = TrainingRecord(epochs=history, best=history.index(best_row(history, "val_loss")))
    for seed in (result.settings.seed, result.settings.seed + 1):
        settings = replace(result.settings, seed=seed)
        trainer.refit(settings, trainer.source_of(data, settings), record)
        said.append(said_by(model, data))
    np.testing.assert_allclose(
        said_by(result.model.keras_model, data), np.mean(said, axis=0), atol=1e-5
    )


@pytest.mark.parametrize(
    ("allowed", "times"),
    [(1.0, "together:"), (2.9, "together:"), (3.0, "together, 3 times:")],
)
def test_the_best_trial_is_trained_again_once_and_three_times_for_an_ensemble_that_has_the_time(
    searched, three_times_as_slow, capsys, allowed, times
):
    searched(refit=None, combine="auto", keep=1, max_slowdown=allowed, verbose=1)
    assert f"training and validation {times}" in " ".join(capsys.readouterr().out.split())


def test_one_member_is_the_best_trial(best):
    assert best.combined == Combined("best", (best.chosen.trial.trial,))
    assert str(best.combined) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"combine": "mean"}, r"Expected combine to be one of \('auto', 'best', 'soup', 'ens"),
        ({"max_slowdown": 0.5}, r"Expected max_slowdown of 1 or more, received 0.5"),
    ],
)
def test_what_no_search_can_end_with_is_refused(search, options, said):
    with pytest.raises(ArgumentError, match=said):
        search(**options)
