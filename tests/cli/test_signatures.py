"""Options are written once: every argument is reachable from Python, terminal and file."""

import inspect
import re

import pytest
from typer.main import get_command

from finetune import FineTuner, fine_tune, load_data
from finetune.cli import app
from finetune.cli.fit import OPTIONS as FIT
from finetune.cli.search import OPTIONS as SEARCH
from finetune.cli.signatures import merged, read_options

# Arguments without an option of their own, and why.
ELSEWHERE = {
    "callbacks": "are Python objects",
    "data": "is the argument of the command, and a key of the file",
    "source": "is the argument of the command, and a key of the file",
    "verbose": "is --quiet, and of the moment",
}


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [
        parameter.name
        for parameter in found
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]


def flags(command):
    options = get_command(app).commands[command].params
    return {flag for option in options for flag in option.opts}


@pytest.mark.parametrize(
    ("function", "command", "options"),
    [
        (FineTuner, "fit", FIT),
        (load_data, "fit", FIT),
        (fine_tune, "fit", FIT),
        (FineTuner, "search", SEARCH),
        (load_data, "search", SEARCH),
        (FineTuner.search, "search", SEARCH),
    ],
)
def test_every_argument_is_on_the_command_line_and_in_the_file(function, command, options):
    named = {option.name for option in options if option.kinds}
    expected = {*parameters(function)} - {*ELSEWHERE}
    assert expected <= named, f"these cannot stand in a file for `finetune {command}`"
    assert {f"--{name.replace('_', '-')}" for name in expected} <= flags(command)
    assert not named & {*ELSEWHERE}


def test_fine_tune_takes_what_the_command_takes():
    assert {option.name for option in FIT if option.kinds} == {
        name for name in parameters(fine_tune) if name not in ELSEWHERE
    }


@pytest.mark.parametrize(
    ("place", "function"),
    [
        ("finetune.api.fine_tuner:FineTuner", FineTuner),
        ("finetune.api.fine_tuner:FineTuner.search", FineTuner.search),
        ("finetune.data.load:load_data", load_data),
    ],
)
def test_what_is_read_off_the_source_is_the_signature(place, function):
    read = read_options(place, "")
    assert [option.name for option in read] == parameters(function)
    defaults = inspect.signature(function).parameters
    has_one = {n for n, p in defaults.items() if p.default is not inspect.Parameter.empty}
    literal = re.compile(r"""['"(\d].*|None|True|False""")
    values = {
        option.name: eval(option.default)
        for option in read
        if option.name in has_one and literal.fullmatch(option.default)
    }
    assert values == {name: defaults[name].default for name in values}
    assert len(values) > len(read) / 2


def test_every_option_has_help_that_names_its_default():
    options = merged(FIT, SEARCH)
    assert [option.name for option in options if not option.text.endswith(".")] == []
    typed = [option for option in options if option.kinds]
    assert len(typed) > 40
    assert [option.name for option in typed if "efault" not in option.text] == []


@pytest.mark.parametrize("command", sorted(get_command(app).commands))
def test_every_help_ends_with_an_example(command):
    assert get_command(app).commands[command].epilog.startswith(f"Example: finetune {command}")


def test_a_mistyped_command_and_the_version():
    from typer.testing import CliRunner

    import finetune

    wrong = CliRunner().invoke(app, ["serach", "shoes"])
    assert wrong.exit_code == 2
    assert "Did you mean 'search'?" in wrong.output
    version = CliRunner().invoke(app, ["--version"])
    assert version.output == f"finetune {finetune.__version__}\n"


def test_the_shell_completes_commands_and_options():
    command = get_command(app)
    assert {"--install-completion", "--show-completion"} <= {
        flag for option in command.params for flag in option.opts
    }
