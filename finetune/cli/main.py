"""The `finetune` command: parses, calls the API, prints. TensorFlow is loaded only to train."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli import options
from finetune.cli.search import board, search
from finetune.cli.terminal import none_of, notes, parse_depth, plain_errors, start_tensorflow

app = typer.Typer(
    help="Fine-tune a pretrained Keras backbone on a folder of images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_FIT = "Training"

_BackboneName = Annotated[
    str, typer.Option(help="Architecture (see `finetune backbones`) or .keras file.")
]
_ImageSize = Annotated[
    int | None,
    typer.Option(help="Pixels. Default: the backbone's own.", rich_help_panel=options.DATA),
]
_FreezeDepth = Annotated[
    str, typer.Option(help="Layers, fraction, or block name.", rich_help_panel=_FIT)
]


@app.command()
def fit(
    data: options.Data,
    backbone: _BackboneName = "mobilenet_v2",
    alpha: options.Alpha = None,
    weights: options.Weights = "imagenet",
    preprocess: options.Preprocess = None,
    image_size: _ImageSize = None,
    batch_size: options.BatchSize = 32,
    validation: options.Validation = 0.2,
    resize: options.Resize = "pad",
    augment: Annotated[
        str, typer.Option(help="none, light, strong", rich_help_panel=options.DATA)
    ] = "none",
    views: Annotated[
        int, typer.Option(help="Augmented copies kept of each image.", rich_help_panel=options.DATA)
    ] = 4,
    strict: options.Strict = False,
    data_dir: options.DataDir = None,
    download: options.Download = True,
    freeze_depth: _FreezeDepth = "0.35",
    learning_rate: Annotated[float, typer.Option(rich_help_panel=_FIT)] = 3e-4,
    head_learning_rate: Annotated[float, typer.Option(rich_help_panel=_FIT)] = 1e-3,
    epochs: Annotated[int, typer.Option(help="Of the second phase.", rich_help_panel=_FIT)] = 15,
    head_epochs: Annotated[
        int, typer.Option(help="At most, of the head phase.", rich_help_panel=_FIT)
    ] = 60,
    optimizer: Annotated[str, typer.Option(rich_help_panel=_FIT)] = "adam",
    schedule: Annotated[
        str,
        typer.Option(
            help="constant, exponential, piecewise, cosine, plateau", rich_help_panel=_FIT
        ),
    ] = "cosine",
    dropout: Annotated[float, typer.Option(rich_help_panel=_FIT)] = 0.2,
    hidden_units: Annotated[int, typer.Option(rich_help_panel=_FIT)] = 0,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Default: 0.1 for classes.", rich_help_panel=_FIT)
    ] = None,
    class_weight: Annotated[str | None, typer.Option(help="balanced", rich_help_panel=_FIT)] = None,
    batch_norm: Annotated[str, typer.Option(help="frozen, adapt", rich_help_panel=_FIT)] = "frozen",
    layer_decay: Annotated[float | None, typer.Option(rich_help_panel=_FIT)] = None,
    clip_norm: Annotated[float | None, typer.Option(rich_help_panel=_FIT)] = None,
    ema: Annotated[
        float | None, typer.Option(help="Momentum of averaged weights.", rich_help_panel=_FIT)
    ] = None,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", rich_help_panel=_FIT)
    ] = False,
    patience: Annotated[int | None, typer.Option(rich_help_panel=_FIT)] = None,
    reuse: Annotated[
        bool, typer.Option(help="Compute frozen layers once.", rich_help_panel=_FIT)
    ] = True,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: a new one in runs/.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Fine-tune a backbone on images; writes model, metrics and history to a run folder."""
    with plain_errors(), notes(quiet):
        start_tensorflow()
        from finetune.api import fine_tune

        own: dict[str, Any] = {} if preprocess is None else {"preprocess": none_of(preprocess)}
        result = fine_tune(
            data,
            backbone=backbone,
            backbone_options={} if alpha is None else {"alpha": alpha},
            weights=none_of(weights),
            image_size=image_size,
            batch_size=batch_size,
            validation=validation,
            resize=resize,
            augment=augment,
            views=views,
            strict=strict,
            data_dir=data_dir,
            download=download,
            freeze_depth=parse_depth(freeze_depth),
            learning_rate=learning_rate,
            head_learning_rate=head_learning_rate,
            epochs=epochs,
            head_epochs=head_epochs,
            optimizer=optimizer,
            schedule=schedule,
            dropout=dropout,
            hidden_units=hidden_units,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            batch_norm=batch_norm,
            layer_decay=layer_decay,
            clip_norm=clip_norm,
            ema=ema,
            mixed_precision=mixed_precision,
            patience=patience,
            reuse="auto" if reuse else False,
            seed=seed,
            out=out,
            verbose=0 if quiet else 1,
            **own,
        )
        if not quiet:
            print(result.summary())
            print(f"\nUse it: finetune predict {result.folder / 'model.keras'} IMAGES...")
        if result.record.interrupted:
            raise typer.Exit(130)


