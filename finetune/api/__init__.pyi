from .fine_tuner import FineTuner as FineTuner
from .learning_rates import LearningRates as LearningRates
from .learning_rates import find_learning_rate as find_learning_rate
from .one_call import explain as explain
from .one_call import fine_tune as fine_tune
from .probes import narrow_depths as narrow_depths
from .result import FineTuneResult as FineTuneResult
