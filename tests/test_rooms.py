"""The house: few rooms, each with a door, and nobody climbs in through a window."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import finetune

PACKAGE = Path(finetune.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400


def imports(path):
    """Modules and names that a file imports, wherever in it: (module, name)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def room_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def test_there_are_few_entries_on_the_top_floor():
    entries = {path.name for path in PACKAGE.iterdir()}
    entries -= {"__init__.py", "__init__.pyi", "py.typed", "__pycache__"}
    assert len(entries) <= 17, sorted(entries)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_other_rooms_are_entered_by_their_door(path):
    own = room_of(path)
    windows = [
        module
        for module, name in imports(path)
        if (match := re.match(r"finetune\.(\w+)\.", f"{module}."))
        and match[1] in ROOMS
        and match[1] != own
        and (module.count(".") > 1 or (PACKAGE / match[1] / f"{name}.py").exists())
    ]
    assert windows == [], f"Import from finetune.<room>, not from its files: {windows}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_can_be_read_at_one_sitting(path):
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_says_in_a_sentence_what_happens_behind_it_and_opens(room):
    module = importlib.import_module(f"finetune.{room}")
    assert re.fullmatch(r"[^\n]+\.", module.__doc__ or "")
    for name in module.__all__:
        assert not isinstance(getattr(module, name), type(module)), f"{name} is a file"


def test_no_two_rooms_have_a_file_of_one_name():
    names = [path.name for path in FILES if not path.name.startswith("__")]
    assert {name for name in names if names.count(name) > 1} == set()


# Users, too, come in by the doors of the others.
@pytest.mark.parametrize("room", sorted({*ROOMS} - {"api", "cli", "data", "export", "serve"}))
def test_a_door_shows_only_what_others_use(room):
    used = {
        name
        for path in [*FILES, *PACKAGE.rglob("*.pyi")]
        if room_of(path) != room
        for module, name in imports(path)
        if module in (f"finetune.{room}", room)
    }
    shown = {*importlib.import_module(f"finetune.{room}").__all__}
    assert shown - used == set()


CHECKOUT = Path(__file__).parents[1]


@pytest.mark.skipif(
    not (CHECKOUT / "docs").exists(), reason="the documentation is in the checkout alone"
)
def test_the_drawing_shows_the_rooms_in_the_order_that_is_held():
    layers = re.search(r"^layers = \[\n(.*?)^\]", read("pyproject.toml"), re.DOTALL | re.MULTILINE)
    drawing = re.search(r"```mermaid\ngraph TD\n(.*?)```", read("docs/architecture.md"), re.DOTALL)
    assert layers and drawing
    held = re.findall(r'"(\w+)"', layers[1])
    *rows, between = re.findall(r"^ *(\w+ -->.*)$", drawing[1], re.MULTILINE)
    assert [room for row in rows for room in row.split(" --> ")] == held
    assert between.split(" --> ") == re.findall(r"subgraph (\w+)", drawing[1])
    assert sorted(held) == sorted([*ROOMS, "exceptions"])


def read(name):
    return (CHECKOUT / name).read_text("utf-8")
