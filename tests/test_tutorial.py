"""The tutorial: its code runs as it stands, and its page shows what it showed."""

import importlib.util
import json
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[1] / "docs" / "notebooks.py"


@pytest.fixture(scope="module")
def notebooks():
    if not PLACE.exists():
        pytest.skip("the docs are not installed")
    spec = importlib.util.spec_from_file_location("notebooks", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.thorough
def test_every_cell_runs_and_shows_what_it_is_about(notebooks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(notebooks.TUTORIAL.read_text("utf-8"))
    shown = [(source, outputs) for source, outputs in notebooks.run(notebook)]
    kept = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for (source, outputs), before in zip(shown, kept, strict=True):
        # As when it was last run: a text, a figure, a table. Figures differ by the last digit.
        kinds = [
            [sorted(output.get("data", {output["output_type"]: 0})) for output in some]
            for some in (outputs, before)
        ]
        assert kinds[0] == kinds[1], source
    assert (tmp_path / "runs" / "search" / "report.html").exists()
    assert (tmp_path / "runs" / "search-savedmodel").exists()
    texts = ["".join(output.get("text", [])) for _, outputs in shown for output in outputs]
    assert any("test:       accuracy 0.9" in text for text in texts)


def test_the_page_holds_texts_code_and_what_it_showed(notebooks):
    page = notebooks.as_markdown(json.loads(notebooks.TUTORIAL.read_text("utf-8")))
    assert page.startswith("# Tutorial\n")
    assert "```python\nimport finetune\n" in page
    assert "test:       accuracy 0.9" in page
    assert page.count("data:image/png;base64,") == 3
    assert "/tmp" not in page and "/home" not in page
