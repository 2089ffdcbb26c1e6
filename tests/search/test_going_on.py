"""What a study may be gone on with: the same training, further or elsewhere, and nothing else."""

import inspect
import json

import h5py
import keras
import pytest

from finetune import FineTuner, load_data
from finetune.exceptions import StudyError
from finetune.search.options import NOT_COMPARED, SearchOptions
from finetune.search.study import read_trials
from finetune.tuning.decisions import NOT_OF_DATA, NOT_OF_TUNER, deciding
from tiny import SIZE


def make_tuner(backbone, **options):
    """Four combinations that train quickly."""
    defaults = {
        "preprocess": "tf",
        "freeze_depth": [7, 10],
        "learning_rate": [1e-3, 1e-2],
        "epochs": 2,
        "head_epochs": 2,
    }
    return FineTuner(backbone, **{**defaults, **options})


@pytest.fixture(scope="module")
def shared_tuner(make_backbone):
    """One for all tests, so that equal programs are compiled once."""
    return make_tuner(make_backbone())


@pytest.fixture
def search(shared_tuner, data, tmp_path):
    """Searches a grid in the test's own folder."""

    def run(*, images=data, tuner=shared_tuner, **options):
        defaults = {"strategy": "grid", "max_trials": 1, "out": tmp_path / "study", "verbose": 0}
        return tuner.search(images, **{**defaults, **options})

    return run


def lines_of(error):
    """What an error lists as different."""
    return [line.strip() for line in str(error.value).splitlines()[1:-1]]


def test_every_parameter_decides_or_is_known_not_to(backbone, data):
    trainer = make_tuner(backbone).trainer
    trainer.source_of(data, trainer.settings())
    told = deciding(trainer, data, 2)
    parameters = {
        "FineTuner": (FineTuner, NOT_OF_TUNER),
        "load_data": (load_data, NOT_OF_DATA),
    }
    for group, (function, aside) in parameters.items():
        names = {*inspect.signature(function).parameters}
        assert {*told[group]} | {*aside} == names, group
        assert {*told[group]} & {*aside} == set(), group
        assert all(aside.values()), "each has its reason"
    given = {name: None for name in inspect.signature(FineTuner.search).parameters}
    del given["self"], given["data"]
    numbers = {"executions": 1, "keep": 1, "workers": 1, "max_failures": 3, "seed": 0}
    numbers |= {"combine": "best", "max_slowdown": 1.0}
    compared = SearchOptions(**{**given, **numbers, "callbacks": (), "strategy": "grid"}).deciding()
    assert {*compared} | {*NOT_COMPARED} == {*given}
    assert {*compared} == {"strategy", "callbacks", "seed"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"augment": "light"}, "augment: 'none' in the study, 'light' now"),
        ({"seed": 5}, "seed of load_data: 0 in the study, 5 now"),
        ({"batch_size": 4}, "batch_size: 16 in the study, 4 now"),
        ({"validation": 0.4}, "validation: 0.2 in the study, 0.4 now"),
    ],
)
def test_images_that_are_loaded_otherwise_are_refused(search, arrays, options, line):
    search()
    given = {"image_size": SIZE, "batch_size": 16, "test": 1 / 6, **options}
    with pytest.raises(StudyError) as caught:
        search(images=load_data(arrays, **given))
    assert line in lines_of(caught)


def test_the_seed_of_the_augmentation_is_compared(search, data):
    search()
    with pytest.raises(StudyError) as caught:
        search(images=data.with_options(seed=5))
    assert lines_of(caught) == ["seed of load_data: 0 in the study, 5 now"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"reuse": False}, "reuse: True in the study, False now"),
        ({"cache_dtype": "float16"}, "cache_dtype: 'float32' in the study, 'float16' now"),
        (
            {"learning_rate": (1e-3, 1e-2)},
            "learning_rate: [0.001, 0.01] in the study, (0.001, 0.01) now",
        ),
        ({"schedule": "constant"}, "schedule: 'cosine' in the study, 'constant' now"),
    ],
)
def test_a_tuner_that_trains_otherwise_is_refused(search, backbone, options, line):
    search(strategy="random")
    with pytest.raises(StudyError) as caught:
        search(strategy="random", tuner=make_tuner(backbone, **options))
    assert lines_of(caught) == [line]


def test_other_weights_of_a_model_of_ones_own_are_refused(search, make_backbone):
    search()
    other = make_backbone()
    other.layers[1].kernel.assign(other.layers[1].kernel * 0.5)
    with pytest.raises(StudyError) as caught:
        search(tuner=make_tuner(other))
    (line,) = lines_of(caught)
    assert line.startswith("backbone: tiny (content ")


def test_the_same_model_made_once_more_is_the_same(search, make_backbone, trained):
    search()
    search(tuner=make_tuner(make_backbone()))
    assert trained == ["0000"]


