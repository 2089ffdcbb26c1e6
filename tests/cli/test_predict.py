"""`finetune predict`: formats, thresholds, and any number of files."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from finetune.cli import app
from finetune.model import FineTunedModel, ModelCard, PredictionSets, pictures
from tiny import build_colour_model

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


def call(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    card = ModelCard("multiclass", ("red", "green", "blue"), (8, 8), "squash")
    path = tmp_path_factory.mktemp("model") / "model.keras"
    return FineTunedModel(build_colour_model(), card).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def doubting(tmp_path_factory):
    sets = PredictionSets(tuple(np.linspace(0.3, 0.99, 39)))
    card = ModelCard("multiclass", ("red", "green", "blue"), (8, 8), "squash", sets=sets)
    path = tmp_path_factory.mktemp("doubting") / "model.keras"
    return FineTunedModel(build_colour_model(), card).save(path)


# softmax of (1, 0, 0)
SURE, REST = np.e / (np.e + 2), 1 / (np.e + 2)


def test_patterns_name_files_and_one_without_a_file_is_an_error(model, photos):
    result = call(model, photos / "*.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{photos / 'blue.png'}  blue  57.6%",
        f"{photos / 'red.png'}  red  57.6%",
    ]
    missing = call(model, photos / "*.jpg")
    assert missing.exit_code == 1
    said = " ".join(missing.stderr.split())
    assert said == f"Error: No file or folder is as the pattern {photos / '*.jpg'} says."


def test_the_most_probable_classes_come_first(model, photos):
    lines = call(model, photos / "red.png", "--top-k", 2).stdout.splitlines()
    assert lines == [f"{photos / 'red.png'}  red 57.6%  green 21.2%"]
    [row] = map(
        json.loads, call(model, photos / "red.png", "--top-k", 1, "--json").stdout.split("\n")[:1]
    )
    assert row["probabilities"] == {"red": pytest.approx(SURE, abs=1e-6)}


def test_an_answer_below_the_threshold_is_not_given(model, photos):
    result = call(model, photos / "red.png", "--threshold", "0.6")
    assert result.stdout == f"{photos / 'red.png'}  not sure: red 57.6%\n"
    [line] = call(
        model, photos / "red.png", "--threshold", "0.6", "--format", "json"
    ).stdout.splitlines()
    assert json.loads(line)["label"] is None
    assert call(model, photos / "red.png", "--threshold", "0.5").stdout.endswith("red  57.6%\n")
    assert "Expected threshold" in call(model, photos, "--threshold", "nan").stderr


def test_a_table_has_a_column_for_each_class_or_each_rank(model, photos):
    rows = list(csv.reader(io.StringIO(call(model, photos, "--format", "csv").stdout)))
    assert rows[0] == [
        *("path", "label"),
        *(f"probability of {name}" for name in ("red", "green", "blue")),
    ]
    assert rows[1][:2] == [str(photos / "blue.png"), "blue"]
    assert list(map(float, rows[1][2:])) == pytest.approx([REST, REST, SURE], abs=1e-6)
    ranked = call(model, photos, "--format", "csv", "--top-k", 2).stdout.splitlines()
    assert ranked[0] == "path,label,class 1,probability 1,class 2,probability 2"
    assert ranked[1].startswith(f"{photos / 'blue.png'},blue,blue,0.57")


def test_a_file_is_written_whole_and_says_what_the_terminal_would(model, photos, tmp_path):
    out = tmp_path / "new" / "answers.jsonl"
    result = call(model, photos, "--json", "--out", out)
    assert result.stdout == f"Written to {out}\n"
    assert out.read_text() == call(model, photos, "--json").stdout
    assert [path.name for path in out.parent.iterdir()] == ["answers.jsonl"]
    (tmp_path / "file").touch()
    refused = call(model, photos, "--out", tmp_path / "file" / "answers.csv")
    assert refused.exit_code == 1 and "Could not write" in refused.stderr


def test_where_no_file_can_be_read_nothing_is_written(model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    result = call(model, tmp_path / "broken.png", "--out", tmp_path / "answers.txt")
    assert result.exit_code == 1
    assert "Expected at least one readable image" in result.stderr
    assert not (tmp_path / "answers.txt").exists()


def test_a_mirrored_look_is_averaged_in(model, tmp_path):
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.paste((0, 0, 255), (4, 0, 8, 8))
    image.save(tmp_path / "half.png")
    [line] = call(model, tmp_path / "half.png", "--flip", "--json").stdout.splitlines()
    expected = {"red": (SURE + REST) / 2, "green": REST, "blue": (SURE + REST) / 2}
    assert json.loads(line)["probabilities"] == pytest.approx(expected, abs=1e-6)


def test_many_files_are_read_a_piece_at_a_time_in_their_order(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_PIECE", 4)
    reads = []
    monkeypatch.setattr(
        pictures,
        "read_images",
        lambda files, *rest, read=pictures.read_images: (
            reads.append(len(files)) or read(files, *rest)
        ),
    )
    for number in range(10):
        colour = (255, 0, 0) if number % 3 else (0, 0, 255)
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_bytes(b"no image")
    result = call(model, tmp_path, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    readable = [number for number in range(10) if number != 5]
    assert [row["path"] for row in rows] == [str(tmp_path / f"{n}.png") for n in readable]
    assert [row["label"] for row in rows] == ["red" if n % 3 else "blue" for n in readable]
    assert (result.exit_code, reads) == (3, [4, 4, 2])


def test_a_name_cannot_command_the_terminal(model, photos, tmp_path):
    path = tmp_path / "a\x1b[2Jb\n.png"
    path.write_bytes((photos / "red.png").read_bytes())
    assert call(model, path).stdout == f"{tmp_path}/a?[2Jb?.png  red  57.6%\n"


def test_doubt_is_told_in_every_format(doubting, photos, tmp_path):
    Image.new("RGB", (8, 8), (255, 200, 0)).save(tmp_path / "mixed.png")
    images = (photos / "red.png", tmp_path / "mixed.png")
    assert call(doubting, *images, "--doubt").stdout.splitlines() == [
        f"{images[0]}  red (0.58)",
        f"{images[1]}  not sure: red or green",
    ]
    shown = call(doubting, images[1], "--doubt", "--top-k", 1).stdout
    assert shown.startswith(f"{images[1]}  not sure: red or green  red ")
    one, two = map(json.loads, call(doubting, *images, "--doubt", "--json").stdout.splitlines())
    assert (one["said"], one["set"], one["novel"]) == ("red (0.58)", ["red"], None)
    assert (two["label"], two["set"]) == ("red", ["red", "green"])
    rows = list(
        csv.DictReader(io.StringIO(call(doubting, *images, "--doubt", "--format", "csv").stdout))
    )
    assert [row["set"] for row in rows] == ["red", "red; green"]
    assert [row["novel"] for row in rows] == ["", ""] and "probability of blue" in rows[0]


def test_another_coverage_names_other_classes(doubting, photos, tmp_path):
    Image.new("RGB", (8, 8), (255, 200, 0)).save(tmp_path / "mixed.png")
    sure = call(doubting, tmp_path / "mixed.png", "--doubt", "--coverage", 0.8).stdout
    assert sure.endswith("red (0.46)\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--coverage", 0.9], "Expected --doubt with --coverage, received the one alone."),
        (["--doubt", "--coverage", 0.999], "Expected a coverage of at most 0.975, received 0.999"),
        (["--doubt", "--flip"], "Expected doubt or flip, received both"),
    ],
)
def test_doubt_that_cannot_be_told_is_an_error(doubting, photos, options, text):
    result = call(doubting, photos, *options)
    assert result.exit_code == 1 and text in " ".join(result.stderr.split())


def test_a_model_that_knows_no_doubt_says_how_to_train_one_that_does(model, photos):
    result = call(model, photos, "--doubt")
    assert result.exit_code == 1 and "--calibration 0.5" in " ".join(result.stderr.split())
