"""`finetune serve`: a page and an interface that classify images."""

from pathlib import Path
from typing import Annotated

import typer

from finetune.cli.terminal import notes, start_tensorflow
from finetune.exceptions import ArgumentError


def serve(
    model: Annotated[Path, typer.Argument(help="model.keras, or the run folder that holds it.")],
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Default: this machine alone.", show_default=False),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve a model: a page where an image is dropped, and POST /predict for programs."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"Expected starlette and uvicorn for a server, but {error.name} is not installed. Run "
            "`pip install 'keras-finetuner[serve]'`."
        ) from error
    start_tensorflow()
    from finetune.model import load
    from finetune.serve import serve as serve_model

    loaded = load(model)
    with notes(quiet=False):
        print(
            f"http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C stops it)", flush=True
        )
        serve_model(loaded, host=host, port=port)
