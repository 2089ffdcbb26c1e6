"""Nothing but `finetune.compat` uses what a library, or a class of ours, keeps to itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import finetune

ROOT = Path(finetune.__file__).parent
FILES = sorted(
    path
    for path in ROOT.rglob("*.py*")
    if path.suffix in (".py", ".pyi") and path.relative_to(ROOT).parts[0] != "compat"
)

_PRIVATE_MODULE = re.compile(r"(keras|keras_tuner)\.src(\.|$)|tensorflow\.python(\.|$)")
_PRIVATE_NAME = re.compile(r"_[a-zA-Z]\w*$")
_ATTRIBUTES = re.compile(r"(^|\.)vars\(|\.__dict__\b")
_BY_NAME = re.compile(
    r"(.*\.)?(([gs]et|has|del)attr|getattr_static|attrgetter|methodcaller"
    r"|__([gs]et|del)attr__|__getattribute__)$"
)


def violations(source: str) -> list[tuple[int, str]]:
    """Lines and names of what is private to someone else."""
    tree = ast.parse(source)
    modules = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname
    }
    return [
        (node.lineno, name)
        for node in ast.walk(tree)
        if isinstance(node, (ast.expr, ast.stmt, ast.pattern))
        for name in _names(node, modules)
    ]


def _names(node: ast.expr | ast.stmt | ast.pattern, modules: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names if _is_private(alias.name))
        case ast.ImportFrom(module=module, names=names):
            full = [f"{module}.{alias.name}" if module else alias.name for alias in names]
            yield from filter(_is_private, full)
        case ast.MatchClass(kwd_attrs=names):
            yield from filter(_PRIVATE_NAME.match, names)
        case ast.Constant(value=str(text)) if _PRIVATE_MODULE.match(text):
            yield text
        case ast.Attribute(value=owner, attr=name):
            if _PRIVATE_NAME.match(name) and not _is_own(owner):
                yield name
            first, dot, rest = ast.unparse(node).partition(".")
            if _PRIVATE_MODULE.match(full := modules.get(first, first) + dot + rest):
                yield full
        case ast.Call(func=function, args=arguments):
            called = ast.unparse(function)
            of_own = bool(arguments) and _is_own(arguments[0])
            if _ATTRIBUTES.search(called) or (_BY_NAME.match(called) and not of_own):
                yield from _private_strings(arguments)
        case ast.Subscript(value=owner, slice=index) if _ATTRIBUTES.search(ast.unparse(owner)):
            yield from _private_strings([index])
        case ast.Compare(left=left, comparators=owners) if any(
            _ATTRIBUTES.search(ast.unparse(owner)) for owner in owners
        ):
            yield from _private_strings([left])


def _is_private(module: str) -> bool:
    parts = module.split(".")
    return bool(_PRIVATE_MODULE.match(module)) or any(map(_PRIVATE_NAME.match, parts))


def _private_strings(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (part for part in node.value.split(".") if _PRIVATE_NAME.match(part))


def _is_own(node: ast.expr) -> bool:
    return ast.unparse(node) in ("self", "cls", "super()")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_nothing_private_is_used(path):
    place = path.relative_to(ROOT).as_posix()
    refused = [f"{place}:{line}: {name}" for line, name in violations(path.read_text("utf-8"))]
    assert not refused, (
        f"{refused} is private to another class. Use something public; where a library has "
        "nothing public, put it into finetune/compat with a comment why, and a canary test."
    )


@pytest.mark.parametrize(
    "source",
    [
        "from keras.src.backend.config import keras_home",
        "from keras import src\nsrc.ops",
        "import keras\nkeras.src.ops.Function",
        "import keras as k\nk.src.ops",
        "import keras_tuner.src.engine",
        "from keras_tuner.src.engine import oracle",
        "import keras_tuner as kt\nkt.src.engine",
        "from keras._tf_keras import keras",
        "from . import _inline",
        "from tensorflow.python.eager import context",
        "import importlib\nimportlib.import_module('keras.src.ops')",
        "from finetune.reuse.graph import _inline",
        "layer._flatten_layers()",
        "self.oracle._populate_next.append(1)",
        "oracle._save_trial = None",
        "getattr(layer, '_layers')",
        "getattr(self.layer, '_layers', None)",
        "inspect.getattr_static(layer, '_layers')",
        "object.__setattr__(layer, '_layers', [])",
        "hasattr(layer, '_functional')",
        "vars(tensor)['_keras_history']",
        "vars(tensor).get('_keras_history')",
        "'_keras_history' in vars(tensor)",
        "tensor.__dict__['_keras_history']",
        "match tensor:\n    case keras.KerasTensor(_keras_history=history): ...",
        "operator.attrgetter('optimizer._variables')",
    ],
)
def test_private_things_are_found(source):
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "self._own = cls._other + super()._third",
        "type(layer).__name__",
        "name.removesuffix('_index')",
        "getattr(self, '_own')",
        "object.__setattr__(self, '_own', 1)",
        "from __future__ import annotations",
        "import keras_tuner as kt\nkt.Objective",
        "import keras\nkeras.ops.add",
        "from finetune.compat import calls_of",
        "def _helper(): ...\n_helper()",
        "for _ in layers: ...",
    ],
)
def test_public_and_own_things_are_not(source):
    assert not violations(source)
