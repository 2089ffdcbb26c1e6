"""`finetune export`: a run becomes files, and the table of what they are worth is printed."""

import json
from pathlib import Path

from typer.testing import CliRunner

from finetune.cli import app
from tiny import make_images

# Small, and without the images that it was trained on.
RUN = Path(__file__).parents[1] / "legacy" / "run"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_writes_an_export_and_prints_how_it_compares(write_folder, tmp_path):
    photos = write_folder(4)
    for number, name in enumerate(("boots", "sandals", "sneakers")):
        (photos / name).rename(photos / str(number))
    out = tmp_path / "export"
    result = call("export", RUN, "--to", "savedmodel", "--data", photos, "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[0] == "runtime"
    assert [line.split()[0] for line in lines[2:4]] == ["Keras", "SavedModel"]
    assert lines[-2].startswith("On 12 images, of which the model does not know whether it was")
    assert lines[-1] == f"Written to {out}"
    record = json.loads((out / "export.json").read_text())
    assert record["proof"]["n"] == len(make_images(4)[0])


def test_errors_name_what_was_typed(tmp_path):
    out = tmp_path / "export"
    result = call("export", RUN, "--to", "savedmodel", "--precision", "int8", "--out", out)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: Expected --precision float32 for 'savedmodel', received 'int8': fewer bits are for "
        "'litert' alone.\n"
    )
    (tmp_path / "export").mkdir()
    (out / "export.json").write_text("{}")
    result = call("export", RUN, "--to", "savedmodel", "--out", out)
    assert "Replace it with --overwrite, or name another folder with --out." in result.stderr
