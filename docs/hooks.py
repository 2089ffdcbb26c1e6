"""What the pages take from the code: tables of options, and examples in docstrings.

The tables are read off the signatures that the commands read too.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

from finetune.cli.signatures import Option, read_options

sys.path.insert(0, str(Path(__file__).parent))  # a hook is loaded without its neighbours
from notebooks import TUTORIAL, as_markdown


def on_files(files: Files, config: Any) -> Files:
    """Make a page of the tutorial, which is a notebook."""
    notebook = json.loads(TUTORIAL.read_text("utf-8"))
    files.append(File.generated(config, "tutorial.md", content=as_markdown(notebook)))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Replace `<!-- options: MODULE:FUNCTION -->` by a table."""
    return re.sub(
        r"<!-- options: (\S+) -->", lambda match: _table(read_options(match[1], "")), markdown
    )


class Examples(griffe.Extension):
    """Shows "Example:" in a docstring as code, as "Examples:" is; else lists became links."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )


def _table(options: tuple[Option, ...]) -> str:
    rows = ["| argument | on the command line | |", "|---|---|---|"]
    for option in options:
        flag = f"`{option.flag}`" if option.kinds else "only in Python"
        if option.kinds and "bool" in option.kinds:
            flag = f"`{option.flag}`, `--no-{option.flag[2:]}`"
        if option.name in ("data", "source", "verbose"):
            flag = "`--quiet`" if option.name == "verbose" else "`DATA`"
        text = option.text.replace("|", "\\|")
        rows.append(f"| `{option.name}` | {flag} | {text} |")
    return "\n".join(rows)
