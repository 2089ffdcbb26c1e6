"""`finetune explain`: where images speak for what a model says of them."""

from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import start_tensorflow
from finetune.exceptions import ArgumentError

# More would not fit on a figure that can be looked at.
_MOST = 50


def explain(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    images: Annotated[list[str], typer.Argument(help="Image files, folders or patterns.")],
    out: Annotated[
        Path, typer.Option(help="Figure to write: .png, .svg, .pdf and other endings.")
    ] = Path("map.png"),
    label: Annotated[
        str | None,
        typer.Option(
            help="The class that is asked about. Default: of each image the most probable one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw where images speak for a class: their class activation maps."""
    start_tensorflow()
    from finetune.data import read_images
    from finetune.model import load
    from finetune.report import draw_maps
    from finetune.support import save_figure

    loaded = load(model)
    said = loaded.predict(images)
    if len(said) > _MOST:
        raise ArgumentError(f"Expected at most {_MOST} images to draw, received {len(said):,}.")
    maps = loaded.explain(said.paths, None if label is None else [label] * len(said))
    pixels, _ = read_images(said.paths, loaded.card.image_size, loaded.card.resize)
    titles = []
    for one, asked in zip(said, maps.labels, strict=True):
        chance = one.probabilities.get(asked)
        titles.append(f"{one.label}" if chance is None else f"{asked}  {chance:.1%}")
    save_figure(draw_maps(pixels, maps.maps, titles), out)
    print(f"Written to {out}")
