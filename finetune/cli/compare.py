"""`finetune compare`: which backbone to fine-tune."""

import json
from typing import Annotated, Any

import typer

from finetune.cli.derived import with_options
from finetune.cli.shared_options import loading_options
from finetune.cli.signatures import merged, read_options
from finetune.cli.terminal import notes, say, start_tensorflow

OPTIONS = merged(
    read_options("finetune.api.backbone_choice:compare", "Options"),
    loading_options("augment"),
    without=("data", "verbose"),
)


@with_options(OPTIONS)
def compare(
    data: Annotated[str, typer.Argument(help="Image folder, or a TFDS name as tfds:NAME.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: backbones, suggestion.")
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Compare backbones on images, one pass with each: accuracy, time, size; and suggest one."""
    with notes(as_json):
        start_tensorflow()
        from finetune.api import compare as compared

        found = compared(data, **given, verbose=0 if as_json else 1)
        if as_json:
            suggestion = found.suggestion
            print(
                json.dumps(
                    {
                        "backbones": found.rows(),
                        "suggestion": {"name": suggestion.name, "reason": suggestion.reason},
                    }
                )
            )
        else:
            say("")
            say(found)
