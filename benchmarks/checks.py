"""What `finetune check` finds of mistakes that are planted: precision and recall over seeds.

    python benchmarks/checks.py shoes_types/ --weights mobilenet.h5 --alpha 0.35 --seeds 5

For each seed a copy of the image folder is made, in which 5% of the labels are swapped and copies
are added: 5% saved again as JPEG, 5% cut by up to 4% at each side, 5% mirrored. Pairs that the
untouched folder gives too are of the images themselves and do not count as mistakes.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import finetune

SHARE = 0.05
CHANGES = ("saved again", "cut", "mirrored")


def files_of(folder: Path) -> list[Path]:
    """All images of a folder of class folders, or of the one below `train`."""
    top = folder / "train" if (folder / "train").is_dir() else folder
    suffixes = {".jpg", ".jpeg", ".png"}
    return sorted(path for path in top.glob("*/*") if path.suffix.lower() in suffixes)


def plant(files: list[Path], place: Path, seed: int) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """Copy a folder with mistakes: what is mislabelled, and for each copy what it is of."""
    random = np.random.default_rng(seed)
    classes = sorted({path.parent.name for path in files})
    count = round(SHARE * len(files))
    swapped = {*random.choice(len(files), count, replace=False).tolist()}
    names: list[str] = []
    mislabelled: set[str] = set()
    for number, path in enumerate(files):
        name = path.parent.name
        if number in swapped:
            name = str(random.choice([other for other in classes if other != name]))
        names.append(f"{name}/{number:04}{path.suffix.lower()}")
        mislabelled |= {names[-1]} if number in swapped else set()
        (place / name).mkdir(exist_ok=True)
        shutil.copyfile(path, place / names[-1])
    copies: dict[str, tuple[str, str]] = {}
    honest = [number for number in range(len(files)) if number not in swapped]
    for change in CHANGES:
        for number in random.choice(honest, count, replace=False).tolist():
            picture = Image.open(files[number]).convert("RGB")
            name = f"{names[number].partition('.')[0]}-{change.replace(' ', '-')}.jpg"
            quality = int(random.integers(50, 90))
            changed(picture, change, random).save(place / name, quality=quality)
            copies[name] = names[number], change
    return mislabelled, copies


def changed(picture: Image.Image, change: str, random: np.random.Generator) -> Image.Image:
    if change == "mirrored":
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if change == "cut":
        left, top, right, bottom = random.uniform(0, 0.04, 4)
        width, height = picture.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return picture.crop(tuple(map(round, box)))
    return picture


def numbers(rows: list[dict], kinds: tuple[str, ...]) -> list[set[str]]:
    """The groups of images that were found of some kinds, by the stems of their names."""
    groups: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        if row["kind"] in kinds:
            groups.setdefault((row["kind"], row["group"]), set()).add(row["image"])
    return [*groups.values()]


def pairs(groups: list[set[str]]) -> set[tuple[str, str]]:
    return {(one, two) for group in groups for one in group for two in group if one < two}


def measure(files: list[Path], seed: int, before: set[tuple[int, int]], arguments: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "images"
        place.mkdir()
        mislabelled, copies = plant(files, place, seed)
        # The folds are others each time, as the mistakes are.
        found = finetune.check(place, out=Path(folder) / "out", seed=seed, verbose=0, **arguments)
    rows = found.rows()
    groups = numbers(rows, ("copies", "two labels"))
    alike = pairs(groups)
    figures: dict = {"seed": seed, "images": len(found.images.ids)}
    for change in CHANGES:
        wanted = [(name, of) for name, (of, how) in copies.items() if how == change]
        met = sum(tuple(sorted(pair)) in alike for pair in wanted)
        figures[f"recall of {change}"] = met / len(wanted)
    # A pair is right if both show one image, or if the untouched folder has it too.
    stands_for = {name: number(of) for name, (of, _) in copies.items()}
    told = {
        tuple(sorted((stands_for.get(one, number(one)), stands_for.get(two, number(two)))))
        for one, two in alike
    }
    new = {pair for pair in told if pair[0] != pair[1] and pair not in before}
    same = sum(stands_for.get(a, number(a)) == stands_for.get(b, number(b)) for a, b in alike)
    figures["precision of copies"] = same / (same + len(new)) if same + len(new) else 1.0
    doubted = [row["image"] for row in rows if row["kind"] == "label"]
    right = [name in mislabelled for name in doubted]
    figures["labels doubted"] = len(doubted)
    figures["labels swapped"] = len(mislabelled)
    figures["recall of labels"] = sum(right) / len(mislabelled)
    figures["precision of labels"] = sum(right) / max(1, len(doubted))
    first = right[: len(mislabelled)]
    figures["precision of the first labels"] = sum(first) / max(1, len(first))
    return figures


def number(name: str) -> int:
    return int(name.rpartition("/")[2][:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="without a backbone")
    given = parser.parse_args()
    arguments = {
        "weights": given.weights,
        "backbone_options": {"alpha": given.alpha},
        "image_size": given.image_size,
        "quick": given.quick,
    }
    files = files_of(given.folder)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "images"
        for position, path in enumerate(files):
            target = place / path.parent.name / f"{position:04}{path.suffix.lower()}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        untouched = finetune.check(place, out=Path(folder) / "out", verbose=0, **arguments)
    groups = numbers(untouched.rows(), ("copies", "two labels"))
    before = {tuple(sorted(map(number, pair))) for pair in pairs(groups)}
    doubted = sum(row["kind"] == "label" for row in untouched.rows())
    print(json.dumps({"untouched": len(files), "groups": len(groups), "labels doubted": doubted}))
    table = []
    for seed in range(given.seeds):
        table.append(measure(files, seed, before, arguments))
        print(json.dumps(table[-1]), flush=True)
    for name in table[0]:
        values = np.array([figures[name] for figures in table], float)
        print(f"{name:32} {values.mean():.3f} +- {values.std(ddof=1):.3f}")


if __name__ == "__main__":
    main()
