"""Options are written once: every argument is reachable from Python, terminal and file."""

import inspect

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
    for name in parameters(function):
        if name in ELSEWHERE:
            assert name not in named
            continue
        assert name in named, f"{name} cannot stand in a file for `finetune {command}`"
        assert f"--{name.replace('_', '-')}" in flags(command), f"{name} is not on {command}"


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
    for option in read:
        if option.default.startswith(("'", '"', "(")) or option.default[:1].isdigit():
            assert eval(option.default) == defaults[option.name].default


@pytest.mark.parametrize("option", merged(FIT, SEARCH), ids=lambda option: option.name)
def test_every_option_has_help_that_names_its_default(option):
    assert option.text.endswith(".")
    if option.kinds:
        assert "efault" in option.text


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
