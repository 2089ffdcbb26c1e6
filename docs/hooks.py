"""Fills tables of options into the pages, read off the signatures that the commands read too."""

import re
from typing import Any

from finetune.cli.signatures import Option, read_options


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Replace `<!-- options: MODULE:FUNCTION -->` by a table."""
    return re.sub(
        r"<!-- options: (\S+) -->", lambda match: _table(read_options(match[1], "")), markdown
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
