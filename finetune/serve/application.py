"""The application: a page for people, and an interface for programs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from finetune.exceptions import ArgumentError
from finetune.model import FineTunedModel, describe, doubts, knows_doubt
from finetune.serve.batching import Batcher, Busy
from finetune.serve.counters import Counters
from finetune.serve.interface import description
from finetune.serve.limits import Limits
from finetune.serve.reading import Refused, decode, read_body

# Nothing of the page comes from elsewhere, and nothing but what it is made of is run.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
# A client that is told to come again does so after so many seconds.
_AGAIN = 1
# Digits of a map's values: it is looked at.
_DIGITS = 4


@dataclass(frozen=True)
class _Asked:
    """An image at the model's size, and whether where it speaks for its class is asked, too."""

    pixels: np.ndarray
    mapped: bool


def create_app(
    model: FineTunedModel, *, limits: Limits | None = None, hosts: tuple[str, ...] = ("*",)
) -> Starlette:
    """Make an ASGI application of a model, for uvicorn or any other server.

    Args:
        model: From `fine_tune` or `load`.
        limits: Bounds. Default: those of `Limits`.
        hosts: Names by which the server may be asked for; where it is meant for this machine
            alone, those of this machine, so that no page elsewhere can reach it by another name.
            Default: any.

    Returns:
        GET / is the page, POST /predict takes an image file as the body; GET /model says what the
        model knows, /openapi.json describes the interface, /healthz says that it is there, and
        /metrics what it has done.
    """
    server = _Server(model, limits or Limits())
    return Starlette(
        routes=[
            *(
                Route(path, partial(_send, files("finetune.serve") / "page" / name, kind))
                for path, (name, kind) in _PAGE.items()
            ),
            Route("/predict", server.predict, methods=["POST"]),
            Route("/model", server.about),
            Route("/openapi.json", server.interface),
            Route("/healthz", server.health),
            Route("/metrics", server.metrics),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts]),
            Middleware(_WithHeaders),
        ],
        exception_handlers={HTTPException: _told_as_json},
        lifespan=server.lifespan,
    )


class _Server:
    """What requests have in common."""

    def __init__(self, model: FineTunedModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._counters = Counters()
        self._no_map = ""  # why there is none
        self._decoders = ThreadPoolExecutor(limits.decoders, "decoder")
        self._batcher = Batcher(self._look, limits, self._counters.batch)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """From the start to the end, at which all that waits is answered."""
        card = self._model.card
        # Compiled before the first one asks, and known whether there are maps.
        empty = np.zeros((1, *card.image_size, 3), np.uint8)
        try:
            await asyncio.to_thread(self._model.explain, empty)
        except ArgumentError as error:
            self._no_map = str(error)
        await self._batcher.start()
        try:
            yield
        finally:
            await self._batcher.stop()
            self._decoders.shutdown()

    def _look(self, asked: list[_Asked]) -> list[tuple[np.ndarray, Any, Any]]:
        """What the model says of images, what it pools, and the maps of those whose was asked for.

        Of an ensemble nothing is pooled; None is in its place, as in that of a map.
        """
        pixels = np.stack([one.pixels for one in asked])
        mapped = any(one.mapped for one in asked)
        found = self._model.observe(pixels, places=mapped)
        pooled = [None] * len(asked) if found.pooled is None else found.pooled
        maps = self._model.explain(None, found=found).maps if mapped else [None] * len(asked)
        return [
            (said, features, strengths if one.mapped else None)
            for said, features, strengths, one in zip(
                found.outputs, pooled, maps, asked, strict=True
            )
        ]

    async def predict(self, request: Request) -> Response:
        """Classify the image that is the body."""
        started = time.perf_counter()
        try:
            response = await self._answer(request)
        except Refused as error:
            response = _refusal(error.status, str(error))
        except Busy:
            response = _refusal(503, f"{self._limits.queue} images wait already: come again.")
            response.headers["Retry-After"] = str(_AGAIN)
        self._counters.request(response.status_code, time.perf_counter() - started)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _answer(self, request: Request) -> Response:
        top_k = _number(request, "top_k", int, least=1, most=10**6)
        threshold = _number(request, "threshold", float, least=0, most=1)
        mapped = bool(_number(request, "map", int, least=0, most=1))
        if mapped and self._no_map:
            raise Refused(422, self._no_map)
        if self._batcher.waiting >= self._limits.queue:  # before anything is decoded
            raise Busy
        body = await read_body(request, self._limits)
        card = self._model.card
        pixels = await asyncio.get_running_loop().run_in_executor(
            self._decoders, decode, body, card, self._limits
        )
        outputs, pooled, strengths = await self._batcher.ask(_Asked(pixels, mapped))
        (said,) = describe(card, outputs[np.newaxis], ["image"], threshold)
        ordered = sorted(said.probabilities.items(), key=lambda entry: -entry[1])
        answer = {"label": said.label, "probabilities": dict(ordered[:top_k])}
        if knows_doubt(card, self._model.novelty):
            features = None if pooled is None else pooled[np.newaxis]
            (doubt,) = doubts(card, self._model.novelty, outputs[np.newaxis], features)
            told = doubt.said(said.label, said.probabilities)
            answer["doubt"] = {"said": told, **doubt.to_dict()}
        if strengths is not None:
            answer["activation_map"] = np.round(strengths.astype(float), _DIGITS).tolist()
        return JSONResponse(answer)

    async def about(self, request: Request) -> Response:
        """What the model knows."""
        card = self._model.card
        return JSONResponse(
            {
                "task": card.task,
                "class_names": [*card.class_names],
                "image_size": [*card.image_size],
                "resize": card.resize,
                "activation_map": not self._no_map,
                "calibrated": card.temperature != 1.0,
                "doubt": knows_doubt(card, self._model.novelty),
                "limits": {"bytes": self._limits.bytes, "pixels": self._limits.pixels},
            }
        )

    async def interface(self, request: Request) -> Response:
        """The interface as OpenAPI has it."""
        return JSONResponse(description(self._model.card, self._limits))

    async def health(self, request: Request) -> Response:
        """That it is there."""
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """Counts, as Prometheus reads them."""
        text = self._counters.text(self._batcher.waiting)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


class _WithHeaders:
    """Adds the headers that keep a browser safe to every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _send(file: Any, kind: str, request: Request) -> Response:
    return Response(file.read_bytes(), media_type=kind)


async def _told_as_json(request: Request, error: Exception) -> Response:
    """What Starlette refuses itself, such as an unknown path."""
    assert isinstance(error, HTTPException)
    response = _refusal(error.status_code, f"{error.detail}.")
    response.headers.update(error.headers or {})
    return response


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status)


def _number(request: Request, name: str, kind: Any, *, least: float, most: float) -> Any:
    """A number of the query; None where it is not given."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        whole = "a whole number" if kind is int else "a number"
        raise Refused(
            422,
            f"Expected {name} to be {whole} from {least} to {most}, received {json.dumps(text)}.",
        )
    return value
