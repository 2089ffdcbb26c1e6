"""`finetune check`: what is odd about images, before anything is trained on them."""

import json
from typing import Annotated, Any

import typer

from finetune.cli.derived import with_options
from finetune.cli.shared_options import Alpha, loading_options, with_alpha
from finetune.cli.signatures import merged, read_options
from finetune.cli.terminal import notes, start_tensorflow

OPTIONS = merged(
    read_options("finetune.api.checking:check", "Options"),
    loading_options("augment", "batch_size"),
    without=("data", "verbose"),
)


@with_options(OPTIONS)
def check(
    data: Annotated[str, typer.Argument(help="Image folder, or a TFDS name as tfds:NAME.")],
    alpha: Alpha = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end, and nothing else.")
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Look through images: copies, labels that look wrong, odd ones; says where to look."""
    with notes(as_json):
        start_tensorflow()
        from finetune.api import check as checked

        found = checked(data, **with_alpha(given, alpha), verbose=0 if as_json else 1)
        if as_json:
            print(json.dumps({"folder": str(found.folder), **found.to_dict()}, indent=2))
            return
        assert found.folder is not None  # always written to
        print(f"\n{found}\n\nLook at it: {found.folder / 'check.html'}")
        if given.get("fix"):
            fixes = found.folder / "fixes.csv"
            print(f"Edit {fixes}, then: finetune fit {data} --fixes {fixes}")
