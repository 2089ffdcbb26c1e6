"""The learning-rate range test: what it suggests, what it refuses, and that it leaves no trace."""

import json
import random
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

import finetune
from finetune.api.fine_tuner import FineTuner
from finetune.api.learning_rates import (
    LearningRates,
    find_learning_rate,
    suggest_limit,
    suggest_steep,
    suggest_valley,
)
from finetune.cli.main import app
from finetune.data import load_data
from finetune.exceptions import ArgumentError, StorageError, TrainingError
from finetune.reuse.sources import StoredSource


@pytest.fixture(scope="module")
def make_tuner(make_backbone):
    def make(**arguments):
        defaults = {"preprocess": "tf", "head_epochs": 2, "epochs": 2, "freeze_depth": 10}
        return FineTuner(make_backbone(), **{**defaults, **arguments})

    return make


@pytest.fixture(scope="module")
def tuner(make_tuner):
    """Shared, so that its step is traced once."""
    return make_tuner()


@pytest.fixture(scope="module")
def found(tuner, data):
    return find_learning_rate(tuner, data, low=1e-6, high=1e4, steps=60, smoothing=0.8)


def test_the_rate_grows_by_one_factor_until_the_loss_diverges(found):
    factors = np.diff(np.log(found.rates))
    assert found.rates[0] == pytest.approx(1e-6)
    assert np.ptp(factors) < 1e-6
    assert factors[0] == pytest.approx(np.log(1e10) / 59)
    assert found.diverged
    assert len(found.rates) == len(found.losses) == len(found.batch_losses) < 60
    assert found.losses[-1] > 2 * min(found.losses)


def test_it_goes_on_to_the_highest_rate_where_nothing_diverges(tuner, data):
    found = find_learning_rate(tuner, data, high=1e-4, steps=20)
    assert not found.diverged
    assert len(found.rates) == 20
    assert found.rates[-1] == pytest.approx(1e-4)
    assert "did not diverge" in str(found)


def test_suggestions_are_rates_of_the_test_and_below_where_it_diverged(found):
    assert found.valley in found.rates
    assert found.steep in found.rates
    assert found.limit in found.rates
    assert found.valley < found.limit
    assert 1e-6 < found.valley < found.rates[-5]
    assert str(found).startswith(
        f"valley {found.valley:.1e}, steep {found.steep:.1e}, limit {found.limit:.1e} ("
    )


def test_the_same_test_gives_the_same_result(tuner, data, found):
    assert find_learning_rate(tuner, data, low=1e-6, high=1e4, steps=60, smoothing=0.8) == found


def test_losses_at_the_lowest_rates_are_those_of_a_model_that_stands_still(found):
    """What batches differ by is taken out, dropout included: only the rate's effect is left."""
    assert np.ptp(found.batch_losses[:8]) < 2e-3 * found.batch_losses[0]


def test_the_smoothed_loss_is_the_unbiased_moving_mean(tuner, data):
    found = find_learning_rate(tuner, data, high=1e-3, steps=20, smoothing=0.5)
    mean = 0.0
    for step, loss in enumerate(found.batch_losses, start=1):
        mean = 0.5 * mean + 0.5 * loss
        assert found.losses[step - 1] == pytest.approx(mean / (1 - 0.5**step))


def test_a_model_and_its_training_are_the_same_before_and_after(make_tuner, data):
    tuner = make_tuner()
    settings = tuner.trainer.settings()
    source = tuner.trainer.source_of(data, settings)
    model, first = tuner.trainer.train(settings, source)
    state = [*model.variables, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in state]
    optimizer = model.optimizer
    flags = [variable.trainable for variable in model.variables]
    layers = [layer.trainable for layer in model._flatten_layers()]
    find_learning_rate(tuner, data, steps=20)
    assert model.optimizer is optimizer
    assert [variable.trainable for variable in model.variables] == flags
    assert [layer.trainable for layer in model._flatten_layers()] == layers
    for variable, value in zip(state, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    _, second = tuner.trainer.train(settings, source)
    losses = [[row["loss"] for row in record.epochs] for record in (first, second)]
    assert losses[0] == losses[1]


def test_global_random_numbers_go_on_as_if_there_had_been_no_test(make_tuner, data):
    def draw():
        return (
            random.random(),
            np.random.random(),
            float(tf.random.uniform(())),
            float(tf.random.get_global_generator().uniform(())),
            float(keras.random.uniform(())),
            keras.initializers.GlorotUniform().seed,
        )

    keras.backend.clear_session()  # Keras 3.12 seeds its own numbers once, at their first draw
    keras.utils.set_random_seed(7)
    tf.random.set_global_generator(tf.random.Generator.from_seed(7))
    draw()
    expected = draw()
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    tf.random.set_global_generator(tf.random.Generator.from_seed(7))
    draw()
    find_learning_rate(make_tuner(), data, steps=20)
    assert draw() == expected


def test_a_layer_of_the_users_that_augments_keeps_its_random_state(make_tuner, data):
    layer = keras.layers.RandomTranslation(0.1, 0.1, seed=3)
    augmented = data.with_options(augment=layer)
    before = [np.array(v) for v in layer.variables]
    find_learning_rate(make_tuner(reuse=False), augmented, steps=20)
    assert before
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_other_settings_may_be_tested_than_the_tuners(make_tuner, data):
    tuner = make_tuner(freeze_depth=[4, 10], head_epochs=0)
    settings = tuner.trainer.settings()
    assert settings.freeze_depth == 4
    shallow = find_learning_rate(tuner, data, steps=20)
    deep = find_learning_rate(tuner, data, steps=20, settings=replace(settings, freeze_depth=10))
    assert shallow.losses[0] == pytest.approx(deep.losses[0], abs=1e-4)
    assert shallow.losses[-1] != deep.losses[-1]


def test_a_stream_is_tested_on_its_batches_as_they_come(make_tuner, data):
    splits = [
        tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        for split in (data.splits["train"], data.splits["validation"])
    ]
    streamed = load_data(splits[0], validation=splits[1], image_size=16, batch_size=16)
    found = find_learning_rate(make_tuner(head_epochs=0), streamed, high=1e-3, steps=20)
    assert len(found.rates) == 20


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"low": 0.0}, "Expected low above 0, received 0.0."),
        ({"low": 0.1, "high": 0.01}, "received low=0.1 and high=0.01"),
        (
            {"steps": 19},
            "Expected steps as a whole number of 20 or more and at most 1,000,000, received 19.",
        ),
        (
            {"steps": 25.0},
            "Expected steps as a whole number of 20 or more and at most 1,000,000, received 25.0.",
        ),
        ({"smoothing": 1.0}, "Expected smoothing of 0 or more and below 1, received 1.0."),
    ],
)
def test_arguments_that_cannot_work_are_refused(tuner, data, arguments, text):
    with pytest.raises(ArgumentError) as refusal:
        find_learning_rate(tuner, data, **arguments)
    assert text in str(refusal.value)


