"""The command `compare`: a table and a suggestion, for people and for programs."""

import json

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from tiny import build_backbone


def call(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two files of the tiny backbone."""
    place = tmp_path_factory.mktemp("models")
    for name in ("one", "other"):
        build_backbone().save(place / f"{name}.keras")
    return place


@pytest.fixture(scope="module")
def folder(write_folder):
    return write_folder(12)


def compare(folder, *names, **options):
    rest = ("--preprocess", "tf", "--seed", "0")
    return call("compare", folder, "--backbones", ",".join(map(str, names)), *rest, **options)


@pytest.mark.parametrize("columns", [60, 80])
def test_it_prints_a_table_that_fits_and_a_suggestion(folder, models, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = compare(folder, models / "one.keras", models / "other.keras")
    assert printed.exit_code == 0, printed.output
    lines = printed.stdout.splitlines()
    table = lines[
        next(n for n, line in enumerate(lines) if line.lstrip().startswith("backbone ")) :
    ]
    assert max(map(len, table)) <= columns
    assert table[0].split()[:3] == ["backbone", "accuracy", "[95%]"]
    named = [line.split()[0] for line in table if line.split()[:1] and ".keras" in line.split()[0]]
    assert sorted(named)[:2] == ["one.keras", "other.keras"]
    said = " ".join(table)
    assert "5-fold logistic regression on the pooled features of 36 training" in said
    assert "Suggestion: o" in said


def test_for_programs_it_prints_one_object_and_nothing_else(folder, models):
    printed = compare(folder, models / "one.keras", models / "absent.keras")
    assert printed.exit_code == 0, printed.output
    assert "Could not be loaded: absent.keras." in printed.stdout
    printed = call(
        *("compare", folder, "--backbones", f"{models / 'one.keras'},{models / 'absent.keras'}"),
        *("--preprocess", "tf", "--json"),
    )
    found = json.loads(printed.stdout)
    one, absent = found["backbones"]
    assert (one["name"], one["n"], one["image_size"]) == ("one.keras", 36, [16, 16])
    assert one["interval"][0] <= one["accuracy"] <= one["interval"][1]
    assert one["milliseconds"] > 0 and one["megabytes"] > 0
    assert absent["accuracy"] is None and "absent.keras" in absent["error"]
    assert found["suggestion"]["name"] == "one.keras"
    assert found["suggestion"]["reason"].startswith("the only one that could be measured")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--backbones", "mobilnet_v2"], "mobilenet_v2"),
        (["--backbone", "MobileNetV2"], "--backbones"),
        (["--backbones", ","], "Expected"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(folder, arguments, text):
    printed = call("compare", folder, *arguments)
    assert printed.exit_code != 0
    assert text in printed.output


def test_a_folder_that_is_not_there_is_said(tmp_path, models):
    printed = compare(tmp_path / "nowhere", models / "one.keras")
    assert printed.exit_code == 1
    assert "nowhere" in printed.output
