"""Messages that name arguments as Python spells them, as a command line says them."""

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.cli.flags import as_flags


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Name another one with out= (--out).", "Name another one with --out."),
        ("Expected `out` (--out) outside", "Expected --out outside"),
        ("name another place with cache_dir (or", "name another place with --cache-dir (or"),
        ("Choose a smaller `image_size`, or", "Choose a smaller --image-size, or"),
        ("Load the data with validation=0.2.", "Load the data with --validation 0.2."),
        ("limit the gradients with clip_norm=1.0.", "limit the gradients with --clip-norm 1.0."),
        ("leave them out with strict=False.", "leave them out with --no-strict."),
        ("`download=False` forbids to fetch it", "--no-download forbids to fetch it"),
        ('say task="multilabel".', "say --task multilabel."),
        ("such as learning_rate=(1e-5, 1e-3), or", "such as --learning-rate 1e-5:1e-3, or"),
        ("give freeze_depth=[0, 50] to search", "give --freeze-depth 0,50 to search"),
        (
            "Expected dropout of 0 or more and below 1",
            "Expected --dropout of 0 or more and below 1",
        ),
        (
            "Expected optimizer to be one of ('adam', 'sgd'), received 'x'.",
            "Expected --optimizer to be one of adam, sgd, received 'x'.",
        ),
        (
            "Expected augment to be one of ('none', 'flip') or a Keras layer, received 'x'.",
            "Expected --augment to be one of none, flip, received 'x'.",
        ),
        ("`finetune.list_backbones()` lists all names", "`finetune backbones` lists all names"),
        ("or pass None for random ones", "or pass none for random ones"),
        ("None of these images chose the epoch.", None),
        ("Expected images of one size", None),
        ("The validation images hold no seed, out of 5 epochs", None),
        ("No file at /tmp/cache_dir/image_size.png or image_size.json", None),
        ("Expected num_things and class_weights", None),
    ],
)
def test_arguments_are_named_as_they_are_typed(text: str, spelled: str | None):
    assert as_flags(text) == (text if spelled is None else spelled)


def test_an_error_of_a_command_names_what_was_typed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    arguments = ["fit", str(tmp_path), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.replace("\n", "") == (
        f"Error: Expected --out outside the images, but {tmp_path}/run lies in {tmp_path}: its "
        "folders would be taken for classes. Name another place."
    )
