"""What `finetune fit --explain` prints."""

from typer.testing import CliRunner

from finetune.api import explain
from finetune.cli import app


def test_every_candidate_is_listed_with_its_cost_and_one_is_chosen(make_backbone, data):
    told = explain(data, backbone=make_backbone(), preprocess="tf", freeze_depth=10, epochs=4)
    chosen = [candidate for candidate in told.candidates if candidate.remark == "chosen"]
    assert len(chosen) == 1
    assert told.candidates[0].where == "the pixels" and told.candidates[0].option.share == 1.0
    again = [candidate.option.again for candidate in told.candidates]
    assert again == sorted(again, reverse=True)
    lines = str(told).splitlines()
    assert lines[0] == f"Freeze depth 10 of 16 layers, {told.images} rows, 4 epochs"
    assert sum(line.endswith("  chosen") for line in lines) == 1


def test_where_only_the_head_is_trained_there_is_nothing_to_choose(make_backbone, data):
    told = explain(data, backbone=make_backbone(), preprocess="tf", freeze_depth=1.0)
    assert str(told).endswith("nothing but the head is trained, on features of the whole backbone.")


def test_the_command_prints_it_and_writes_nothing(make_backbone, write_folder, tmp_path):
    make_backbone().save(tmp_path / "tiny.keras")
    out = tmp_path / "run"
    options = ["--backbone", str(tmp_path / "tiny.keras"), "--preprocess", "tf", "--out", str(out)]
    done = CliRunner().invoke(app, ["fit", str(write_folder(4)), *options, "--explain"])
    assert done.exit_code == 0, done.output
    assert "features after" in done.output and "chosen" in done.output
    assert not out.exists()