@pytest.mark.thorough
def test_changed_weights_under_the_same_path_are_refused(data, tmp_path):
    def tuner():
        return FineTuner(
            weights=tmp_path / "w.weights.h5",
            backbone_options={"alpha": 0.35},
            image_size=32,
            freeze_depth=[148, 154],
            learning_rate=1e-3,
            epochs=1,
            head_epochs=1,
        )

    model = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, include_top=False)
    model.save_weights(tmp_path / "w.weights.h5")
    images = load_data((data.splits["train"].images, data.splits["train"].labels), image_size=32)
    options = {"strategy": "grid", "max_trials": 1, "out": tmp_path / "study", "verbose": 0}
    tuner().search(images, **options)
    with h5py.File(tmp_path / "w.weights.h5", "a") as file:
        file["layers/conv2d/vars/0"][...] = 0.0
    with pytest.raises(StudyError) as caught:
        tuner().search(images, **options)
    (line,) = lines_of(caught)
    assert line.startswith(f"weights: {tmp_path / 'w.weights.h5'} (content ")


def test_a_layer_of_ones_own_is_compared_by_its_configuration(search, data, trained):
    def augmented(factor):
        layers = [keras.layers.RandomFlip(seed=1), keras.layers.RandomContrast(factor, seed=2)]
        return data.with_options(augment=keras.Sequential(layers))

    search(images=augmented(0.1))
    # Made anew, its layers have other names.
    search(images=augmented(0.1))
    assert trained == ["0000"]
    with pytest.raises(StudyError) as caught:
        search(images=augmented(0.2))
    assert lines_of(caught) == ["augment.layers[1].factor: [0, 0.1] in the study, [0, 0.2] now"]


def test_a_schedule_of_ones_own_is_compared_by_its_code(search, backbone, trained):
    def times(factor):
        return lambda step: 1e-3 * factor

    search(tuner=make_tuner(backbone, schedule=times(2.0)))
    search(tuner=make_tuner(backbone, schedule=times(2.0)))
    assert trained == ["0000"]
    with pytest.raises(StudyError, match="schedule: "):
        search(tuner=make_tuner(backbone, schedule=times(3.0)))


def test_callbacks_are_compared_by_what_they_are(search, tmp_path, trained):
    def logs(number):
        return keras.callbacks.CSVLogger(tmp_path / f"{number}.csv")

    stop = keras.callbacks.EarlyStopping("val_loss", patience=1)
    search(callbacks=[stop, logs(1)])
    search(callbacks=[stop, logs(2)])
    assert trained == ["0000"]
    with pytest.raises(StudyError) as caught:
        search(callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=2), logs(2)])
    assert lines_of(caught) == ["callbacks[0].patience: 1 in the study, 2 now"]


def test_only_what_differs_is_listed_and_in_full(search, backbone):
    search()
    rates = [1e-3 * number for number in range(1, 30)]
    with pytest.raises(StudyError) as caught:
        search(tuner=make_tuner(backbone, learning_rate=rates), seed=3)
    assert lines_of(caught) == [
        "seed of search: 0 in the study, 3 now",
        f"learning_rate: [0.001, 0.01] in the study, {rates} now",
    ]


def test_defaults_that_are_spelled_out_are_no_difference(search, backbone, data, trained):
    first = search()
    assert first.trials
    depths = {"freeze_depth": [7, 10], "epochs": 2}
    spelled = make_tuner(
        backbone,
        **depths,
        image_size=SIZE,
        num_classes=3,
        task="multiclass",
        label_smoothing=0.1,
        augment="none",
        mixed_precision="float32",
        reuse=True,
        cache_budget=10**9,
    )
    search(tuner=spelled, epochs=2, max_failures=5, keep=2, executions=1, callbacks=[])
    assert trained == ["0000"]


def test_default_freeze_depths_may_be_spelled_out(data, backbone, tmp_path, trained):
    options = {"strategy": "grid", "max_trials": 1, "out": tmp_path / "study", "verbose": 0}
    make_tuner(backbone, freeze_depth=None).search(data, **options)
    known = json.loads((tmp_path / "study" / "study.json").read_text())
    depths = known["FineTuner"]["freeze_depth"]
    assert len(depths) > 1
    make_tuner(backbone, freeze_depth=depths).search(data, **options)
    assert trained == ["0000"]


@pytest.mark.thorough
@pytest.mark.parametrize("strategy", ["grid", "random", "bayesian", "hyperband"])
def test_a_search_can_be_extended(search, trained, strategy):
    search(strategy=strategy, max_trials=2, epochs=4)
    before = [*trained]
    result = search(strategy=strategy, max_trials=4, epochs=4)
    assert len(result.trials) == 4
    assert not {*before} & {*trained[len(before) :]}
    assert {trial["status"] for trial in result.trials} <= {"completed", "pruned"}


