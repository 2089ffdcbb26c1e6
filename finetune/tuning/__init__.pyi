from .configuration import write_arguments as write_arguments
from .hyperparameters import Searchable as Searchable
from .hyperparameters import describe_value as describe_value
from .settings import FREEZE_DEPTH as FREEZE_DEPTH
from .settings import LEARNING_RATE as LEARNING_RATE
from .settings import Settings as Settings
from .trainer import Trainer as Trainer
