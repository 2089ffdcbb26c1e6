"""The commands of the search: `search` and `board`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli import options
from finetune.cli.terminal import none_of, notes, parse_depth, plain_errors, start_tensorflow

_SPACE = "What is searched (a value, or choices as A,B,C, or a range as LOW:HIGH)"
_BUDGET = "How long"
_MACHINES = "Where"


def parse_space(text: str) -> Any:
    """What to search, as typed: a value, choices, or a range.

    Example:
        >>> parse_space("50,100"), parse_space("1e-5:1e-3"), parse_space("block_10")
        ([50, 100], (1e-05, 0.001), 'block_10')
    """
    if "," in text:
        return [parse_depth(part.strip()) for part in text.split(",") if part.strip()]
    if ":" in text:
        return tuple(parse_depth(part.strip()) for part in text.split(":"))
    return parse_depth(text)


def search(
    data: options.Data,
    strategy: Annotated[
        str, typer.Option(help="halving, grid, random, bayesian, hyperband")
    ] = "halving",
    freeze_depth: Annotated[
        str | None,
        typer.Option(help="Default: block ends, none to all; or auto.", rich_help_panel=_SPACE),
    ] = None,
    learning_rate: Annotated[str, typer.Option(rich_help_panel=_SPACE)] = "1e-5:1e-3",
    backbone: Annotated[
        str, typer.Option(help="See `finetune backbones`.", rich_help_panel=_SPACE)
    ] = "mobilenet_v2",
    dropout: Annotated[str, typer.Option(rich_help_panel=_SPACE)] = "0.2",
    hidden_units: Annotated[str, typer.Option(rich_help_panel=_SPACE)] = "0",
    label_smoothing: Annotated[
        str | None, typer.Option(help="Default: 0.1 for classes.", rich_help_panel=_SPACE)
    ] = None,
    optimizer: Annotated[str, typer.Option(rich_help_panel=_SPACE)] = "adam",
    schedule: Annotated[str, typer.Option(rich_help_panel=_SPACE)] = "cosine",
    augment: Annotated[
        str, typer.Option(help="none, light, strong", rich_help_panel=_SPACE)
    ] = "none",
    views: Annotated[
        str, typer.Option(help="Augmented copies kept of each image.", rich_help_panel=_SPACE)
    ] = "4",
    image_size: Annotated[
        str | None, typer.Option(help="Pixels. Default: the backbone's.", rich_help_panel=_SPACE)
    ] = None,
    alpha: options.Alpha = None,
    weights: options.Weights = "imagenet",
    preprocess: options.Preprocess = None,
    max_trials: Annotated[
        int | None, typer.Option(help="Default: 12, or all of a grid.", rich_help_panel=_BUDGET)
    ] = None,
    time_budget: Annotated[
        str | None, typer.Option(help="Such as 20m or 1h30m.", rich_help_panel=_BUDGET)
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of the second phase.", rich_help_panel=_BUDGET)] = 15,
    head_epochs: Annotated[
        int, typer.Option(help="At most, of the head phase.", rich_help_panel=_BUDGET)
    ] = 60,
    executions: Annotated[
        int, typer.Option(help="Seeds for each of the best.", rich_help_panel=_BUDGET)
    ] = 1,
    keep: Annotated[int, typer.Option(help="How many are the best.", rich_help_panel=_BUDGET)] = 3,
    max_failures: Annotated[
        int, typer.Option(help="In a row, then the search stops.", rich_help_panel=_BUDGET)
    ] = 3,
    workers: Annotated[
        int, typer.Option(help="Trials at a time; needs Ray above 1.", rich_help_panel=_MACHINES)
    ] = 1,
    ray_address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, or auto.", rich_help_panel=_MACHINES)
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="Such as 0.5.", rich_help_panel=_MACHINES)
    ] = None,
    batch_size: options.BatchSize = 32,
    validation: options.Validation = 0.2,
    resize: options.Resize = "pad",
    strict: options.Strict = False,
    data_dir: options.DataDir = None,
    download: options.Download = True,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Study folder; the same one goes on. Default: in runs/.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Search freeze depth, learning rate and more; the same command goes on after a stop."""
    with plain_errors(), notes(quiet):
        start_tensorflow()
        from finetune.api import FineTuner
        from finetune.data import load_data

        own: dict[str, Any] = {} if preprocess is None else {"preprocess": none_of(preprocess)}
        augments, size = parse_space(augment), parse_space(image_size) if image_size else None
        tuner = FineTuner(
            parse_space(backbone),
            weights=none_of(weights),
            image_size=size,
            backbone_options=None if alpha is None else {"alpha": alpha},
            freeze_depth=None if freeze_depth is None else parse_space(freeze_depth),
            learning_rate=parse_space(learning_rate),
            dropout=parse_space(dropout),
            hidden_units=parse_space(hidden_units),
            label_smoothing=None if label_smoothing is None else parse_space(label_smoothing),
            optimizer=parse_space(optimizer),
            schedule=parse_space(schedule),
            views=parse_space(views),
            augment=augments if isinstance(augments, list) else None,
            epochs=epochs,
            head_epochs=head_epochs,
            seed=seed,
            **own,
        )
        images = load_data(
            data,
            image_size=tuner.shared(tuner.settings()).backbone.image_size,
            batch_size=batch_size,
            validation=validation,
            resize=resize,
            augment="none" if isinstance(augments, list) else augments,
            strict=strict,
            data_dir=data_dir,
            download=download,
            seed=seed,
        )
        if str(images.report) and not quiet:
            print(images.report)
        result = tuner.search(
            images,
            strategy=strategy,
            max_trials=max_trials,
            time_budget=time_budget,
            executions=executions,
            keep=keep,
            max_failures=max_failures,
            workers=workers,
            ray_address=ray_address,
            gpus_per_trial=gpus_per_trial,
            seed=seed,
            out=out,
            verbose=0 if quiet else 1,
        )
        if not quiet:
            print(result.summary())
            print(f"\nUse it: finetune predict {result.folder} IMAGES...")
        if result.interrupted:
            raise typer.Exit(130)


def board(
    study: Annotated[Path, typer.Argument(help="Folder that `finetune search --out` made.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="A list of trials, the best first.")
    ] = False,
) -> None:
    """Show the trials of a search, also while it runs."""
    with plain_errors(), notes(as_json):
        from finetune.search import board_rows, error_lines, rank, read_monitor, read_trials, render

        trials = read_trials(study)
        monitor = read_monitor(study)
        ranking = rank(trials, monitor)
        if as_json:
            print(json.dumps(board_rows(ranking), indent=2))
            return
        if not ranking:
            print("No trial has begun yet.")
            return
        print(render(ranking, monitor))
        for line in error_lines(ranking):
            print(line)