def test_a_depth_that_leaves_nothing_to_train_is_refused(make_tuner, data):
    with pytest.raises(ArgumentError, match=r"received 16 of 16 layers\. Give a smaller"):
        find_learning_rate(make_tuner(freeze_depth=1.0), data)


def test_a_loss_that_diverges_at_once_is_told(tuner, data):
    with pytest.raises(TrainingError, match=r"diverged after \d+ steps\. Give a lower"):
        find_learning_rate(tuner, data, low=1e3, high=1e6, steps=20)


def test_the_valley_is_half_way_down_the_longest_fall():
    rates = [10.0**power for power in range(-7, 2)]
    assert suggest_valley(rates, [9, 8.5, 9.1, 8, 7, 6, 5, 20, 30]) == 1e-4
    assert suggest_valley(rates, list(range(9))) == 1e-7  # never falls: the lowest rate


def test_steep_is_where_the_loss_falls_most_for_a_factor_on_the_rate():
    assert suggest_steep([1.0, 2.0, 4.0, 8.0], [5.0, 4.9, 3.0, 2.9]) == 2.0


def test_the_limit_is_the_last_rate_with_no_more_loss_than_at_the_start():
    assert suggest_limit([1.0, 2.0, 4.0, 8.0, 16.0], [5.0, 6.0, 3.0, 5.0, 9.0]) == 8.0
    assert suggest_limit([1.0, 2.0], [5.0, 6.0]) == 1.0


def test_the_plot_marks_the_suggestions_and_is_an_image(tmp_path):
    rates = tuple(np.geomspace(1e-7, 1e-1, 60).tolist())
    losses = tuple((1 - 0.3 * np.exp(-((np.log10(rates) + 3) ** 2))).tolist())
    found = LearningRates(rates, losses, losses, rates[30], rates[35], rates[50], diverged=False)
    path = found.plot(tmp_path / "new" / "rates.png")
    with Image.open(path) as image:
        assert image.size == (1050, 630)
    text = found.plot(tmp_path / "rates.svg").read_text()
    assert "<svg" in text


def test_a_plot_that_cannot_be_written_is_told(tmp_path):
    found = LearningRates((1e-3, 1e-2), (1.0, 2.0), (1.0, 2.0), 1e-3, 1e-3, 1e-3, diverged=False)
    with pytest.raises(ArgumentError, match="Expected a file name ending in one of"):
        found.plot(tmp_path / "rates.docx")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Could not write"):
        found.plot(tmp_path / "file" / "rates.png")


def test_it_is_there_under_the_packages_name():
    assert finetune.find_learning_rate is find_learning_rate
    assert finetune.LearningRates is LearningRates


OPTIONS = [
    *("--backbone", "mobilenet_v2", "--alpha", "0.35", "--weights", "none", "--image-size", "32"),
    *("--freeze-depth", "144", "--steps", "20", "--high", "1e-3"),
]


def call(*arguments):
    return CliRunner().invoke(app, ["lr-find", *map(str, arguments)])


def test_the_command_prints_json_alone_and_draws_the_plot(write_folder, tmp_path):
    plot = tmp_path / "rates.png"
    result = call(write_folder(8), *OPTIONS, "--json", "--out", plot)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {"rates", "losses", "batch_losses", "valley", "steep", "limit", "diverged"}
    assert len(found["rates"]) == 20
    assert found["valley"] in found["rates"]
    assert plot.stat().st_size > 10_000


def test_the_command_prints_one_line_for_people(found, write_folder, monkeypatch):
    monkeypatch.setattr("finetune.api.find_learning_rate", lambda *_, **__: found)
    result = call(write_folder(4), *OPTIONS)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{found}\n"


def test_the_command_says_what_is_wrong(tmp_path):
    result = call(tmp_path, *OPTIONS[:-4], "--steps", "3")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_what_training_kept_is_used_and_nothing_computed_again(
    make_tuner, data, tmp_path, monkeypatch
):
    tuner = make_tuner(cache_dir=tmp_path)
    settings = tuner.trainer.settings()
    tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))

    def refuse(self, split):
        raise AssertionError("gone through again")

    monkeypatch.setattr(StoredSource, "passes", refuse)
    another = make_tuner(cache_dir=tmp_path)
    assert find_learning_rate(another, data, steps=20).rates
