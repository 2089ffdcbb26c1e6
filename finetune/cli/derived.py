"""Commands whose options are derived from what they call."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.markup import escape

from finetune.cli.flags import as_flags
from finetune.cli.signatures import Option
from finetune.cli.values import read_text
from finetune.exceptions import ArgumentError


@dataclass(frozen=True)
class Typed:
    """A value that was typed: None typed aloud is told apart from nothing typed."""

    value: Any


def with_options(options: Sequence[Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command further options.

    Args:
        options: Those that only Python can give are left out.

    Returns:
        A decorator. The command gets what was typed as `given`, by the names in Python.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name != "given"
        ]
        taken = {parameter.name for parameter in own}
        derived = [option for option in options if option.kinds and option.name not in taken]

        def command(**values: Any) -> None:
            given = {}
            for option in derived:
                for name in (option.name, f"no_{option.name}"):
                    typed = values.pop(name, None)
                    if typed is not None:
                        given[option.name] = typed.value
            function(**values, given=given)

        parameters = [*own, *(entry for option in derived for entry in _parameters(option))]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {entry.name: entry.annotation for entry in parameters}
        vars(command)["__signature__"] = inspect.Signature(
            [entry.replace(kind=entry.KEYWORD_ONLY) for entry in parameters]
        )
        return command

    return decorate


def help_text(option: Option) -> str:
    """A description as a terminal shows it."""
    return escape(option.text.replace("`", ""))


def _parameters(option: Option) -> list[inspect.Parameter]:
    shown: dict[str, Any] = {
        "help": help_text(option),
        "rich_help_panel": option.panel,
        "show_default": False,
    }
    if "bool" not in option.kinds:
        typed = typer.Option(option.flag, parser=_parser(option), metavar=_metavar(option), **shown)
        return [_keyword(option.name, Any, typed)]
    # Two flags, for a file may say the other: what is the default anyway is not shown.
    return [
        _keyword(
            f"{prefix}{option.name}".replace("-", "_"),
            bool,
            typer.Option(
                f"--{prefix}{option.flag[2:]}",
                callback=_says(value),
                hidden=option.default == str(value),
                **shown,
            ),
        )
        for prefix, value in (("", True), ("no-", False))
    ]


def _says(value: bool) -> Callable[[bool], Typed | None]:
    """Makes of a flag that was seen the value that it stands for."""

    def callback(seen: bool) -> Typed | None:
        return Typed(value) if seen else None

    return callback


def _keyword(name: str, kind: Any, typed: Any) -> inspect.Parameter:
    default = False if kind is bool else None
    annotation = Annotated[kind, typed]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parser(option: Option) -> Callable[[str], Typed]:
    """Reads what is typed for an option."""

    def parse(text: str) -> Typed:
        try:
            return Typed(read_text(option, text))
        except ArgumentError as error:
            raise typer.BadParameter(as_flags(str(error)), param_hint=f"'{option.flag}'") from error

    return parse


def _metavar(option: Option) -> str:
    """The widest of its kinds: a number where words are taken too is a text."""
    names = {"str": "TEXT", "names": "A,B", "mapping": "K=V", "float": "FLOAT", "int": "INT"}
    return next(name for kind, name in names.items() if kind in option.kinds)
