"""Files of every kind that this package reads, damaged in ways that a reader may not survive.

The law for each: it gives what the file says, or refuses it by one of this package's errors. It
never ends in an error of another library, runs nothing, and leaves nothing behind.
"""

import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from finetune.cli.config import read_config
from finetune.cli.fit import OPTIONS
from finetune.data import read_image
from finetune.exceptions import FineTuneError
from finetune.model import FineTunedModel, ModelCard, load
from finetune.reuse.entries import read_entry
from finetune.search.saved import read_study, read_trial
from finetune.support import read_arrays, write_arrays

# Values that readers do not expect.
ODD = (
    *(None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x" * 1000, "\x1b[2J", "../../x"),
    *([], {}, [[[]]], [None], {"class_name": "Lambda", "config": {}}, "NaN", "__import__('os')"),
)

IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX")


@dataclass(frozen=True)
class Target:
    """A reader, and what is made for it.

    Args:
        name: What it reads.
        file: Name of the file.
        seeds: Contents of sound files.
        damage: From one of these to something else.
        read: Reads the file.
    """

    name: str
    file: str
    seeds: tuple[bytes, ...]
    damage: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], Any]


def attempt(target: Target, folder: Path, source: random.Random) -> bool:
    """Read one damaged file; whether it was taken. What is neither taken nor refused raises."""
    path = folder / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(target.damage(source.choice(target.seeds), source))
    try:
        target.read(path)
    except FineTuneError:
        return False
    return True


def damage_bytes(content: bytes, source: random.Random) -> bytes:
    """Flip, insert, remove, repeat or cut off some."""
    data = bytearray(content)
    for _ in range(source.randint(1, 4)):
        place = source.randrange(len(data) + 1)
        end = min(len(data), place + source.choice((1, 4, 64)))
        way = source.randrange(6)
        if way == 0 and place < len(data):
            data[place] ^= 1 << source.randrange(8)
        elif way == 1:
            data[place:place] = source.randbytes(source.choice((1, 4, 64)))
        elif way == 2:
            del data[place:end]
        elif way == 3:
            data[place:place] = data[place:end] * source.choice((1, 50))
        elif way == 4:
            data[place:end] = source.choice((b"\xff", b"\x00")) * (end - place)
        elif source.randrange(4) == 0:
            del data[place:]
    return bytes(data)


def damage_json(content: bytes, source: random.Random) -> bytes:
    """Put something odd, or another part of it, in the place of some values."""
    document = json.loads(content)
    for _ in range(source.randint(1, 3)):
        places = list(_places(document))
        if not places:
            break
        holder, key = source.choice(places)
        holder[key] = source.choice((deepcopy(source.choice(ODD)), _value(source.choice(places))))
        if isinstance(holder, dict) and source.randrange(4) == 0:
            del holder[key]
    return json.dumps(document).encode()


def _places(part: Any) -> Any:
    keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
    for key in list(keys):
        yield part, key
        yield from _places(part[key])


def _value(place: Any) -> Any:
    holder, key = place
    return deepcopy(holder[key])


def either(*ways: Callable[[bytes, random.Random], bytes]):
    """One of several ways to damage."""
    return lambda content, source: source.choice(ways)(content, source)


