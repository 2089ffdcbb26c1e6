"""The backbones of a tuner: which are kept, and what is let go of."""

import gc
import weakref
from dataclasses import replace

import pytest

from finetune import FineTuner
from finetune.training import shared as shared_module
from finetune.tuning import pool as pool_module


def tuner_of(models):
    return FineTuner(models, preprocess="tf", epochs=1, head_epochs=1, freeze_depth=7)


@pytest.mark.thorough
def test_backbones_that_were_not_used_for_longest_are_let_go_of(make_backbone, monkeypatch):
    monkeypatch.setattr(pool_module, "_MOST_BACKBONES", 2)
    models = [make_backbone() for _ in range(3)]
    trainer = tuner_of(models).trainer
    settings = [replace(trainer.settings(), backbone=model) for model in models]
    first, second = (trainer.shared(one) for one in settings[:2])
    assert trainer.shared(settings[0]) is first
    gone = weakref.ref(second)
    del second
    third = trainer.shared(settings[2])
    assert gone() is None
    assert (trainer.shared(settings[0]), trainer.shared(settings[2])) == (first, third)
    gc.collect()


@pytest.mark.thorough
def test_what_was_let_go_of_is_loaded_again_and_trains_the_same_on_the_same_features(
    make_backbone, data, monkeypatch, caplog
):
    monkeypatch.setattr(pool_module, "_MOST_BACKBONES", 1)
    models = [make_backbone(), make_backbone()]
    models[1].layers[1].kernel.assign(models[1].layers[1].kernel * 1.1)
    trainer = tuner_of(models).trainer
    settings = [replace(trainer.settings(), backbone=model) for model in models]

    def losses(values):
        _, record = trainer.train(values, trainer.source_of(data, values))
        return [row["val_loss"] for row in record.epochs]

    first, other = losses(settings[0]), losses(settings[1])
    caplog.clear()
    with caplog.at_level("INFO", logger="finetune"):
        assert losses(settings[0]) == first != other
    assert not [text for text in caplog.messages if "computed in" in text]


@pytest.mark.thorough
def test_steps_that_were_not_used_for_longest_are_let_go_of(backbone, data, monkeypatch):
    monkeypatch.setattr(shared_module, "MOST_PROGRAMS", 2)
    trainer = FineTuner(
        backbone, preprocess="tf", epochs=1, head_epochs=1, freeze_depth=[3, 5, 7]
    ).trainer

    def losses(depth):
        values = replace(trainer.settings(), freeze_depth=depth)
        _, record = trainer.train(values, trainer.source_of(data, values))
        return [row["val_loss"] for row in record.epochs]

    first = losses(3)
    assert first != losses(7) and len(losses(5)) == 2
    assert len(trainer.shared(trainer.settings()).programs) == 2
    assert losses(3) == first
