"""The interface for programs, as OpenAPI describes it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from finetune.model import ModelCard
from finetune.serve.limits import Limits


def description(card: ModelCard, limits: Limits) -> dict[str, Any]:
    """The interface of a server with a model.

    Args:
        card: What the model's outputs mean.
        limits: What is refused.

    Source: OpenAPI Specification 3.1.
    """
    error = _answer_of({"error": {"type": "string"}}, "Why it is refused.")
    label: dict[str, Any] = {"type": ["string", "null"]}
    if card.task == "multilabel":
        label = {"type": "array", "items": {"type": "string"}}
    if card.task == "regression":
        label = {"type": ["number", "array"]}
    answer = _answer_of(
        {
            "label": {
                **label,
                "description": "The most probable class, null where it is below the threshold; the "
                "labels from the threshold on; or the value.",
            },
            "probabilities": {
                "type": "object",
                "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
                "description": "Of each class, the most probable first.",
            },
        },
        "What the model says.",
        {
            "doubt": {
                "type": "object",
                "description": "Only of a model that knows its doubt: the answer in words (said), "
                "the classes that the image may be of (set, 95%), whether it is like nothing in "
                "training (novel), and how far from it (distance).",
            },
            "activation_map": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number"}},
                "description": "Where it was asked for: rows, from the upper left of the image at "
                "the model's size, of how much each place speaks for the most probable class; "
                "below 0 against it.",
            },
        },
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "A fine-tuned image classifier", "version": "1"},
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Classify an image: the file itself is the body.",
                    "parameters": [
                        _parameter("top_k", {"type": "integer", "minimum": 1}),
                        _parameter("threshold", {"type": "number", "minimum": 0, "maximum": 1}),
                        _parameter("map", {"type": "integer", "minimum": 0, "maximum": 1}),
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
                    },
                    "responses": {
                        "200": answer,
                        "400": error,
                        "413": _named(error, f"More than {limits.bytes:,} bytes, or pixels."),
                        "415": _named(error, "A form in the place of a file."),
                        "422": _named(error, "A parameter that is none."),
                        "503": _named(error, "Too many wait; Retry-After says when to come again."),
                    },
                }
            },
            "/model": {"get": _get("What the model knows.")},
            "/healthz": {"get": _get("That the server is there.")},
            "/metrics": {"get": _get("Counts in Prometheus' text format.", "text/plain")},
        },
    }


def _answer_of(
    properties: dict[str, Any], told: str, further: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {**properties, **further},
        "required": [*properties],
    }
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _named(answer: dict[str, Any], told: str) -> dict[str, Any]:
    return {**answer, "description": told}


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _get(told: str, kind: str = "application/json") -> dict[str, Any]:
    return {"summary": told, "responses": {"200": {"description": told, "content": {kind: {}}}}}
