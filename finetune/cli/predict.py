"""`finetune predict`: what a saved model says of image files."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TextIO

import typer

from finetune.cli.terminal import start_tensorflow
from finetune.exceptions import ArgumentError
from finetune.support import bars_on, in_one_line, steps, write_whole

if TYPE_CHECKING:
    from finetune.model import Prediction, Predictions

# What a command ends with whose work is done, but for files that could not be read.
UNREADABLE = 3


class Format(str, Enum):
    """How predictions are written."""

    text = "text"
    json = "json"
    csv = "csv"


def predict(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    images: Annotated[
        list[str], typer.Argument(help='Image files, folders or patterns such as "new/**/*.jpg".')
    ],
    format: Annotated[
        Format,
        typer.Option(
            help="text; json: one object a line with path, label and probabilities; csv: a column "
            "for each class.",
        ),
    ] = Format.text,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Show so many classes, the most probable first. Default: the first alone in text, "
            "all else.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Least probability of an answer, 0 to 1: below it an image is given no label.",
            show_default=False,
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Look at each image mirrored, too, and average.")
    ] = False,
    doubt: Annotated[
        bool,
        typer.Option(
            "--doubt",
            help="Say where the model is not sure, with the classes that the image may be of, and "
            "what is like nothing in training; for models made with --calibration.",
        ),
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="With --doubt, share of images whose classes are to hold the true one, 0 to 1. "
            "Default: 0.95.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: the terminal.", show_default=False),
    ] = None,
) -> None:
    """Classify image files, any number of them.

    Files that cannot be read are listed, and the command ends with 3 in the place of 0.
    """
    start_tensorflow()
    from finetune.model import COVERAGE, load

    if coverage is not None and not doubt:
        raise ArgumentError("Expected --doubt with --coverage, received the one alone.")
    loaded = load(model)
    if top_k is not None and loaded.card.task == "regression":
        raise ArgumentError("Expected a model of classes with top_k, received one for regression.")
    write_as = _WRITERS["json" if as_json else format.value]
    options: dict[str, Any] = {"threshold": threshold, "flip": flip}
    if doubt:
        options["doubt"] = COVERAGE if coverage is None else coverage
    skipped = 0

    def classify(stream: TextIO) -> None:
        nonlocal skipped
        write = write_as(stream, top_k)
        with _progress(shown=not stream.isatty()) as progress:
            for some in loaded.predict_pieces(images, progress=progress, **options):
                write(some)
                for file in some.skipped:
                    print(f"skipped: {file}", file=sys.stderr)
                skipped += len(some.skipped)

    if out is None:
        classify(sys.stdout)
    else:
        write_whole(out, partial(_as_encoded, classify))
    if out is not None:
        print(f"Written to {out}")
    if skipped:
        told = "1 file could" if skipped == 1 else f"{skipped:,} files could"
        print(f"{told} not be read.", file=sys.stderr)
        raise typer.Exit(UNREADABLE)


def _as_encoded(write: Callable[[TextIO], None], file: IO[bytes]) -> None:
    """Have text written to a file of bytes."""
    stream = io.TextIOWrapper(file, encoding="utf-8", newline="")
    write(stream)
    stream.detach()  # which writes what is left, and leaves the file open


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal, where predictions are not shown there themselves."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with bars_on(Console(stderr=True)), steps("Classifying") as told:
        yield told


def _best(prediction: "Prediction", top_k: int | None) -> dict[str, float]:
    """The most probable classes, or all of them in their order."""
    if top_k is None:
        return prediction.probabilities
    ordered = sorted(prediction.probabilities.items(), key=lambda entry: -entry[1])
    return dict(ordered[:top_k])


def _as_text(stream: TextIO, top_k: int | None) -> Callable[["Predictions"], None]:
    def write(predictions: "Predictions") -> None:
        for prediction in predictions:
            best = _best(prediction, top_k or 1)
            label = prediction.label
            if prediction.doubt is not None:
                said = prediction.said
                if top_k is not None:
                    chances = (f"{name} {chance:.1%}" for name, chance in best.items())
                    said = "  ".join([said, *chances])
            elif top_k is not None:
                said = "  ".join(f"{name} {chance:.1%}" for name, chance in best.items())
            elif label is None:
                name, chance = next(iter(best.items()))
                said = f"not sure: {name} {chance:.1%}"
            else:
                chance = max(prediction.probabilities.values(), default=None)
                said = f"{label}" if chance is None else f"{label}  {chance:.1%}"
            print(in_one_line(f"{prediction.path}  {said}"), file=stream)

    return write


def _as_json(stream: TextIO, top_k: int | None) -> Callable[["Predictions"], None]:
    def write(predictions: "Predictions") -> None:
        for prediction in predictions:
            row = {
                "path": prediction.path,
                "label": prediction.label,
                "probabilities": _best(prediction, top_k),
            }
            if prediction.doubt is not None:
                row |= {"said": prediction.said, **prediction.doubt.to_dict()}
            print(json.dumps(row), file=stream)

    return write


def _as_csv(stream: TextIO, top_k: int | None) -> Callable[["Predictions"], None]:
    writer = csv.writer(stream)
    begun = False

    def write(predictions: "Predictions") -> None:
        nonlocal begun
        names = [*predictions.class_names]
        if not begun:
            of_classes = [f"probability of {name}" for name in names]
            ranks = range(1, min(top_k or 0, len(names)) + 1)
            of_ranks = [text for n in ranks for text in (f"class {n}", f"probability {n}")]
            of_doubt = ["said", "set", "novel", "distance"] if predictions.doubts else []
            writer.writerow(["path", "label", *of_doubt, *(of_ranks if top_k else of_classes)])
            begun = True
        for prediction in predictions:
            best = _best(prediction, top_k)
            values = [v for entry in best.items() for v in entry] if top_k else [*best.values()]
            label = prediction.label
            told = "; ".join(map(str, label)) if isinstance(label, list) else label
            writer.writerow([prediction.path, told, *_doubt_cells(prediction), *values])

    return write


def _doubt_cells(prediction: "Prediction") -> list[Any]:
    """What a table has of a doubt; nothing where it was not asked."""
    if prediction.doubt is None:
        return []
    found = prediction.doubt.to_dict()
    return [prediction.said, "; ".join(found["set"] or ()), found["novel"], found["distance"]]


_WRITERS = {"text": _as_text, "json": _as_json, "csv": _as_csv}
