"""Damaged files of every kind are taken or refused: the short form of `benchmarks/fuzz.py`."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import attempt, targets

# NumPy takes a header that only Python 2 could have written, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")

# A model takes a tenth of a second to build, all else next to nothing.
EXAMPLES = {"model": 15, "image": 100}
KINDS = ("image", "study", "trial", "configuration", "state", "cache entry", "model")


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return {target.name: target for target in targets(tmp_path_factory.mktemp("sound"))}


def test_all_readers_are_tried(readers):
    assert {*readers} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_taken_or_refused_by_name(readers, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")

    @settings(
        max_examples=EXAMPLES.get(kind, 200),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.randoms(use_true_random=False))
    def attempts(source):
        attempt(readers[kind], folder, source)

    attempts()
    made = {path.name for path in folder.rglob("*") if path.is_file()}
    assert made <= {readers[kind].file.split("/")[-1], "entry.json"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_is_taken(readers, kind, tmp_path):
    target = readers[kind]
    path = tmp_path / target.file
    path.parent.mkdir(exist_ok=True)
    for content in target.seeds[: 1 if kind == "configuration" else None]:
        path.write_bytes(content)
        target.read(path)
