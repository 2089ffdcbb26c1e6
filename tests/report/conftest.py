"""Runs of tiny models, and what their reports say."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.api.one_call import fine_tune
from finetune.api.result import FineTuneResult
from tiny import EVIL, make_images


@pytest.fixture(scope="package")
def tune(make_backbone, tmp_path_factory) -> Callable[..., FineTuneResult]:
    """Fine-tunes the tiny backbone for two epochs, in silence."""

    def run(data: Any, **arguments: Any) -> FineTuneResult:
        defaults = {
            "preprocess": "tf",
            "freeze_depth": 10,
            "head_epochs": 3,
            "epochs": 2,
            "learning_rate": 1e-2,
            "image_size": 16,
            "batch_size": 16,
            "augment": "none",
            "out": tmp_path_factory.mktemp("run"),
            "verbose": 0,
        }
        return fine_tune(data, backbone=make_backbone(), **{**defaults, **arguments})

    return run


@pytest.fixture(scope="package")
def result(tune) -> FineTuneResult:
    """Of three classes, one of which has a name that would act if it were let."""
    images, labels = make_images(16)
    names = np.array(["boots", "sandals", EVIL])
    return tune((images, names[labels]), test=0.25)


class _Page(HTMLParser):
    """What a browser would take from a page: its text, and every address in it."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[dict[str, Any]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.open.append(tag)
        self.addresses += [v for n, v in attrs if n in ("href", "src", "srcset", "action") and v]
        self.scripts += [dict(attrs)] if tag == "script" else []

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & {*self.open}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], _Page]:
    """A page as a browser reads it."""

    def read(path: Path) -> _Page:
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        return page

    return read


@pytest.fixture(scope="session")
def read_facts() -> Callable[[Path], dict[str, Any]]:
    """The block of data in a page."""

    def read(path: Path) -> dict[str, Any]:
        text = path.read_text(encoding="utf-8")
        found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text, re.S)
        assert found
        return json.loads(found[1])["facts"]

    return read
