from .check_result import CheckResult as CheckResult
from .looked_through import LookedThrough as LookedThrough
from .remarks import quick_remarks as quick_remarks
from .through import look_through as look_through
