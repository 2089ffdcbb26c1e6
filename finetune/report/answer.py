"""The first thing that a report says: how good, how sure of that, and whether it was worth it."""

from collections.abc import Mapping
from typing import Any

_OF = {"test": "test images", "validation": "validation images"}


def answer(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The headline of a report, and the sentences under it; None while nothing was measured.

    Args:
        facts: See `facts_of`.

    Returns:
        "score" (that of the test images, else of the folds, else of the validation images), "of"
        (which images these are), "name" and "value" of the figure, and "remarks", sentences.
    """
    figures = facts["figures"]
    if figures is None:
        return None
    folded = figures["cross_validation"]
    if figures["test"]:
        score, of = figures["test"], _OF["test"]
    elif folded:
        score, of = (
            folded,
            f"images, each asked of a model not trained on it ({folded['folds']} folds)",
        )
    else:
        score, of = figures["validation"], _OF["validation"]
    exact = score["accuracy"] is not None
    return {
        "score": score,
        "of": of,
        "name": "accuracy" if exact else "mean squared error",
        "value": score["accuracy"] if exact else score["loss"],
        "remarks": [*_leak(score), *_worth(facts, figures), *_doubts(facts, figures)],
    }


def percent(value: float | None) -> str:
    """A share as people say it.

    Example:
        >>> percent(0.7281), percent(1.0), percent(None)
        ('72.8%', '100%', '')
    """
    if value is None:
        return ""
    return "100%" if value == 1 else f"{100 * value:.1f}%"


def _leak(score: Mapping[str, Any]) -> list[str]:
    """What the figure is without copies of images that were trained on, where there are any."""
    apart = score.get("apart")
    if not apart:
        return []
    copies = score["n"] - apart["n"]
    figure = (
        f"accuracy is {percent(apart['accuracy'])}"
        if apart["accuracy"] is not None
        else f"mean squared error is {apart['loss']:.4f}"
    )
    return [
        f"{copies} of these {score['n']} images have a near or an exact copy among the images that "
        f"were trained on. On the {apart['n']} others {figure}."
    ]


def _worth(facts: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """What fine-tuning added to the head alone, where that is known."""
    verdict = figures["verdict"]
    if figures["best"] and figures["best"]["head_is_best"]:
        return ["Nothing beat the head: the model is the unchanged backbone with a trained head."]
    if verdict:
        low, high = verdict["difference"]
        said = {
            "better": "Fine-tuning is better than the head alone",
            "worse": "Fine-tuning is worse than the head alone",
        }.get(
            verdict["word"],
            f"{verdict['n']} images do not show a difference between fine-tuning and the head "
            "alone",
        )
        gain = 100 * (verdict["tuned"] - verdict["head_only"])
        return [
            f"{said}: {percent(verdict['tuned'])} against {percent(verdict['head_only'])}, "
            f"difference {gain:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] "
            f"({verdict['split']}, n={verdict['n']})."
        ]
    training = facts["training"]
    if training is None or training["kept"] is None or not training["head_best"]:
        return []
    kept, head = training["epochs"][training["kept"]], training["head_best"]
    tuned = len(training["epochs"]) > training["head_epochs"]
    if kept["phase"] == "head":
        return ["Fine-tuning did not improve on the trained head alone, which was kept."] * tuned
    if kept.get("val_accuracy") is None or head.get("val_accuracy") is None:
        return [
            f"Fine-tuning took the validation loss from {head['val_loss']:.4f} (head alone) to "
            f"{kept['val_loss']:.4f}."
        ]
    return [
        f"Fine-tuning took the accuracy on validation images from {percent(head['val_accuracy'])} "
        f"(head alone) to {percent(kept['val_accuracy'])}. These images chose the epoch, so the "
        "step looks a little larger than it is."
    ]


def _doubts(facts: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """What has to be known to judge the figure."""
    lines = []
    if not figures["test"] and not figures["cross_validation"]:
        chose = "the trial" if facts["kind"] == "search" else "the epoch"
        lines.append(
            f"There are no test images: the images of this figure chose {chose}, so it is "
            "optimistic."
        )
    elif figures["test"] and figures["validation"]["accuracy"] is not None:
        lines.append(f"On validation images it was {percent(figures['validation']['accuracy'])}.")
    if figures["refitted"]:
        lines.append(
            f"The model was then trained once more on all {figures['refitted']:,} training and "
            "validation images; figures of validation images are of the model before."
        )
    lines += figures["remarks"]
    if figures["combined"] and figures["combined"]["how"] != "best":
        what = "weights" if figures["combined"]["how"] == "soup" else "probabilities"
        members = figures["combined"]["members"]
        source = f"trials {', '.join(members)}"
        if len({*members}) == 1:
            source = f"{len(members)} trainings of trial {members[0]}"
        lines.append(f"It is made of {source}: their {what}, averaged.")
    if figures["interrupted"]:
        lines.append("The search was stopped before its end; the same command goes on.")
    return lines
