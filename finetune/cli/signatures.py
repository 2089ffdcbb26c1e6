"""Reads the options of a function off its signature and docstring, without importing it.

An option is written once, where Python code finds it. Importing it would load TensorFlow, for which
nobody wants to wait who asks for `--help` or makes a typing mistake: so the source is read.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import griffe

# What can be typed, by the annotation that stands for it. All else only Python can give.
_KINDS = {
    "None": "none",
    "bool": "bool",
    "int": "int",
    "float": "float",
    "str": "str",
    "os.PathLike[str]": "str",
    "Schedule": "str",
    "tuple[int, int]": "size",
    "dict[str, Any]": "mapping",
    "dict[int, float]": "mapping",
    "Sequence[str]": "names",
}
# Marks what may be a space to search, see `finetune.tuning.Searchable`.
_SEARCHABLE = "Searchable"


@dataclass(frozen=True)
class Option:
    """An argument of a function, as a command line, a file and a table of the docs need it.

    Args:
        name: Its name in Python.
        kinds: What may be typed for it: "none", "bool", "int", "float", "str", "size", "mapping"
            or "names". Empty where only Python can give it.
        searchable: Whether it may be a list of choices or a range.
        default: The default in the signature, as it is written there.
        text: Its description in the docstring.
        panel: Heading that it stands under.
    """

    name: str
    kinds: tuple[str, ...]
    searchable: bool
    default: str
    text: str
    panel: str

    @property
    def flag(self) -> str:
        """Its name on the command line.

        Example:
            >>> Option("batch_size", ("int",), False, "32", "Images.", "Images").flag
            '--batch-size'
        """
        return f"--{self.name.replace('_', '-')}"


@cache
def read_options(place: str, panel: str) -> tuple[Option, ...]:
    """The arguments of a function, or of a class' constructor, in their order.

    Args:
        place: Such as "finetune.data.load:load_data"; of a class `__init__` is meant.
        panel: Heading of all of them.

    Returns:
        Those that have a description.

    Example:
        >>> option = read_options("finetune.data.load:load_data", "Images")[2]
        >>> option.name, option.kinds, option.default
        ('batch_size', ('int',), '32')
    """
    module, _, name = place.partition(":")
    found: Any = _read_module(module)[name]
    function = found["__init__"] if found.is_class else found
    described = {
        argument.name: " ".join(argument.description.split())
        for section in found.docstring.parse("google", warnings=False)
        if section.kind is griffe.DocstringSectionKind.parameters
        for argument in section.value
    }
    options = []
    for parameter in function.parameters:
        if parameter.name in described:
            searchable, kinds = _kinds(str(parameter.annotation))
            options.append(
                Option(
                    parameter.name,
                    kinds,
                    searchable,
                    str(parameter.default),
                    described[parameter.name],
                    panel,
                )
            )
    return tuple(options)


def merged(*groups: Iterable[Option], without: Sequence[str] = ()) -> tuple[Option, ...]:
    """Several groups of options as one; of two with one name the first is taken.

    Args:
        *groups: Options.
        without: Names to leave out.

    Returns:
        The options, in their order.
    """
    options: dict[str, Option] = {}
    for group in groups:
        for option in group:
            if option.name not in without:
                options.setdefault(option.name, option)
    return tuple(options.values())


@cache
def _read_module(name: str) -> griffe.Module:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None  # a module of this package
    path = Path(spec.origin)
    return griffe.visit(name, filepath=path, code=path.read_text(encoding="utf-8"))


def _kinds(annotation: str) -> tuple[bool, tuple[str, ...]]:
    """Whether an annotation is of something searchable, and what may be typed for it."""
    tree: Any = ast.parse(annotation, mode="eval").body
    searchable = isinstance(tree, ast.Subscript) and ast.unparse(tree.value) == _SEARCHABLE
    members = _members(tree.slice if searchable else tree)
    kinds = tuple(dict.fromkeys(_KINDS[name] for name in members if name in _KINDS))
    return searchable, kinds if kinds != ("none",) else ()


def _members(tree: Any) -> list[str]:
    if isinstance(tree, ast.BinOp):
        return [*_members(tree.left), *_members(tree.right)]
    return [ast.unparse(tree)]
