"""What the benchmarks share: runs in processes of their own, and the file of their figures."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def run_alone(command: Sequence[str]) -> Row:
    """Runs a Python script in a process of its own; the last line that it prints is its figures."""
    ran = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed.")
    return json.loads(ran.stdout.strip().splitlines()[-1])


def fill(plan: Sequence[tuple[Row, Sequence[str]]], file: Path | None) -> list[Row]:
    """Runs what a file of figures does not hold yet, one after the other.

    Args:
        plan: For each run what tells it from the others, and its command.
        file: One JSON object a line, added to after every run, so that a benchmark that was
            killed goes on where it was; None to keep nothing.

    Returns:
        The figures of every run of the plan.
    """
    known = []
    if file is not None and file.exists():
        known = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = []
    for key, command in plan:
        row = next((row for row in known if row.items() >= key.items()), None)
        if row is None:
            row = key | run_alone(command)
            print(row, file=sys.stderr, flush=True)
            if file is not None:
                with file.open("a", encoding="utf-8") as opened:
                    opened.write(json.dumps(row) + "\n")
        rows.append(row)
    return rows
