"""`finetune search`: from images and a budget to the best model."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from finetune.cli.command_line import STOPPED
from finetune.cli.config import with_config
from finetune.cli.derived import with_options
from finetune.cli.shared_options import (
    Alpha,
    Config,
    Data,
    MLflow,
    Quiet,
    TensorBoard,
    loading_options,
    training_options,
    with_alpha,
    with_tensorboard,
)
from finetune.cli.signatures import Option, merged, read_options
from finetune.cli.terminal import notes, say, start_tensorflow, tell_report
from finetune.search import parse_seconds
from finetune.support import time_limit

if TYPE_CHECKING:
    from finetune.search import SearchResult

_SPACE = "What is searched (a value, choices as A,B,C, or a range as LOW:HIGH)"

_SEARCH = merged(
    read_options("finetune.api.fine_tuner:FineTuner.search", "Options"),
    without=("data", "epochs", "seed", "verbose"),
)
_TRAINING = tuple(
    replace(option, panel=_SPACE) if option.searchable else option
    for option in training_options("augment")
)
_LOADING = loading_options("image_size", "seed", "task", "augment")
# A way of augmenting is one of the images as they are loaded, several are to be searched.
_AUGMENT = tuple(
    replace(option, searchable=True, panel=_SPACE)
    for option in loading_options()
    if option.name == "augment"
)
OPTIONS = merged(_SEARCH, _TRAINING, _AUGMENT, _LOADING)


@with_options(OPTIONS)
def search(
    data: Data = None,
    alpha: Alpha = None,
    config: Config = None,
    tensorboard: TensorBoard = None,
    mlflow: MLflow = None,
    quiet: Quiet = False,
    *,
    given: dict[str, Any],
) -> None:
    """Search freeze depth, learning rate and more; the same command goes on after a stop."""
    with notes(quiet):
        source, options = with_config(config, OPTIONS, data, given)
        # From here on, so that what comes before the search counts, decoding images above all.
        with time_limit(parse_seconds(options.get("time_budget"))):
            result = _search(source, with_alpha(options, alpha), tensorboard, mlflow, quiet)
        if mlflow is not None:
            from finetune.api import log_to_mlflow

            log_to_mlflow(result, mlflow)
        if not quiet:
            say(result)
            tell_report(result.folder)
            say(f"Use it: finetune predict {result.folder} IMAGES...")
        if result.interrupted:
            raise typer.Exit(STOPPED)


def _search(
    source: Any,
    options: dict[str, Any],
    tensorboard: Path | None,
    mlflow: str | None,
    quiet: bool,
) -> "SearchResult":
    start_tensorflow(deterministic=options.get("deterministic", False))
    from finetune.api import FineTuner, check_mlflow
    from finetune.checks import remarks_on
    from finetune.data import load_data

    if mlflow is not None:
        check_mlflow()
    training = _of(options, *_TRAINING)
    loading = _of(options, *_LOADING, "augment", "seed", "task")
    if isinstance(loading.get("augment"), list):
        training["augment"] = loading.pop("augment")
    tuner = FineTuner(**training)
    size = tuner.trainer.shared(tuner.trainer.settings()).backbone.image_size
    images = load_data(source, image_size=size, **loading)
    if not quiet:
        for line in remarks_on(images):
            say(line)
    of_search = with_tensorboard(_of(options, *_SEARCH, "seed"), tensorboard)
    return tuner.search(images, **of_search, verbose=0 if quiet else 1)


def _of(options: dict[str, Any], *group: Option | str) -> dict[str, Any]:
    """Those of the options that are of a group."""
    names = {option if isinstance(option, str) else option.name for option in group}
    return {name: value for name, value in options.items() if name in names}
