from .card import ModelCard as ModelCard
from .fine_tuned_model import FineTunedModel as FineTunedModel
from .fine_tuned_model import Predictions as Predictions
from .fine_tuned_model import Score as Score
from .fine_tuned_model import load as load
from .fine_tuned_model import right_answers as right_answers
from .fine_tuned_model import score as score
