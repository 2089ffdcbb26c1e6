"""Damaged files of every kind, those first that make a reader run lines which none has run before.

pip install atheris==3.0.0
python benchmarks/fuzz_guided.py --minutes 10 --seed 1

The readers, the sound files and the law are those of `fuzz.py`; half of the files are damaged as
there, half are those whose damage led into branches of this package that none before them took,
damaged further (Atheris, libFuzzer). One that is neither taken nor refused ends the run of its
kind, and is kept in the folder --keep.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

# Times the longest sound file that a damaged one may be: none should grow for ever.
LONGEST = 4


def main() -> None:
    """A process for each kind, since libFuzzer ends its process; a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=1, help="0 draws one")
    parser.add_argument("--only", help="one kind, such as model")
    parser.add_argument("--keep", type=Path, default=Path("."), help="for files that are neither")
    parser.add_argument("--place", type=Path, help="fuzz one kind here, in this process")
    options = parser.parse_args()
    if options.place:
        return fuzz(options)
    from fuzzing import targets  # not before, where it is to be instrumented

    with tempfile.TemporaryDirectory() as folder:
        names = [one.name for one in targets(Path(folder))]
    kinds = [name for name in names if options.only in (None, name)]
    seconds = max(1, round(60 * options.minutes / len(kinds)))
    wrong = sum(_run(kind, seconds, options.seed, options.keep.absolute()) for kind in kinds)
    sys.exit(1 if wrong else 0)


def _run(kind: str, seconds: int, seed: int, keep: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        own = ["--only", kind, "--place", folder, "--seed", str(seed), "--keep", str(keep)]
        ended = subprocess.run(
            [sys.executable, __file__, *own, "--minutes", str(seconds / 60)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        counted = Path(folder) / "counted.json"
        counts = json.loads(counted.read_text()) if counted.exists() else {}
    covered = [int(number) for number in re.findall(r" cov: (\d+)", ended.stdout)]
    print(f"{kind:14} {counts}; branches: {covered[:1]} to {covered[-1:]}", flush=True)
    if ended.returncode:
        print(ended.stdout[-4000:])
    return int(ended.returncode != 0)


def fuzz(options: argparse.Namespace) -> None:
    """Read damaged files of one kind until libFuzzer says that time is up."""
    import atheris

    with atheris.instrument_imports(include=["finetune"]):
        from fuzzing import targets

    from finetune.exceptions import FineTuneError

    kind, place = options.only, options.place
    target = next(one for one in targets(place) if one.name == kind)
    corpus = place / "corpus"
    corpus.mkdir()
    for number, content in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(content)
    path = place / "damaged" / target.file
    path.parent.mkdir(parents=True)
    counts = {"files": 0, "taken": 0, "refused": 0}
    noted = time.monotonic()

    def read(content: bytes) -> None:
        nonlocal noted
        path.write_bytes(content)
        counts["files"] += 1
        try:
            target.read(path)
            counts["taken"] += 1
        except FineTuneError:
            counts["refused"] += 1
        if time.monotonic() > noted + 0.5:  # libFuzzer leaves without a word to Python
            noted = time.monotonic()
            (place / "counted.json").write_text(json.dumps(counts))

    def damage(content: bytes, longest: int, number: int) -> bytes:
        source = random.Random(number)
        if source.randrange(2):  # anew: what is damaged already may be no document, or no archive
            return target.damage(source.choice(target.seeds), source)[:longest]
        return atheris.Mutate(content, longest)

    longest = LONGEST * max(map(len, target.seeds))
    orders = {
        "seed": options.seed,
        "max_total_time": max(1, round(60 * options.minutes)),
        "max_len": longest,
        "timeout": 60,
        "rss_limit_mb": 8192,
        "artifact_prefix": options.keep / f"{kind.replace(' ', '-')}-",
    }
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in orders.items()), str(corpus)]
    atheris.Setup(arguments, read, custom_mutator=damage)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
