from .evidence import Gallery as Gallery
from .facts import Board as Board
from .writing import REPORT as REPORT
from .writing import REPORT_FILES as REPORT_FILES
from .writing import evidence_of as evidence_of
from .writing import look_at as look_at
from .writing import make_report as make_report
from .writing import report_run as report_run
