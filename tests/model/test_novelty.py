"""Novelty: distances as scikit-learn has them, and a file in which nothing else can hide."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from finetune.exceptions import ModelFileError
from finetune.model.novelty import (
    MOST_IMAGES,
    NEIGHBOURS,
    Novelty,
    distances_to,
    read_novelty,
    rows_to_remember,
    unit,
    write_novelty,
)

RANDOM = np.random.default_rng(5)


def test_it_is_the_cosine_distance_to_the_fifth_neighbour():
    known, new = RANDOM.normal(size=(60, 7)), RANDOM.normal(size=(25, 7))
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(known)
    expected = nearest.kneighbors(new)[0][:, -1]
    found = distances_to(unit(known).astype("float16"), new.astype("float32"))
    assert found == pytest.approx(expected, abs=1e-3)  # float16


def test_of_fewer_images_than_neighbours_the_last_counts():
    assert distances_to(np.float16([[1, 0]]), np.float32([[0, 3]])).tolist() == [1.0]


@given(st.lists(st.floats(0, 2, width=32), min_size=20, max_size=100))
def test_whichever_image_is_the_new_one_false_alarms_are_as_seldom_as_stated(values):
    novel = []
    for place, new in enumerate(values):
        others = np.sort(np.float32([*values[:place], *values[place + 1 :]]))
        novel.append(new > Novelty(np.eye(2, dtype="float16"), others).most(0.95))
    assert np.mean(novel) <= 0.05 + 1e-12


def test_where_so_few_images_cannot_promise_it_none_is_novel():
    assert Novelty(np.eye(2, dtype="float16"), np.zeros(10, "float32")).most(0.95) == np.inf


@pytest.mark.parametrize(("images", "features"), [(5, 3), (50_000, 1280), (3000, 100_000)])
def test_what_is_remembered_is_bounded_and_spread_evenly(images, features):
    rows = rows_to_remember(images, features)
    assert len(rows) <= MOST_IMAGES and len(rows) * features <= 4_000_000
    assert rows[0] == 0 and (len(rows) == 1 or rows[-1] == images - 1)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model.keras"
    zipfile.ZipFile(path, "w").close()
    return path


def known() -> Novelty:
    vectors = unit(RANDOM.normal(size=(6, 4))).astype("float16")
    return Novelty(vectors, np.float32([0.1, 0.2, 0.4]))


def test_what_is_written_is_read(archive):
    novelty = known()
    write_novelty(archive, novelty)
    again = read_novelty(archive)
    assert np.array_equal(again.vectors, novelty.vectors)
    assert np.array_equal(again.distances, novelty.distances)


def test_a_model_that_knows_nothing_of_it_is_read_as_such(archive):
    write_novelty(archive, None)
    assert read_novelty(archive) is None


@pytest.mark.parametrize(
    ("about", "vectors", "distances", "text"),
    [
        ({"images": 6, "features": 10**12, "distances": 3}, b"", b"", "at most 4,000,000 values"),
        ({"images": 10**9, "features": 4, "distances": 3}, b"", b"", "at most 4,000,000 values"),
        ({"images": 6, "features": -4, "distances": 3}, b"", b"", "1 to 2,000 distances"),
        ({"images": 6, "features": 4, "distances": 10**9}, b"", b"", "1 to 2,000 distances"),
        ({"images": "6", "features": 4, "distances": 3}, b"", b"", "images should be a valid int"),
        ({"images": 6, "features": 4, "distances": 3}, b"\0" * 47, b"", "expected 48 bytes"),
        ({"images": 6, "features": 4, "distances": 3}, b"\0" * 10**6, b"", "at most 48 bytes"),
        (
            {"images": 1, "features": 1, "distances": 2},
            b"\0\0",
            np.float32([0.5, 0.1]).tobytes(),
            "the smallest first",
        ),
        (
            {"images": 1, "features": 1, "distances": 1},
            np.float16([np.nan]).tobytes(),
            b"\0" * 4,
            "finite numbers",
        ),
    ],
)
def test_what_is_not_what_it_says_is_refused_before_it_takes_memory(
    archive, about, vectors, distances, text
):
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("finetune.novelty.json", json.dumps(about))
        file.writestr("finetune.novelty.vectors", vectors)
        file.writestr("finetune.novelty.distances", distances)
    with pytest.raises(ModelFileError, match=text):
        read_novelty(archive)
