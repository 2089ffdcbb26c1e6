"""What is recorded of epochs, as it stands in files."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_epochs(epochs: Sequence[dict[str, Any]], best: int, monitor: str = "val_loss") -> None:
    """Refuse epochs that no training of this package recorded.

    Args:
        epochs: One row an epoch, see `TrainingRecord`.
        best: Index of the epoch that was kept; -1 for none.
        monitor: The quantity that decided.

    Raises:
        ValueError: If a row lacks what every row has, or the best one's score is not finite.
    """
    for number, row in enumerate(epochs):
        kinds = {"phase": str, "epoch": int, "val_loss": numbers.Real, monitor: numbers.Real}
        for name, kind in kinds.items():
            if not isinstance(row.get(name), kind):
                raise ValueError(f"epochs[{number}].{name} is missing or no {kind.__name__}")
    if not -1 <= best < len(epochs):
        raise ValueError(f"expected best to be one of {len(epochs)} epochs, received {best}")
    if best >= 0 and not np.isfinite([epochs[best]["val_loss"], epochs[best][monitor]]).all():
        raise ValueError(f"the score of the best epoch, {best}, is not finite")
