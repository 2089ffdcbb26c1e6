"""The `finetune` command: its commands, and what stands before them."""

from typing import Annotated

import typer

from finetune import __version__
from finetune.cli.check import check
from finetune.cli.command_line import CommandLine
from finetune.cli.compare import compare
from finetune.cli.evaluate import evaluate
from finetune.cli.explain import explain
from finetune.cli.find_rate import find_rate
from finetune.cli.fit import fit
from finetune.cli.list_backbones import list_backbones
from finetune.cli.plain_errors import with_plain_errors
from finetune.cli.predict import predict
from finetune.cli.report import report
from finetune.cli.run_demo import run_demo
from finetune.cli.search import search
from finetune.cli.serve import serve
from finetune.cli.show_board import show_board
from finetune.cli.write_export import write_export

app = typer.Typer(
    cls=CommandLine,
    help="Fine-tune a pretrained Keras backbone on a folder of images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Each with the command line that its help ends with.
_COMMANDS = (
    ("fit", fit, "finetune fit shoes/ --out runs/shoes"),
    ("check", check, "finetune check shoes/ --fix --out runs/check"),
    ("compare", compare, "finetune compare shoes/ --backbones MobileNetV2,EfficientNetB0"),
    ("search", search, "finetune search shoes/ --out runs/search --time-budget 20m"),
    ("board", show_board, "finetune board runs/search"),
    ("report", report, "finetune report runs/shoes"),
    ("predict", predict, "finetune predict runs/shoes new1.jpg more_photos/"),
    ("evaluate", evaluate, "finetune evaluate runs/shoes shoes/ --split test"),
    ("explain", explain, "finetune explain runs/shoes new.jpg --out map.png"),
    ("serve", serve, "finetune serve runs/shoes --port 8000"),
    ("export", write_export, "finetune export runs/shoes --to onnx"),
    ("lr-find", find_rate, "finetune lr-find shoes/ --out rates.png"),
    ("backbones", list_backbones, "finetune backbones"),
    ("demo", run_demo, "finetune demo --out runs/demo"),
)
for _name, _command, _example in _COMMANDS:
    app.command(_name, epilog=f"Example: {_example}")(with_plain_errors(_command))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"finetune {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: finetune fit shoes/ --out runs/shoes")
def start(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print it and exit.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Fine-tune a pretrained Keras backbone on a folder of images."""
