"""Rows of images as others need them: training and validation rows as one, and some of those."""

from typing import TypeAlias

import numpy as np

from finetune.reuse.entries import Shards

Rows: TypeAlias = "np.ndarray | Shards | PickedRows"


class JoinedRows:
    """Rows of the training images and of the validation images, one after the other in each view.

    Nothing is copied until rows are asked for. Validation images have one view, which stands for
    all.

    Args:
        train: Rows of the training images, view by view.
        validation: Rows of the validation images.
        views: Number of views in `train`.

    Attributes:
        shape: As an array's.
        dtype: As an array's.

    Example:
        >>> train, validation = np.array([1, 2, 3, 4]), np.array([9])
        >>> JoinedRows(train, validation, views=2)[np.arange(6)].tolist()
        [1, 2, 9, 3, 4, 9]
    """

    def __init__(self, train: Rows, validation: Rows, views: int) -> None:
        self._train = train
        self._validation = validation
        self._images = len(train) // views
        self._all = self._images + len(validation)
        self.shape = (views * self._all, *train.shape[1:])
        self.dtype = np.result_type(train.dtype, validation.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        view, image = np.divmod(rows, self._all)
        trained = image < self._images
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        found[trained] = self._train[(view * self._images + image)[trained]]
        found[~trained] = self._validation[(image - self._images)[~trained]]
        return found


class PickedRows:
    """Some of the rows, in another order.

    Args:
        rows: All of them.
        chosen: The number of each row that is meant.

    Attributes:
        shape: As an array's.
        dtype: As an array's.

    Example:
        >>> PickedRows(np.array([10, 11, 12]), np.array([2, 0]))[np.array([0])].tolist()
        [12]
    """

    def __init__(self, rows: "Rows | JoinedRows", chosen: np.ndarray) -> None:
        self._rows = rows
        self._chosen = chosen
        self.shape = (len(chosen), *rows.shape[1:])
        self.dtype = rows.dtype

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._rows[self._chosen[rows]]
