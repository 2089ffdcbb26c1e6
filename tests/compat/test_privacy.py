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
    if path.suffix in (".py", ".pyi") and "compat" not in path.parts
)

_PRIVATE_MODULE = re.compile(r"(keras|keras_tuner)\.src(\.|$)|tensorflow\.python(\.|$)")
_PRIVATE_NAME = re.compile(r"_[a-zA-Z]\w*$")
_BY_NAME = ("getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller")


def violations(source: str) -> list[tuple[int, str]]:
    """Lines and names of what is private to someone else."""
    return [
        (node.lineno, name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.expr, ast.stmt))
        for name in _names(node)
    ]


def _names(node: ast.expr | ast.stmt) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names if _PRIVATE_MODULE.match(alias.name))
        case ast.ImportFrom(module=str(module), names=names):
            full = [f"{module}.{alias.name}" for alias in names]
            yield from (name for name in full if _PRIVATE_MODULE.match(name))
            yield from (alias.name for alias in names if _PRIVATE_NAME.match(alias.name))
        case ast.Constant(value=str(text)) if _PRIVATE_MODULE.match(text):
            yield text
        case ast.Attribute(value=owner, attr=name):
            if _PRIVATE_NAME.match(name) and not _is_own(owner):
                yield name
            if _PRIVATE_MODULE.match(f"{ast.unparse(owner)}.{name}"):
                yield f"{ast.unparse(owner)}.{name}"
        case ast.Call(func=function, args=arguments) if ast.unparse(function).rpartition(".")[
            2
        ] in _BY_NAME and not (arguments and _is_own(arguments[0])):
            yield from _private_strings(arguments)
        case ast.Subscript(value=owner, slice=index) if re.search(
            r"^vars\(|__dict__$", ast.unparse(owner)
        ):
            yield from _private_strings([index])


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
        "import keras_tuner.src.engine",
        "from tensorflow.python.eager import context",
        "import importlib\nimportlib.import_module('keras.src.ops')",
        "from finetune.reuse.graph import _inline",
        "layer._flatten_layers()",
        "self.oracle._populate_next.append(1)",
        "oracle._save_trial = None",
        "getattr(layer, '_layers')",
        "hasattr(layer, '_functional')",
        "vars(tensor)['_keras_history']",
        "tensor.__dict__['_keras_history']",
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
        "import keras\nkeras.ops.add",
        "from finetune.compat import calls_of",
        "def _helper(): ...\n_helper()",
        "for _ in layers: ...",
    ],
)
def test_public_and_own_things_are_not(source):
    assert not violations(source)