@app.command()
def lr_find(
    data: options.Data,
    backbone: _BackboneName = "mobilenet_v2",
    alpha: options.Alpha = None,
    weights: options.Weights = "imagenet",
    preprocess: options.Preprocess = None,
    image_size: _ImageSize = None,
    batch_size: options.BatchSize = 32,
    data_dir: options.DataDir = None,
    freeze_depth: _FreezeDepth = "0.35",
    optimizer: Annotated[str, typer.Option(rich_help_panel=_FIT)] = "adam",
    steps: Annotated[int, typer.Option(help="Optimizer steps, 20 or more.")] = 100,
    low: Annotated[float, typer.Option(help="Rate of the first step.")] = 1e-7,
    high: Annotated[float, typer.Option(help="Rate of the last step.")] = 1.0,
    seed: options.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Draw the losses to this image file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: rates, losses, suggestions.")
    ] = False,
) -> None:
    """Suggest a learning rate: train some steps with a growing one, see where the loss falls."""
    with plain_errors(), notes(as_json):
        start_tensorflow()
        from finetune.api import FineTuner, find_learning_rate
        from finetune.data import load_data

        own: dict[str, Any] = {} if preprocess is None else {"preprocess": none_of(preprocess)}
        tuner = FineTuner(
            backbone,
            backbone_options={} if alpha is None else {"alpha": alpha},
            weights=none_of(weights),
            image_size=image_size,
            freeze_depth=parse_depth(freeze_depth),
            optimizer=optimizer,
            seed=seed,
            **own,
        )
        size = tuner.shared(tuner.settings()).backbone.image_size
        images = load_data(
            data, image_size=size, batch_size=batch_size, seed=seed, data_dir=data_dir
        )
        found = find_learning_rate(tuner, images, low=low, high=high, steps=steps)
        if out is not None:
            found.plot(out)
        print(json.dumps(asdict(found)) if as_json else found)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    files: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: path, label, probabilities.")
    ] = False,
) -> None:
    """Classify image files."""
    with plain_errors():
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


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    data: options.Data,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    data_dir: options.DataDir = None,
) -> None:
    """Measure a saved model on labelled images."""
    with plain_errors():
        start_tensorflow()
        from finetune.data import load_data
        from finetune.model import load

        tuned = load(model)
        images = load_data(
            data,
            image_size=tuned.card.image_size,
            resize=tuned.card.resize,
            data_dir=data_dir,
            download=False,
        )
        print(tuned.evaluate(images, split))


@app.command()
def backbones() -> None:
    """List the architectures that can be fine-tuned."""
    from finetune.backbones import ARCHITECTURES

    for name in sorted(ARCHITECTURES):
        print(name)


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder. Default: runs/demo.")] = None,
    seed: options.Seed = 0,
) -> None:
    """Search freeze depth and learning rate on real handwritten digits; needs no network."""
    with plain_errors():
        start_tensorflow()
        from finetune.cli.demo.demo_search import run_demo

        run_demo(out or Path("runs") / "demo", seed=seed)


app.command()(search)
app.command()(board)


if __name__ == "__main__":
    app()
