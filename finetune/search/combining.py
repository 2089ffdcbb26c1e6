"""What is handed over is made of the best trials: one of them, their weights or their answers."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np

from finetune.data import ImageData
from finetune.exceptions import ArgumentError, StorageError
from finetune.model import FineTunedModel, calibrated_loss, score
from finetune.reuse import pass_batch
from finetune.search.kept_weights import kept_weights
from finetune.search.ranking import Ranked
from finetune.search.runner import Work
from finetune.support import Remarks, assign, check_number, values_of
from finetune.training import Values, average, ensemble
from finetune.tuning import Settings

log = logging.getLogger("finetune")

BEST, SOUP, ENSEMBLE = "best", "soup", "ensemble"
COMBINE = ("auto", BEST, SOUP, ENSEMBLE)

# Passes over some images to time a model with; the quickest counts.
_TIMED = 5


def check_combine(combine: str, max_slowdown: float) -> None:
    """Refuse what no search can end with."""
    if combine not in COMBINE:
        raise ArgumentError(f"Expected combine to be one of {COMBINE}, received {combine!r}.")
    if max_slowdown != math.inf:  # which is no limit
        check_number("max_slowdown", max_slowdown, least=1)


@dataclass(frozen=True)
class Member:
    """A trial that the model may be made of.

    Args:
        entry: The trial.
        settings: What it was trained with.
        values: Weights of its best epoch.
    """

    entry: Ranked
    settings: Settings
    values: Values


@dataclass(frozen=True)
class Combined:
    """How the model was made of the best trials.

    Args:
        how: "best", "soup" or "ensemble".
        members: Numbers of the trials, the best first; of one that was trained several times on all
            images, to be averaged, as many times.
        losses: Validation loss of each way that was measured: "best", "soup", "ensemble".
        slowdown: Times that the model takes for an image what one trial takes; None where that was
            not measured, and for "best" and "soup", which take the same.
        slower: Numbers of the trials of an ensemble that has a lower validation loss, and would
            take more time than is allowed.
    """

    how: str
    members: tuple[str, ...]
    losses: dict[str, float] = field(default_factory=dict)
    slowdown: float | None = None
    slower: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.how == ENSEMBLE and len({*self.members}) == 1:
            return (
                f"Made of {len(self.members)} trainings of trial {self.members[0]} on all images, "
                f"probabilities averaged; an image takes {self.slowdown:.1f} times as long."
            )
        if not self.losses:
            return ""
        told = {way: f"{loss:.3f}" for way, loss in self.losses.items()}
        if self.how == BEST:
            notes = [
                f"Made of trial {self.members[0]} alone: its weights averaged with those of others "
                f"have no lower validation loss than its own, {told[BEST]}"
            ]
        else:
            what = "weights" if self.how == SOUP else "probabilities"
            notes = [
                f"Made of trials {_listed(self.members)}, {what} averaged: validation loss "
                f"{told[self.how]}, the best one alone {told[BEST]}"
            ]
        if self.slowdown is not None:
            notes.append(f"an image takes {self.slowdown:.1f} times as long")
        elif self.slower:
            notes.append(
                f"averaged probabilities of trials {_listed(self.slower)} {told[ENSEMBLE]}, in "
                "more time (max_slowdown)"
            )
        return "; ".join(notes) + "."


def _listed(trials: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(trials[:-1]), trials[-1])))


def members_of(
    work: Work, chosen: Ranked, ranking: Sequence[Ranked], model: keras.Model, most: int
) -> list[Member]:
    """The best trials whose weights are there and belong to one model; the chosen one first.

    Args:
        work: What all trials had in common.
        chosen: The best of them.
        ranking: All trials, the best first.
        model: The model that the chosen one is a state of, which it holds.
        most: Number of members at most.
    """
    settings = work.settings(chosen.trial.values)
    found = [Member(chosen, settings, values_of(model.variables))]
    for entry in ranking:
        trial, outcome = entry.trial, entry.trial.outcome
        # One that nothing improved on is the head, and another's twin adds nothing.
        alone = outcome is None or outcome.head_kept or trial.same_as is not None
        if entry is chosen or alone or len(found) == most:
            continue
        settings = work.settings(trial.values)
        if work.model(settings) is not model:
            continue
        try:
            found.append(Member(entry, settings, kept_weights(work, trial, model)))
        except StorageError as error:
            log.debug("Trial %s is no member: %s", trial.name, error)
    return found


class Maker:
    """Makes models of members.

    Args:
        work: What all trials had in common.
        data: The images.
        single: The model that the members are states of; it holds what was made last.
    """

    def __init__(self, work: Work, data: ImageData, single: FineTunedModel) -> None:
        self._work = work
        self._data = data
        self._single = single

    def make(self, how: str, members: Sequence[Member], states: Sequence[Values]) -> FineTunedModel:
        """A model of these states of the members."""
        if how == ENSEMBLE:
            return replace(self._single, keras_model=self._ensemble(members, states))
        assign(self._single.keras_model.variables, average(states))
        return self._single

    def _ensemble(self, members: Sequence[Member], states: Sequence[Values]) -> keras.Model:
        settings = [member.settings for member in members]
        trainer, source = self._work.trainer, self._work.trainer.source_of(self._data, settings[0])
        prepared = [trainer.prepare(one, source) for one in settings]
        depth = min(training.phases[-1].freeze_depth for _, training in prepared)
        shared, training = prepared[0]
        return ensemble(shared, training.head, depth, states)

    def choose(
        self, members: Sequence[Member], combine: str, max_slowdown: float
    ) -> tuple[FineTunedModel, Combined, list[Member]]:
        """Make the model that the validation images speak for, among those that are allowed.

        What is averaged is, where it was asked for, all members; for "auto" the best one, and of
        the others, in their order, each that lowers the validation loss of the average.

        Args:
            members: The best trials, the best first.
            combine: What is wanted, one of `COMBINE`.
            max_slowdown: Times that an image may take what it takes one trial, for "auto".

        Returns:
            The model, how it was made, and of which members.

        Source: R. Caruana et al., "Ensemble selection from libraries of models" (2004), for
        probabilities; M. Wortsman et al., "Model soups" (2022), for weights.
        """
        best = [*members[:1]]
        if len(members) < 2 or combine == BEST or "validation" not in self._data.counts:
            return self.make(BEST, best, [best[0].values]), Combined(BEST, _numbers(best)), best
        labels, said = self._said(members)
        each = [self._loss(labels, outputs) for outputs in said]

        def soup(places: Sequence[int]) -> float:
            states = [members[place].values for place in places]
            return self._measured(SOUP, [members[place] for place in places], states)

        def mean(places: Sequence[int]) -> float:
            return self._loss(labels, np.mean([said[place] for place in places], axis=0))

        made_of, losses = {BEST: best}, {BEST: each[0]}
        for how, loss in ((SOUP, soup), (ENSEMBLE, mean)):
            places = [*range(len(members))]
            if combine == "auto":
                places, lowest = _that_help(places, loss, each[0])
            else:
                lowest = loss(places)
            if len(places) > 1:
                made_of[how] = [members[place] for place in places]
                losses[how] = lowest
        if combine == SOUP and losses[SOUP] > np.mean(each):
            # Trials that went to different valleys have a mean on the hill between them.
            log.warning(
                "The averaged weights of trials %s have a validation loss of %.3f, above the %.3f "
                "of their mean: the best trial is taken alone.",
                *(_listed(_numbers(members)), losses[SOUP], np.mean(each)),
            )
            del made_of[SOUP]
        allowed = {
            "auto": [BEST, SOUP, *([ENSEMBLE] if max_slowdown > 1 else [])],
            SOUP: [SOUP] if SOUP in made_of else [BEST],
            ENSEMBLE: [ENSEMBLE],
        }[combine]
        for how in sorted([how for how in allowed if how in made_of], key=losses.__getitem__):
            used = made_of[how]
            model = self.make(how, used, [member.values for member in used])
            if how != ENSEMBLE:
                lower = losses.get(ENSEMBLE, math.inf) < losses[how]
                slower = _numbers(made_of[ENSEMBLE]) if lower else ()
                return model, Combined(how, _numbers(used), losses, slower=slower), used
            slowdown = self._slowdown(model)
            if combine == ENSEMBLE or slowdown <= max_slowdown:
                return model, Combined(how, _numbers(used), losses, slowdown), used
            log.info(
                "An ensemble of trials %s has a validation loss of %.3f, but takes %.1f times as "
                "long for an image: more than max_slowdown.",
                *(_listed(_numbers(used)), losses[ENSEMBLE], slowdown),
            )
        raise AssertionError("the best trial alone is always allowed")

    def _said(self, members: Sequence[Member]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Labels of the validation images, and what each member says of them."""
        labels, said = np.empty(0), []
        for member in members:
            model = self.make(BEST, [member], [member.values])
            labels, outputs = model.outputs(self._data, "validation")
            said.append(outputs)
        return labels, said

    def repeated(self, member: Member, times: int, max_slowdown: float) -> Combined | None:
        """How the probabilities of several trainings of one trial can be averaged.

        Returns:
            None where that takes longer than is allowed.
        """
        members, states = [member] * times, [member.values] * times
        slowdown = self._slowdown(self.make(ENSEMBLE, members, states))
        if slowdown > max_slowdown:
            return None
        return Combined(ENSEMBLE, (member.entry.trial.trial,) * times, slowdown=slowdown)

    def settled(
        self, combined: Combined, used: list[Member], states: list[Values], remarks: Remarks
    ) -> tuple[Combined, list[Member], list[Values]]:
        """What is made of trials that were trained again: of a soup that no longer holds, the best.

        Their averaged weights were measured as they were before. Trained again, on more images and
        in another order, they may have gone to different valleys.

        Args:
            combined: How they are combined.
            used: The trials, the best first.
            states: Their weights now.
            remarks: Where to say it.
        """
        if combined.how != SOUP:
            return combined, used, states
        apart = [
            self._measured(BEST, [member], [state])
            for member, state in zip(used, states, strict=True)
        ]
        together = self._measured(SOUP, used, states)
        if together <= np.mean(apart):
            return combined, used, states
        best = used[:1]
        remarks.note(
            f"Trained again on all images, trials {_listed(_numbers(used))} have no weights to "
            f"average any more: a loss of {together:.3f} on the validation images, above the "
            f"{np.mean(apart):.3f} of their mean. Trial {_listed(_numbers(best))} is taken alone."
        )
        return Combined(BEST, _numbers(best)), best, states[:1]

    def _measured(self, how: str, members: Sequence[Member], states: Sequence[Values]) -> float:
        return self._loss(*self.make(how, members, states).outputs(self._data, "validation"))

    def _slowdown(self, model: FineTunedModel) -> float:
        return self._seconds(model) / self._seconds(self._single)

    def _loss(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        task = self._single.card.task
        if self._work.trainer.calibrates(task):
            return calibrated_loss(labels, outputs, task)
        return score(labels, outputs, task).loss

    def _seconds(self, model: FineTunedModel) -> float:
        """Time for a batch of images."""
        pixels = np.zeros((pass_batch(), *self._single.card.image_size, 3), "float32")
        run = model.keras_model.predict_on_batch
        run(pixels)  # compiles
        times = []
        for _ in range(_TIMED):
            started = time.perf_counter()
            run(pixels)
            times.append(time.perf_counter() - started)
        return min(times)


def _numbers(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(member.entry.trial.trial for member in members)


def _that_help(
    places: Sequence[int], loss: Callable[[Sequence[int]], float], lowest: float
) -> tuple[list[int], float]:
    """The first, whose loss is given, each other that lowers that of the average; and that loss."""
    found = [places[0]]
    for place in places[1:]:
        together = loss([*found, place])
        if together < lowest:
            found, lowest = [*found, place], together
    return found, lowest
