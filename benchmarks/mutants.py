"""Mutation testing: small faults put into the code one at a time, each of which a test should see.

pip install mutmut==3.8.1
python benchmarks/mutants.py --sample 50 --seed 0
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Group:
    """Files that are changed, and the tests that are theirs."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    "freezing": Group(
        ("backbones/freezing", "backbones/outline", "backbones/partition"),
        ("backbones/test_freezing",),
    ),
    "graphs": Group(
        (
            *("compat/graphs", "compat/frozen_functions"),
            *("reuse/graph", "reuse/cuts", "reuse/choice", "reuse/starts"),
        ),
        (
            *("compat/test_graphs", "compat/test_frozen_functions"),
            *("reuse/test_graph", "reuse/test_cuts", "reuse/test_choice", "reuse/test_starts"),
        ),
    ),
    "training": Group(
        tuple(
            f"training/{name}"
            for name in ("phases", "plan", "records", "relays", "session", "states")
        ),
        tuple(
            f"training/test_{name}"
            for name in ("phases", "records", "relays", "resuming", "session", "states")
        ),
    ),
    "study": Group(
        ("search/study", "search/saved", "search/trials"),
        ("search/test_saved", "search/test_study"),
    ),
}

# Loaded once, before processes are forked for mutants; TensorFlow starts its threads in each.
PRELOADED = ("tensorflow", "keras", "keras_tuner", "scipy.optimize", "sklearn.linear_model")

CONFIGURATION = """
[tool.mutmut]
source_paths = ["finetune"]
also_copy = ["recipes"]
process_isolation = "forkserver"
forkserver_warmup = "import"
preload_modules_file = "preloaded.txt"
timeout_constant = 20.0 # seconds: a worker collects its tests first, and the machine may be busy
timeout_multiplier = 5.0
only_mutate = {files}
pytest_add_cli_args_test_selection = {tests}
"""


def main() -> None:
    """Try mutants of each group, and print how many were killed and the others in full."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=50, help="mutants of a group")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--only", choices=GROUPS, help="one group")
    parser.add_argument("--folder", type=Path, help="keeps them there, for `mutmut browse`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name in [options.only] if options.only else GROUPS:
            _try(name, (options.folder or Path(place)) / name, options.sample, options.seed)


def _try(name: str, copy: Path, sample: int, seed: int) -> None:
    group = GROUPS[name]
    for part in ("finetune", "tests", "recipes"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    files = [f"finetune/{file}.py" for file in group.files]
    tests = [f"tests/{test}.py" for test in group.tests]
    configuration = CONFIGURATION.format(files=json.dumps(files), tests=json.dumps(tests))
    known = (ROOT / "pyproject.toml").read_text("utf-8")
    (copy / "pyproject.toml").write_text(known + configuration, "utf-8")
    (copy / "preloaded.txt").write_text("\n".join(PRELOADED) + "\n")
    # mutmut passes over functions that are decorated, and this one is the loop itself. What the
    # decorator does is to keep back a warning.
    loop = copy / "finetune/training/phases.py"
    loop.write_text(loop.read_text("utf-8").replace("@expected_tracing()\n", ""), "utf-8")

    every = _make(copy)
    chosen = sorted(random.Random(seed).sample(every, min(sample, len(every))))
    _mutmut(copy, "run", "--max-children=1", *chosen)
    verdicts = {mutant: verdict for mutant, verdict in _verdicts(copy).items() if mutant in chosen}
    count = Counter(verdicts.values())
    print(f"{name}: {len(chosen)} of {len(every)} mutants, {dict(count)}", flush=True)
    for mutant, verdict in sorted(verdicts.items()):
        if verdict != "killed":
            print(f"\n{verdict}", _mutmut(copy, "show", mutant), flush=True)


def _make(copy: Path) -> list[str]:
    """Names of all mutants. There is no command that makes them without trying them."""
    names = "copy_also_copy_files, copy_src_dir, create_mutants"
    code = f"from mutmut.__main__ import {names}; copy_src_dir(); copy_also_copy_files()"
    command = [sys.executable, "-c", f"{code}; create_mutants(1)"]
    subprocess.run(command, cwd=copy, stdout=subprocess.DEVNULL, check=True)
    return sorted(_verdicts(copy))


def _mutmut(copy: Path, command: str, *arguments: str) -> str:
    # Property tests take the same examples each time, as in the CI.
    environment = {**os.environ, "CI": "true"}
    told = subprocess.run(
        ["mutmut", command, *arguments], cwd=copy, env=environment, capture_output=True, text=True
    )
    if told.returncode:
        sys.exit(f"mutmut {command} ended with {told.returncode}:\n{told.stdout[-4000:]}")
    return told.stdout


def _verdicts(copy: Path) -> dict[str, str]:
    """What became of each mutant, by its name."""
    timeouts = dict.fromkeys((-24, 24, 152, 255), "ran out of time")
    names = {0: "survived", 1: "killed", 3: "killed", None: "not tried", 33: "no test", **timeouts}
    codes = {}
    for file in sorted((copy / "mutants").rglob("*.meta")):
        codes |= json.loads(file.read_text("utf-8"))["exit_code_by_key"]
    return {mutant: names.get(code, f"ended with {code}") for mutant, code in codes.items()}


if __name__ == "__main__":
    main()
