"""`finetune backbones`: what can be fine-tuned by name."""

import json
from typing import Annotated

import typer


def list_backbones(
    as_json: Annotated[bool, typer.Option("--json", help="A list of names.")] = False,
) -> None:
    """List the architectures that can be fine-tuned."""
    from finetune import backbones

    names = backbones.list_backbones()
    print(json.dumps(names, indent=2) if as_json else "\n".join(names))
