"""What the pages take from the code: tables of options, and examples in docstrings.

The tables are read off the signatures that the commands read too.
"""

import re
from typing import Any

import griffe

from finetune.cli.signatures import Option, read_options


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