def damage_archive(content: bytes, source: random.Random) -> bytes:
    """Damage a member, leave one out, or put one under another name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = source.choice([*members])
    way = source.randrange(5)
    if way == 0:
        del members[name]
    elif way == 1:
        members[source.choice(("../x", "/x", "a\\..\\x", "assets/x", *members))] = members[name]
    elif name.endswith(".h5"):
        # Under its old checksum: with a new one, HDF5 itself may never come back from it.
        return damage_bytes(content, source)
    elif name.endswith(".json"):
        members[name] = damage_json(members[name], source)
    else:
        members[name] = damage_bytes(members[name], source)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", source.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return whole.getvalue()


def damage_shard(content: bytes, source: random.Random) -> bytes:
    """As bytes, mostly in the header."""
    head = damage_bytes(content[:128], source)
    return head + content[128:]


def targets(folder: Path) -> list[Target]:
    """All readers, with sound files for each."""
    return [
        Target("image", "a.png", _images(), damage_bytes, lambda path: read_image(path, 16)),
        Target("study", "study.json", (_STUDY,), either(damage_json, damage_bytes), read_study),
        Target("trial", "0000.json", (_TRIAL,), either(damage_json, damage_bytes), read_trial),
        Target("configuration", "run.toml", _CONFIGURATIONS, damage_bytes, _configuration),
        Target(
            "state",
            "state.npz",
            (_state(folder),),
            either(damage_bytes, damage_archive),
            lambda path: read_arrays(path, dict[str, int], lambda meta: [np.zeros((3, 4), "f4")]),
        ),
        Target("cache entry", "shard/0-3.npy", (_shard(),), damage_shard, _entry),
        Target(
            "model", "model.keras", (_model(folder),), either(damage_archive, damage_bytes), load
        ),
    ]


def _images() -> tuple[bytes, ...]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), "uint8"))
    found = []
    for kind in IMAGE_FORMATS:
        file = io.BytesIO()
        picture.save(file, kind)
        found.append(file.getvalue())
    return tuple(found)


_STUDY = json.dumps(
    {
        "monitor": "val_loss",
        "search": {"strategy": "grid", "seed": 0},
        "FineTuner": {"freeze_depth": [7, 10], "learning_rate": 0.001, "augment": None},
        "load_data": {"seed": 0},
        "images": "abc",
        "begun_with": {"max_trials": 4},
        "unnamed": ["0000"],
    }
).encode()

_TRIAL = json.dumps(
    {
        "trial": "0000",
        "values": {"freeze_depth": 7, "learning_rate": 0.001},
        "status": "completed",
        "steps": [
            {
                "until": None,
                "asked": 1,
                "told": 2,
                "clock": 2.5,
                "outcome": {
                    "metrics": {"val_accuracy": 0.5, "val_loss": 1.0},
                    "score": 0.5,
                    "lowest_loss": 1.0,
                    "epochs": 1,
                    "finished": True,
                    "seconds": 1.5,
                    "n": 10,
                    "freeze_depth": 7,
                    "history": [{"phase": "fine_tune", "epoch": 1, "val_loss": 1.0}],
                },
            }
        ],
    }
).encode()

_CONFIGURATIONS = (
    b'data = "photos"\nbackbone = "MobileNetV2"\nfreeze_depth = 0.35\nlearning_rate = 3e-4\n'
    b'image_size = "160x120"\nepochs = 15\nclass_names = ["a", "b"]\nstrict = false\n',
    b"[backbone_options]\nalpha = 0.35\n[class_weight]\n0 = 1.0\n1 = 2.5\n",
    b'only_python = ["callbacks"]\nout = "runs/a"\npatience = "none"\n',
)


def _configuration(path: Path) -> Any:
    return read_config(path, OPTIONS)


def _state(folder: Path) -> bytes:
    path = folder / "state.npz"
    write_arrays(path, {"epoch": 1}, [np.ones((3, 4), "f4")])
    return path.read_bytes()


def _shard() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((3, 4), "f4"))
    return file.getvalue()


def _entry(path: Path) -> Any:
    """Reads a file as the only one of an entry that gives its checksum: nobody need guess one."""
    shard = {"file": path.name, "shape": [3, 4], "dtype": "float32"}
    shard["crc32"] = zlib.crc32(path.read_bytes())
    described = {"key": "k", "arrays": [[shard]]}
    (path.parent / "entry.json").write_text(json.dumps(described))
    return read_entry(path.parent, "k", 3)


def _model(folder: Path) -> bytes:
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(pixels))
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    card = ModelCard("multiclass", ("a", "b", "c"), (8, 8), "pad")
    path = folder / "model.keras"
    FineTunedModel(keras.Model(pixels, outputs), card).save(path)
    return path.read_bytes()
