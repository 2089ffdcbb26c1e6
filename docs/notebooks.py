"""Runs the tutorial and makes a page of it, with nothing but what the package needs anyway.

python docs/notebooks.py        # runs docs/tutorial.ipynb anew and keeps what it showed
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TUTORIAL = Path(__file__).with_name("tutorial.ipynb")


def run(notebook: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Runs the code of a notebook in the folder at hand, as Jupyter would.

    Yields:
        The source of each cell of code, and what it showed, as notebooks keep it.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        tree, printed, shown = ast.parse(source), io.StringIO(), []
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, "<cell>", "exec"), names)
            value = (
                eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None
            )
        if printed.getvalue():
            shown.append(
                {"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())}
            )
        if value is not None:
            shown.append({"output_type": "execute_result", "execution_count": None,
                          "metadata": {}, "data": _forms(value)})  # fmt: skip
        yield source, shown


def as_markdown(notebook: dict[str, Any]) -> str:
    """A notebook as a page: its texts, its code, and what that showed."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", [])})
            if "image/png" in data:
                source = f"data:image/png;base64,{data['image/png']}"
                parts.append(f'<img alt="what the cell above shows" src="{source}">')
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _forms(value: Any) -> dict[str, Any]:
    """What Jupyter keeps of the value of a cell."""
    forms: dict[str, Any] = {"text/plain": _lines(repr(value))}
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    if html:
        forms["text/html"] = _lines(html)
    if hasattr(value, "savefig"):
        file = io.BytesIO()
        value.savefig(file, format="png", dpi=80)
        forms["image/png"] = base64.b64encode(file.getvalue()).decode()
    return forms


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the tutorial and write what it showed into it."""
    notebook = json.loads(TUTORIAL.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, (cell, (_, shown)) in enumerate(zip(code, run(notebook), strict=True), start=1):
            cell["execution_count"], cell["outputs"] = number, shown
            for output in shown:
                if "execution_count" in output:
                    output["execution_count"] = number
        os.chdir(TUTORIAL.parent)
    TUTORIAL.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
