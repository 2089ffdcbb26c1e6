from .api import Comparison as Comparison
from .api import FineTuner as FineTuner
from .api import FineTuneResult as FineTuneResult
from .api import LearningRates as LearningRates
from .api import check as check
from .api import compare as compare
from .api import find_learning_rate as find_learning_rate
from .api import fine_tune as fine_tune
from .backbones import list_backbones as list_backbones
from .backbones import load_backbone as load_backbone
from .checks import CheckResult as CheckResult
from .data import ImageData as ImageData
from .data import load_data as load_data
from .exceptions import FineTuneError as FineTuneError
from .export import Export as Export
from .export import export_model as export_model
from .model import FineTunedModel as FineTunedModel
from .model import load as load
from .search import SearchResult as SearchResult
from .support import accuracy_interval as accuracy_interval

__version__: str
