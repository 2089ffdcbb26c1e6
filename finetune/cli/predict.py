"""`finetune predict`: what a saved model says of image files."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import start_tensorflow


def predict(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    files: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: path, label, probabilities.")
    ] = False,
) -> None:
    """Classify image files."""
    start_tensorflow()
    from finetune.model import load

    predictions = load(model).predict(files)
    for prediction in predictions:
        if as_json:
            print(
                json.dumps(
                    {
                        "path": prediction.path,
                        "label": prediction.label,
                        "probabilities": prediction.probabilities,
                    }
                )
            )
        else:
            chance = max(prediction.probabilities.values(), default=None)
            print(f"{prediction.path}  {prediction.label}", end="")
            print("" if chance is None else f"  {chance:.1%}")
    for file in predictions.skipped:
        print(f"skipped: {file}", file=sys.stderr)
