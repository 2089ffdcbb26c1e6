"""Recipes use what `import finetune` promises, and nothing else of it."""

import ast
from pathlib import Path

import pytest

import finetune

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_imports_public_names_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not [n.name for n in node.names if n.name.startswith("finetune.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("finetune"):
            assert node.module == "finetune"
            assert {name.name for name in node.names} <= set(finetune.__all__)
