"""`finetune fit`: from images to a fine-tuned model in one command."""

import json
from dataclasses import replace
from typing import Any

import typer

from finetune.cli.command_line import STOPPED
from finetune.cli.config import with_config
from finetune.cli.derived import with_options
from finetune.cli.shared_options import (
    TRAINING,
    Alpha,
    AsJson,
    Config,
    Data,
    Explain,
    MLflow,
    Quiet,
    TensorBoard,
    fixed,
    loading_options,
    training_options,
    with_alpha,
    with_tensorboard,
)
from finetune.cli.signatures import merged, read_options
from finetune.cli.terminal import notes, say, start_tensorflow, tell_report

# Of what both take, `FineTuner` describes the image size and the seed, as in `fine_tune`.
_OWN = read_options("finetune.api.one_call:fine_tune", TRAINING)
OPTIONS = merged(
    (replace(option, panel="Options") for option in _OWN if option.name == "out"),
    _OWN,
    loading_options("image_size", "seed"),
    fixed(training_options()),
    without=("data", "verbose"),
)


@with_options(OPTIONS)
def fit(
    data: Data = None,
    alpha: Alpha = None,
    config: Config = None,
    explain: Explain = False,
    tensorboard: TensorBoard = None,
    mlflow: MLflow = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Fine-tune a backbone on images; writes model, metrics and history to a run folder."""
    quiet = quiet or as_json
    with notes(quiet):
        images, options = with_config(config, OPTIONS, data, given)
        start_tensorflow(deterministic=options.get("deterministic", False))
        from finetune.api import check_mlflow, fine_tune, log_to_mlflow
        from finetune.api import explain as explained

        if mlflow is not None:
            check_mlflow()
        if explain:
            for name in ("out", "overwrite"):
                options.pop(name, None)
            print(explained(images, **with_alpha(options, alpha)))
            return
        options = with_tensorboard(with_alpha(options, alpha), tensorboard)
        result = fine_tune(images, verbose=0 if quiet else 1, **options)
        if mlflow is not None:
            log_to_mlflow(result, mlflow)
        if not quiet:
            say(result)
            tell_report(result.folder)
            say(f"Use it: finetune predict {result.folder / 'model.keras'} IMAGES...")
        if as_json:
            print(json.dumps({"folder": str(result.folder), **result.metrics()}, indent=2))
        if result.record.interrupted:
            raise typer.Exit(STOPPED)
