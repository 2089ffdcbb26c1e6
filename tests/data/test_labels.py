import numpy as np
import pytest

from finetune.data.labels import encode_labels
from finetune.exceptions import ArgumentError, DataError, TooFewClassesError


@pytest.mark.parametrize(
    ("labels", "task", "names"),
    [
        ([0, 1, 1], "binary", ["0", "1"]),
        ([[0], [1], [1]], "binary", ["0", "1"]),
        ([False, True, True], "binary", ["0", "1"]),
        ([[1, 0], [0, 1], [0, 1]], "binary", ["0", "1"]),
        (["a", "b", "b"], "binary", ["a", "b"]),
        ([b"a", b"b", b"b"], "binary", ["a", "b"]),
        (np.array([0, 1, 1], object), "binary", ["0", "1"]),
        (np.array([0, 1, 1], np.uint64), "binary", ["0", "1"]),
        ([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]], "multiclass", ["0", "1", "2"]),
    ],
)
def test_classes_become_int32_numbers(labels: list, task: str, names: list[str]):
    encoded = encode_labels(labels)
    assert encoded.values.tolist() == [0, 1, 1] and encoded.values.dtype == np.int32
    assert (encoded.task, encoded.class_names) == (task, names)


def test_the_task_can_be_said_aloud():
    assert encode_labels([0, 1], task="multiclass").task == "multiclass"
    assert encode_labels([0.0, 1.0], task="binary").values.dtype == np.int32


def test_class_names_fix_the_order():
    assert encode_labels(["a", "b"], class_names=["b", "a"]).values.tolist() == [1, 0]
    assert encode_labels([0, 1], class_names=["x", "y", "z"]).class_names == ["x", "y", "z"]


def test_multilabel_and_regression_are_float32():
    encoded = encode_labels([[1, 1, 0], [0, 0, 0]], task="multilabel")
    assert encoded.values.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert encoded.values.dtype == np.float32 and encoded.class_names == ["0", "1", "2"]
    encoded = encode_labels([[0.5], [2]], task="regression")
    assert encoded.values.tolist() == [0.5, 2] and encoded.values.dtype == np.float32
    assert encoded.class_names == []
    assert encode_labels([[1, 2], [3, 4]], task="regression").values.shape == (2, 2)


@pytest.mark.parametrize(
    ("labels", "options", "text"),
    [
        ([[1, 1], [0, 1]], {}, 'not a single 1 per row.*say task="multilabel"'),
        ([[0.2, 0.8]], {}, 'neither class numbers nor one-hot.*say task="regression"'),
        ([0.5, 1.5], {}, r'Labels are floats \(0.5..1.5\).*say task="regression"'),
        ([0.0, 1.0], {}, r"Labels are floats \(0..1\). Give class numbers as integers"),
        ([0, np.nan, np.inf], {}, "^2 labels are NaN or infinite"),
        ([-1, 0, 1], {}, "Class numbers must count from 0, got -1"),
        ([0, 1, 2**32], {}, "the largest of 3 labels is 4294967296. Number the classes from 0"),
        ([0, 1, 2**32 + 1], {"class_names": ["a", "b"]}, "class numbers up to 4294967297"),
        ([0, 1, 300_000_000], {}, "without a gap, but the largest of 3 labels is 300000000"),
        (["a", None, "b"], {}, "1 of 3 are missing or of another kind, such as None at 1"),
        (["a", "b", np.nan, None], {}, "2 of 4 are missing or of another kind, such as nan at 2"),
        (np.array(["a", np.nan], object), {}, "1 of 2 are missing or .* such as nan at 1"),
        (np.array([1, "1"], object), {}, "1 of 2 are missing or of another kind, such as 1 at 0"),
        (np.array([0.0, np.nan], object), {"task": "regression"}, "such as nan at 1"),
        ([1e300, 0], {"task": "regression"}, r"must fit float32, got 1e\+300"),
        ([0, 1, 2], {"task": "binary"}, 'needs two classes, got 3. Say task="multiclass"'),
        ([0, 1, 2], {"class_names": ["a", "b"]}, "has 2 names, but labels have class numbers up"),
        ([[1, 0, 0]], {"class_names": ["a", "b"]}, "has 2 names, but labels have 3 columns"),
        (["a", "c"], {"class_names": ["a", "b"]}, r"not in `class_names` \['a', 'b'\]: \['c'\]"),
        ([0, 1], {"class_names": ["a", "a"]}, "`class_names` holds a name twice"),
        (["a"], {"task": "regression"}, 'for task="regression" must be numbers'),
        ([0, 1], {"task": "multilabel"}, "must be a matrix of 0 and 1"),
        ([[0, 2]], {"task": "multilabel"}, r"got shape \(1, 2\) with values 0..2"),
        (np.zeros((2, 2, 2)), {}, r"must have the shape \(n,\) or \(n, k\), got \(2, 2, 2\)"),
        ([0, 1, 10**30], {}, r"must be numbers of at most 64 bits, got 1000"),
        ([[0], [0, 1]], {}, "received rows of different lengths"),
        (np.zeros(2, complex), {}, "Labels must be numbers or strings"),
    ],
)
def test_labels_that_do_not_fit_say_why(labels, options: dict, text: str):
    with pytest.raises(DataError, match=text):
        encode_labels(labels, **options)


def test_one_class_is_too_few():
    with pytest.raises(TooFewClassesError, match=r"Found 1 class \(0\); at least two are needed"):
        encode_labels([0, 0])
    with pytest.raises(TooFewClassesError, match=r"Found 1 class \(cat\)"):
        encode_labels(["cat", "cat"])


def test_an_unknown_task_is_refused():
    with pytest.raises(ArgumentError, match=r"`task` must be one of auto, binary, .*got 'detect'"):
        encode_labels([0, 1], task="detect")
