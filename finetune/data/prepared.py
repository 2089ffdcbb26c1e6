"""What a prepared TFDS dataset says of itself, looked at before TFDS takes it at its word.

TFDS imports whatever module a dataset's `features.json` names as the home of a feature. A dataset
that somebody else prepared may name any.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorflow_datasets.core.utils import file_utils

from finetune.exceptions import DamagedFileError, DataError
from finetune.support import read_json

# As protobuf spells the key, and as it also reads it.
_KEYS = ("pythonClassName", "python_class_name")


def check_features(name: str, data_dir: str | None) -> None:
    """Refuses a prepared dataset whose features are of any but TFDS' own kinds.

    Args:
        name: The dataset's name, without configuration and version.
        data_dir: Where prepared datasets lie; None for TFDS' own places.

    Raises:
        DataError: If a feature would have another package imported, or the file cannot be used.
    """
    for place in file_utils.list_data_dirs(data_dir):
        for path in _descriptions(Path(os.fspath(place)) / name):
            try:
                described = read_json(path, dict[str, Any])
            except DamagedFileError as error:
                raise DataError(f"{error} Prepare the TFDS dataset {name!r} again.") from error
            for kind in _kinds(described):
                module = kind.rpartition(".")[0]
                if not kind.startswith("tensorflow_datasets.") and module not in sys.modules:
                    raise DataError(
                        f"{path} asks for the Python class {kind!r}: expected features of TFDS' "
                        f"own. If you trust it, import {module or kind} before."
                    )


def _descriptions(folder: Path) -> Iterator[Path]:
    for pattern in ("*/features.json", "*/*/features.json"):  # without a configuration, and with
        yield from sorted(folder.glob(pattern))


def _kinds(described: Any) -> Iterator[str]:
    unseen = [described]
    while unseen:
        part = unseen.pop()
        if isinstance(part, dict):
            yield from (str(part[key]) for key in _KEYS if key in part)
            unseen += part.values()
        elif isinstance(part, list):
            unseen += part
