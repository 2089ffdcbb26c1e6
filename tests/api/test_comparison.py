"""Which backbone to take: what is measured, how it is shown, what is suggested."""

import json
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from extras import require
from finetune import FineTuner, ImageData, compare, fine_tune, load_data
from finetune.api.comparison import Comparison, in_order, measured
from finetune.api.contenders import contenders
from finetune.backbones import COMPARED, load_backbone, weights_file
from finetune.exceptions import (
    ArgumentError,
    DataError,
    ImageSizeError,
    ModelFileError,
    UnknownBackboneError,
    WeightsError,
)
from finetune.reuse.sources import StoredSource
from finetune.support import accuracy_interval

SIZE = 16


def colours(name="colours"):
    """Its pooled features are the mean of each channel, which tells the classes of the images."""
    layers = [keras.layers.Rescaling(1.0, name=f"{name}_same"), keras.layers.ReLU()]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers], name=name)


def edges():
    """Its pooled features are what neighbours differ by: nothing of the class is left in them."""
    model = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), keras.layers.DepthwiseConv2D(2, name="differ")], name="edges"
    )
    kernel = np.zeros((2, 2, 3, 1), "float32")
    kernel[0, 0], kernel[1, 1] = 1, -1
    model.layers[0].set_weights([kernel, np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Compares in silence, in a cache of its own."""
    place = tmp_path_factory.mktemp("cache")

    def run(data, backbones, **arguments):
        options = {"preprocess": "tf", "cache_dir": place, "verbose": 0}
        return compare(data, backbones, **{**options, **arguments})

    return run


@pytest.fixture(scope="module")
def planted(run, data, tmp_path_factory):
    absent = tmp_path_factory.mktemp("absent") / "absent.keras"
    return run(data, [edges(), absent, colours()])


def test_features_that_hold_the_class_beat_those_that_do_not(planted):
    good, bad, absent = planted.backbones
    assert [one.name for one in planted.backbones] == ["colours", "edges", "absent.keras"]
    assert planted.best is good and planted.suggestion.name == "colours"
    assert good.score.accuracy > 0.95 and bad.score.accuracy < 0.6
    assert good.score.loss < 0.5 < bad.score.loss
    assert planted.difference(bad)[0] > 0
    assert absent.score is None and "No model file at" in absent.error


def test_it_is_measured_on_training_and_validation_images_alone(planted, data):
    score = planted.best.score
    counts = {name: sum(classes.values()) for name, classes in data.counts.items()}
    assert score.n == counts["train"] + counts["validation"] < sum(counts.values())
    assert score.interval == accuracy_interval(score.accuracy, score.n)
    assert planted.folds == 5


def test_sizes_are_those_of_the_whole_model(planted):
    good, bad, _ = planted.backbones
    # A head of 3 classes on 3 channels; and 12 + 3 weights of the convolution.
    assert (good.parameters, bad.parameters) == (12, 27)
    assert good.megabytes == pytest.approx(12 * 4 / 1e6, rel=0.5)
    assert (good.image_size, bad.image_size) == ((SIZE, SIZE), (SIZE, SIZE))
    assert 0 < good.milliseconds < 1000


def test_rows_are_what_json_can_hold(planted):
    rows = json.loads(json.dumps(planted.rows()))
    assert list(rows[0]) == [
        *("name", "accuracy", "interval", "loss", "n", "explained", "milliseconds"),
        *("parameters", "megabytes", "image_size", "error"),
    ]
    assert rows[0]["accuracy"] == planted.best.score.accuracy and rows[0]["error"] is None
    assert rows[2]["accuracy"] is None and rows[2]["error"] == planted.backbones[2].error


def test_a_table_of_pandas(planted, monkeypatch):
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pandas", None)
        with pytest.raises(ArgumentError, match="Expected pandas for a DataFrame"):
            planted.to_pandas()
    require("pandas")
    assert planted.to_pandas()["name"].tolist() == ["colours", "edges", "absent.keras"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_fits_the_terminal(planted, width):
    text = planted.render(width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    good = planted.best.score
    low, high = good.interval
    assert f"colours {good.accuracy:.3f} [{low:.3f}, {high:.3f}] {good.loss:.3f}" in flat
    assert f"5-fold logistic regression on the pooled features of {good.n} training and" in flat
    assert "Could not be loaded: absent.keras. No model file at" in flat
    assert "Suggestion: colours: the most accurate, accuracy" in flat
    assert ("million parameters" in flat) == (width >= 80)


# What is suggested


LABELS = np.arange(400) % 2


def answers(wrong, name, milliseconds, parameters, first=0):
    """A backbone with so many wrong answers, from some image on."""
    told = np.eye(2)[LABELS]
    told[first : first + wrong] = 1 - told[first : first + wrong]
    costs = {"milliseconds": milliseconds, "parameters": parameters}
    return measured(name, {"backbone": name}, LABELS, told, "multiclass", **costs)


def suggested(*found):
    return Comparison(in_order(found), "multiclass", 5).suggestion


def test_the_largest_of_those_not_shown_to_be_worse_is_suggested():
    best = answers(20, "best", 30.0, 2_000_000)
    large = answers(22, "large", 60.0, 9_000_000, first=100)
    small = answers(21, "small", 20.0, 1_000_000, first=100)
    found = suggested(small, best, large)
    assert found.name == "large" and found.arguments == {"backbone": "large"}
    assert re.fullmatch(
        r"large: larger than best, and not shown to be worse before fine-tuning \(0\.945 against "
        r"0\.950, 95% interval of the difference \[-0\.0\d\d, \+0\.0\d\d\]\); of equals larger "
        r"ones gained more by it\. small is 3\.0 times as quick, and as good before fine-tuning\.",
        str(found),
    )


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(answers(26, "other", 10.0, 10**9, first=100), id="more than a point less"),
        pytest.param(answers(24, "other", 10.0, 10**9), id="shown to be worse"),
        pytest.param(answers(22, "other", 29.0, 10**3, first=100), id="smaller, and no quicker"),
    ],
)
def test_the_most_accurate_is_suggested_where_none_that_is_larger_will_do(other):
    found = suggested(other, answers(20, "best", 30.0, 10**6))
    assert found.name == "best"
    assert found.reason == "the most accurate, accuracy 0.950 [0.924, 0.967] (n=400)."


def test_values_are_ordered_by_what_is_explained():
    values = np.linspace(0, 1, 50)
    half, all_of_it = (
        measured(name, {}, values, told[:, np.newaxis], "regression", milliseconds=1.0)
        for name, told in [("half", values + 0.2), ("all", values)]
    )
    found = Comparison(in_order([half, all_of_it]), "regression", 5)
    assert found.best.name == "all" and found.best.explained == 1.0
    assert half.explained == pytest.approx(1 - 0.04 / values.var())
    assert found.suggestion.reason == "the one that explains most, 1.000."
    assert "5-fold ridge regression" in str(found) and "accuracy" not in str(found)


def test_several_labels_are_not_judged_by_the_answers_that_are_right():
    """Of ten labels one applies: who names none has nine tenths of them right."""
    labels = np.eye(10)[np.arange(50) % 10]
    silent = measured("silent", {}, labels, np.full((50, 10), 1e-6), "multilabel", milliseconds=1.0)
    mean = measured("mean", {}, labels, np.full((50, 10), 0.1), "multilabel", milliseconds=1.0)
    assert mean.explained == pytest.approx(0) and silent.explained < 0
    assert in_order([silent, mean])[0].name == "mean"


# What is compared


@pytest.fixture
def passes(monkeypatch):
    """The splits that were gone through, in order."""
    seen = []
    through = StoredSource.passes
    monkeypatch.setattr(
        StoredSource, "passes", lambda self, split: seen.append(split) or through(self, split)
    )
    return seen


def test_a_fine_tuning_finds_the_features_on_disk(run, arrays, tmp_path, passes):
    options = {"seed": 3, "cache_dir": tmp_path / "cache", "verbose": 0, "validation": 0.25}
    compare(arrays, [colours()], preprocess="tf", **options)
    assert passes == ["train", "validation"]
    result = fine_tune(
        arrays, backbone=colours(), preprocess="tf", freeze_depth=1.0, refit=0,
        out=tmp_path / "run", **options
    )  # fmt: skip
    assert passes == ["train", "validation"]
    assert result.validation.accuracy > 0.9


def test_what_the_test_images_show_changes_nothing(run, arrays, tmp_path):
    losses = []
    for changed in (False, True):
        data = load_data(arrays, image_size=SIZE, test=1 / 6)
        if changed:
            data.splits["test"].images[:] = 0
            data.splits["test"].labels[:] = 0
        found = run(data, [colours()], cache_dir=tmp_path / str(changed))
        losses.append(found.best.score.loss)
    assert losses[0] == losses[1]


def test_images_of_a_folder_are_loaded_once_for_each_size(run, write_folder, monkeypatch, tmp_path):
    from finetune.api import sized_images

    sizes = []

    def load(*arguments, **options):
        sizes.append(options["image_size"])
        return load_data(*arguments, **options)

    def load_again(data, size):
        sizes.append(size)
        return at_size(data, size)

    at_size = ImageData.at_size
    monkeypatch.setattr(sized_images, "load_data", load)
    # The second size is read from what was loaded first: near copies stay where they are.
    monkeypatch.setattr(ImageData, "at_size", load_again)
    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()], name="small")
    found = run(write_folder(8), [colours("one"), small, colours("two")])
    assert sizes == [(SIZE, SIZE), (8, 8)]
    assert {one.name: one.image_size[0] for one in found.backbones} == {
        **{"one": SIZE, "two": SIZE, "small": 8}
    }


def test_every_task_is_compared(run, arrays):
    images, labels = arrays
    for task, targets in [
        ("binary", labels % 2),
        ("multilabel", np.eye(3)[labels]),
        ("regression", labels.astype("float32")),
    ]:
        best = run((images, targets), [colours()], image_size=SIZE, task=task).best
        assert (best.score.accuracy or best.explained) > 0.6
        assert (best.explained is None) == (task == "binary")


def test_names_options_weights_and_paths_are_read(tmp_path):
    (tmp_path / "lr=1").mkdir()
    given = ["MobileNet-V2", "mobilenet_v2 (alpha=0.35)=w.h5", "b/own.keras", "hub:small"]
    found = contenders([*given, str(tmp_path / "lr=1"), "MobileNetV2=w.h5"])
    assert [(one.name, one.arguments, one.architecture) for one in found] == [
        ("mobilenet_v2", {"backbone": "mobilenet_v2"}, True),
        (
            "mobilenet_v2(alpha=0.35)",
            {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": "w.h5"},
            True,
        ),
        ("own.keras", {"backbone": "b/own.keras"}, False),
        ("hub:small", {"backbone": "hub:small"}, False),
        (str(tmp_path / "lr=1"), {"backbone": str(tmp_path / "lr=1")}, False),
        ("mobilenet_v2 (2)", {"backbone": "mobilenet_v2", "weights": "w.h5"}, True),
    ]
    (mapped,) = contenders({"MobileNetV2(alpha=0.35)": "w.h5"})
    assert mapped == found[1]
    (single,) = contenders("MobileNetV3Small(minimalistic=true)")
    assert single.arguments["backbone_options"] == {"minimalistic": True}


@pytest.mark.parametrize(
    ("backbones", "error", "text"),
    [
        ([], ArgumentError, "Expected backbones to compare, received none. Name some"),
        (["MobileNetV9"], UnknownBackboneError, "Unknown backbone 'MobileNetV9'. Nearest: "),
        (["MobileNetV2(0.35)"], ArgumentError, "Expected options as alpha=0.35 in 'MobileNetV2"),
        (["MobileNetV2(alpha"], ArgumentError, r"Expected a backbone as NAME, NAME\(alpha=0.35\)"),
        (["nowhere.keras"], ModelFileError, "No model file at 'nowhere.keras'"),
        ([7], ArgumentError, "A backbone must be a name"),
        (["a.keras", "b.keras"], WeightsError, "at least one backbone.*none of 2 can:\n  a.keras:"),
    ],
)
def test_what_cannot_be_compared_is_refused(run, data, backbones, error, text):
    with pytest.raises(error, match=text):
        run(data, backbones)


def test_a_dataset_that_comes_in_another_order_in_every_pass_is_refused(run, arrays):
    images = tf.data.Dataset.from_tensor_slices(arrays)
    shuffled = images.shuffle(64, seed=0).batch(16)
    with pytest.raises(DataError) as caught:
        run(shuffled, [colours(), edges()], validation=images.batch(16))
    assert str(caught.value).startswith(
        "Expected a dataset whose images come in the same order in every pass"
    )


def test_other_arguments_are_refused(run, data, arrays, tmp_path):
    with pytest.raises(ArgumentError, match=r"no argument 'sed'\. Did you mean 'seed'\?"):
        run(data, [colours()], sed=1)
    with pytest.raises(ArgumentError, match="compare has no argument 'augment'"):
        run(data, [colours()], augment="light")
    with pytest.raises(DataError, match="nowhere"):
        run(tmp_path / "nowhere", [colours()])
    with pytest.raises(ImageSizeError, match="must be a positive number of pixels"):
        run(arrays, ["MobileNetV2=a", "ResNet50=b"], image_size=-3)


# What is on disk


def test_where_nothing_is_on_disk_it_says_what_to_do(keras_cache, data):
    with pytest.raises(WeightsError) as caught:
        compare(data, verbose=0)
    assert str(caught.value) == (
        "Expected ImageNet weights in Keras' cache to compare, but there are none of "
        f"{', '.join(COMPARED)}. Name backbones, such as backbones=['MobileNetV2', 'own.keras'] "
        "(--backbones), where a name is downloaded once; give a weights file as "
        "'MobileNetV2=FILE'; or put "
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5 or another of Keras' "
        "files into its cache."
    )


@pytest.fixture
def on_disk(keras_cache):
    """Random weights of MobileNetV2, where those of ImageNet would lie."""
    model = load_backbone("mobilenet_v2", weights=None, image_size=32).model
    model.save(keras_cache / weights_file("mobilenet_v2", (32, 32)))
    return keras_cache


@pytest.mark.thorough
def test_auto_takes_what_is_suggested_and_the_run_says_which(
    on_disk, arrays, tmp_path, monkeypatch, capsys
):
    options = {
        **{"image_size": 32, "freeze_depth": 1.0, "refit": 0, "cache_dir": tmp_path / "cache"},
        **{"backbone": "auto", "out": tmp_path / "run"},
    }
    result = fine_tune(arrays, **options)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Backbone" in line]
    # Of random weights, whatever they make of these images.
    assert line.startswith("Backbone: mobilenet_v2: the only one that could be measured, accuracy ")
    assert result.config["backbone"] == "mobilenet_v2"
    assert 'backbone = "mobilenet_v2"' in (tmp_path / "run" / "config.toml").read_text()
    mark = json.loads((tmp_path / "run" / "run.json").read_text())
    assert mark["identity"]["FineTuner"]["backbone"] == "mobilenet_v2"
    # An unfinished run is gone on with, with the backbone that it has.
    mark["finished"] = False
    (tmp_path / "run" / "run.json").write_text(json.dumps(mark))
    fine_tune(arrays, **options)
    assert "Backbone: mobilenet_v2, which this run was begun with" in capsys.readouterr().out


def test_auto_goes_with_no_weights_or_options_and_a_tuner_has_no_images_for_it(arrays, tmp_path):
    for name, value in [("weights", None), ("backbone_options", {"alpha": 0.35})]:
        with pytest.raises(ArgumentError, match=f"Expected no {name} with backbone='auto', which"):
            fine_tune(arrays, backbone="auto", out=tmp_path / "run", **{name: value})
    for backbone in ("auto", ["MobileNetV2", "auto"]):
        with pytest.raises(ArgumentError, match=r"received 'auto'.*`finetune\.compare\(data\)`"):
            FineTuner(backbone)