@pytest.mark.thorough
def test_a_halving_is_extended_by_trials_that_are_compared_as_those_before(
    data, backbone, tmp_path
):
    tuner = make_tuner(backbone, freeze_depth=[7, 10], learning_rate=(1e-4, 1e-2), epochs=6)
    options = {"out": tmp_path / "study", "verbose": 0, "strategy": "halving"}
    tuner.search(data, max_trials=4, **options)
    before = {trial.name: trial for trial in read_trials(tmp_path / "study")}
    # With nine trials from the beginning there would be three rungs.
    result = tuner.search(data, max_trials=9, **options)
    after = {trial.name: trial for trial in read_trials(tmp_path / "study")}
    assert len(result.trials) == len(after) == 9
    rungs = {step.until for trial in after.values() for step in trial.steps}
    assert rungs == {step.until for trial in before.values() for step in trial.steps}
    for name, trial in before.items():
        assert after[name].values == trial.values
        known = {step.until: step.outcome for step in after[name].steps}
        assert {step.until: step.outcome for step in trial.steps}.items() <= known.items()
    finished = [trial.outcome.epochs == 6 for trial in after.values()]
    assert sum(finished) >= 3  # a third of nine
    assert {trial.status for trial in after.values()} == {"completed", "pruned"}


@pytest.mark.thorough
def test_fewer_trials_than_there_are_is_no_difference(search, trained):
    search(max_trials=3)
    assert len(search(max_trials=1).trials) == 3
    assert trained == ["0000", "0001", "0002"]


@pytest.mark.thorough
def test_trials_of_other_arguments_are_not_adopted_where_the_studys_own_are_lost(
    search, backbone, tmp_path, trained, caplog
):
    search(max_trials=2)
    (tmp_path / "study" / "study.json").unlink()
    result = search(max_trials=2, tuner=make_tuner(backbone, dropout=0.7))
    assert trained == ["0000", "0001"] * 2
    assert (tmp_path / "study" / "trials" / "0000.json.damaged").exists()
    assert (tmp_path / "study" / "weights" / "0001.npz.damaged").exists()
    assert "Trial 0000 in" in caplog.text and "trained with other arguments" in caplog.text
    assert {trial["status"] for trial in result.trials} == {"completed"}


def test_trials_go_on_where_the_studys_arguments_are_lost_and_given_again(
    search, tmp_path, trained
):
    first = search(max_trials=2)
    (tmp_path / "study" / "study.json").write_text("")
    assert search(max_trials=2).trials == first.trials
    assert trained == ["0000", "0001"]


def test_a_trial_that_says_nothing_of_its_arguments_is_set_aside(search, tmp_path, trained):
    search(max_trials=2)
    path = tmp_path / "study" / "trials" / "0001.json"
    content = json.loads(path.read_text())
    del content["digest"]
    path.write_text(json.dumps(content))
    search(max_trials=2)
    assert trained == ["0000", "0001", "0001"]
    assert path.with_name("0001.json.damaged").exists()


def test_a_trial_whose_values_were_changed_is_set_aside(search, tmp_path, trained):
    search(max_trials=2)
    path = tmp_path / "study" / "trials" / "0001.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "values": {**content["values"], "learning_rate": 0.5}}))
    result = search(max_trials=2)
    assert trained == ["0000", "0001", "0001"]
    assert content["values"] in [trial["hyperparameters"] for trial in result.trials]
    assert 0.5 not in {trial["hyperparameters"]["learning_rate"] for trial in result.trials}


def test_a_state_of_a_trial_that_is_lost_is_no_others(search, tmp_path, trained, caplog):
    search(max_trials=2)
    study = tmp_path / "study"
    (study / "states" / "0001.npz").write_bytes((study / "weights" / "0001.npz").read_bytes())
    (study / "trials" / "0001.json").write_text("{")
    search(max_trials=2)
    assert trained == ["0000", "0001", "0001"]
    for path in (study / "states" / "0001.npz", study / "weights" / "0001.npz"):
        assert path.with_name("0001.npz.damaged").exists()
        assert f"Of no trial of the study: {path}" in caplog.text


def test_what_killed_writers_left_is_removed(search, tmp_path):
    search()
    left = [
        tmp_path / "study" / folder / f".{name}.4711.partial"
        for folder, name in [
            (".", "study.json"),
            ("trials", "0000.json"),
            ("weights", "0000.npz"),
            ("states", "0001.npz"),
            ("heads", "abc.npz"),
        ]
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    mine = tmp_path / "study" / "notes.partial"
    mine.write_text("my own")
    search()
    assert [path for path in left if path.exists()] == []
    assert mine.exists()


@pytest.mark.parametrize("left", ["process", "study.json"])
def test_a_study_that_was_killed_in_its_first_writes_is_begun_anew(search, tmp_path, left):
    partial = tmp_path / "study" / f".{left}.73.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"half")
    result = search(strategy="grid", max_trials=1)
    assert len(result.trials) == 1 and not partial.exists()
