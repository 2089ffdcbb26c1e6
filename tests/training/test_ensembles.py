"""Several states of one model as one: averaged weights, averaged answers."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from finetune import FineTuner
from finetune.backbones import load_backbone
from finetune.exceptions import ArgumentError
from finetune.support import assign, values_of
from finetune.training import average, ensemble


def trained(backbone, data, **settings):
    """The shared backbone, the head, and two states of the whole model, of depths 7 and 10."""
    options = {"preprocess": "tf", "epochs": 1, "learning_rate": 1e-2, "freeze_depth": [7, 10]}
    trainer = FineTuner(backbone, **options | settings).trainer
    states = []
    for depth in trainer.freeze_depths(trainer.settings()):
        values = replace(trainer.settings(), freeze_depth=depth)
        model, _ = trainer.train(values, trainer.source_of(data, values))
        # The last epoch, which may be worse than the head, and is not the head.
        model.get_layer("head").get_layer("predictions").bias.assign([0.1 * depth, 0, 0])
        states.append(values_of(model.variables))
    shared, training = trainer.prepare(values, trainer.source_of(data, values))
    return shared, training.head, states


def said_by(model, data):
    return np.asarray(model(data.splits["test"].images.astype("float32")))


def test_averages_keep_types_and_leave_what_is_no_number_of_its_own():
    one = [np.float32([1.0, 2.0]), np.array([7], "uint32")]
    other = [np.float32([3.0, 5.0]), np.array([9], "uint32")]
    mean = average([one, other])
    assert mean[0].dtype == np.float32
    np.testing.assert_array_equal(mean[0], [2.0, 3.5])
    np.testing.assert_array_equal(mean[1], [7])
    for value, same in zip(average([one]), one, strict=True):
        np.testing.assert_array_equal(value, same)


def test_an_ensemble_says_the_mean_and_runs_what_is_frozen_once(make_backbone, data, tmp_path):
    shared, head, states = trained(make_backbone(), data)
    model = shared.assembly(head).model
    expected = []
    for values in states:
        assign(model.variables, values)
        expected.append(said_by(model, data))
    together = ensemble(shared, head, 7, states)
    np.testing.assert_allclose(said_by(together, data), np.mean(expected, axis=0), atol=1e-6)
    for value, same in zip(values_of(model.variables), states[-1], strict=True):
        np.testing.assert_array_equal(value, same)  # the model itself stays as it was
    # The first seven layers are there once, the others twice.
    trunk = sum(layer.count_params() for layer in shared.backbone.model.layers[:7])
    rest = model.count_params() - trunk
    assert together.count_params() == trunk + 2 * rest
    together.save(tmp_path / "model.keras")
    before = said_by(together, data)
    assign(model.variables, [0 * value for value in values_of(model.variables)])
    np.testing.assert_array_equal(said_by(together, data), before)
    np.testing.assert_array_equal(
        said_by(keras.models.load_model(tmp_path / "model.keras"), data), before
    )


@pytest.mark.parametrize("kind", ["from the pixels on", "no graph to split"])
def test_where_nothing_is_in_common_every_member_runs_whole(make_backbone, twice_named, data, kind):
    own = kind == "no graph to split"
    depths = {"freeze_depth": [1, 2]} if own else {}
    shared, head, states = trained(twice_named if own else make_backbone(), data, **depths)
    together = ensemble(shared, head, 1 if own else 0, states)
    model = shared.assembly(head).model
    assert together.count_params() == 2 * model.count_params()
    expected = []
    for values in states:
        assign(model.variables, values)
        expected.append(said_by(model, data))
    np.testing.assert_allclose(said_by(together, data), np.mean(expected, axis=0), atol=1e-6)


def test_an_ensemble_is_nothing_to_go_on_from(make_backbone, data):
    shared, head, states = trained(make_backbone(), data)
    with pytest.raises(ArgumentError, match=r"one backbone to go on from, received an ensemble"):
        load_backbone(ensemble(shared, head, 7, states), preprocess=None)
