"""Named errors: each says what was expected, what was received and what to do.

All derive from `FineTuneError`, so one `except finetune.FineTuneError` catches
whatever this package refuses. Those that a plain `ValueError` (or
`FileNotFoundError`) would name in Keras are that too.
"""


class FineTuneError(Exception):
    """Base class of every error that this package raises on purpose."""


class ArgumentError(FineTuneError, ValueError):
    """An argument is outside what is allowed, or two arguments do not go together."""


class UnknownBackboneError(ArgumentError):
    """The backbone's name is not one that can be wrapped."""


class PreprocessingError(ArgumentError):
    """How the backbone wants its images prepared is not known, or cannot be expressed."""


class ImageSizeError(ArgumentError):
    """The image size is not one that the backbone accepts."""


class FreezeDepthError(ArgumentError):
    """The freeze depth is outside the backbone, or names no layer or block of it."""


class WeightsError(FineTuneError):
    """Weights could not be found, downloaded, or fitted into the backbone."""


class DataError(FineTuneError, ValueError):
    """The images or labels cannot be trained on as they are."""


class DataNotFoundError(DataError, FileNotFoundError):
    """There is nothing at the place that was named as data."""


class TooFewClassesError(DataError):
    """Fewer than two classes were found."""


class EmptyClassError(DataError):
    """A class holds no readable image."""


class MissingClassError(DataError):
    """A class of the training images is absent from validation or test (or the reverse)."""


class UnreadableImageError(DataError):
    """Files that should be images could not be read."""


class DatasetNotPreparedError(DataError, FileNotFoundError):
    """A TFDS dataset is not on disk and must not (or cannot) be downloaded."""


class ModelFileError(FineTuneError):
    """A saved model cannot be read, or was not saved by this package."""


class ExportError(FineTuneError):
    """A model cannot be written in a format, or the file does not say what the model says."""


class TrainingError(FineTuneError):
    """Training cannot go on: the loss is not finite, or nothing would be trained."""


class StorageError(FineTuneError, OSError):
    """A file cannot be written: the disk is full, or the place is not writable."""


class DamagedFileError(StorageError):
    """A file of this package's own does not hold what was written to it."""


class RunFolderError(FineTuneError):
    """A run's folder cannot be used: it is held, or holds something else."""


class StudyError(FineTuneError):
    """A study's folder cannot be used: it is held, was begun otherwise, or is no study."""


class OutOfTimeError(FineTuneError):
    """Time was up before there was anything to give back."""


class SearchError(FineTuneError):
    """A search cannot go on: too many trials failed one after the other."""
