"""Studies that version 0.1.0 has begun."""

from collections.abc import Mapping
from typing import Any

from finetune.data import ImageData
from finetune.search.saved import Beginning, OldBeginning
from finetune.tuning import Trainer, describe, spelled_out

# Its cosine's, which could not be chosen.
_WARM_UP = 0.1


def translated(
    known: OldBeginning, wanted: Beginning, trainer: Trainer, data: ImageData
) -> Beginning:
    """What a study of version 0.1.0 was begun with, in today's form.

    Args:
        known: Its study.json.
        wanted: What it is to be gone on with: of what was not recorded then it is taken that it is
            the same.
        trainer: Trains it now.
        data: The images.
    """
    tuner = {}
    for name in wanted.FineTuner:
        now = describe(trainer.arguments[name])
        then = known.settings.get(name, now)
        tuner[name] = now if _may_be(then, now) else then
    # It knew no other head, and measured validation images with label smoothing. Among equal
    # accuracies that hardly matters; rungs compare nothing else.
    tuner["select"] = known.monitor
    tuner["head_optimizer"] = known.settings.get("optimizer", "adam")
    tuner["warm_up"] = _WARM_UP
    spelled = spelled_out(tuner, trainer, data)
    if known.strategy == "halving" and spelled["label_smoothing"]:
        spelled["label_smoothing"] = f"{spelled['label_smoothing']}, also of validation images"
    return Beginning(
        monitor=known.monitor,
        search={**wanted.search, "strategy": known.strategy, "seed": known.seed},
        FineTuner={**spelled, "epochs": known.epochs},
        load_data={**wanted.load_data, "batch_size": known.batch_size},
        images=known.data,
        begun_with=known.begun_with,
    )


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
