"""Studies that version 0.1.0 has begun."""

from collections.abc import Mapping
from typing import Any

from finetune.data import ImageData
from finetune.tuning import Trainer, describe, spelled_out


def translated(
    known: Mapping[str, Any], wanted: Mapping[str, Any], trainer: Trainer, data: ImageData
) -> dict[str, Any]:
    """What a study of version 0.1.0 was begun with, in today's form.

    Args:
        known: Its study.json.
        wanted: What it is to be gone on with, in today's form: of what was not recorded then it is
            taken that it is the same.
        trainer: Trains it now.
        data: The images.
    """
    before, tuner = known["settings"], {}
    for name in wanted["FineTuner"]:
        now = describe(trainer.arguments[name])
        then = before.get(name, now)
        tuner[name] = now if _may_be(then, now) else then
    tuner = {**spelled_out(tuner, trainer, data), "epochs": known["epochs"]}
    return {
        **wanted,
        "monitor": known["monitor"],
        "images": known["data"],
        "search": _from(known, wanted["search"]),
        "FineTuner": tuner,
        "load_data": {**wanted["load_data"], "batch_size": known["batch_size"]},
    }


def _from(known: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: known.get(name, value) for name, value in group.items()}


def _may_be(then: Any, now: Any) -> bool:
    """Whether a description of that version may stand for a value."""
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return all(map(_may_be, then, now))
    if not isinstance(now, Mapping):
        return then == now or (now, then) == ("its own", "_Unset")
    if "pair" in now:
        return then == now["pair"]
    # Of an object it told the name, and then its configuration, which differed with every use.
    return then == now or ("of" in now and str(then).startswith(now["of"]))
