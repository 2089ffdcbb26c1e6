"""Recipes use what `import finetune` promises, and nothing else of it."""

import ast
from pathlib import Path

import pytest

import finetune

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_imports_public_names_alone(path):
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    whole = {n.name for node in nodes if isinstance(node, ast.Import) for n in node.names}
    parts = {
        (node.module, name.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("finetune")
        for name in node.names
    }
    assert {name for name in whole if name.startswith("finetune")} == set()
    assert parts <= {("finetune", name) for name in finetune.__all__}


def test_recipes_import_the_package():
    assert "from finetune import FineTuner" in "".join(path.read_text() for path in RECIPES)
