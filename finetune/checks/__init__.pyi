from .check_result import CheckResult as CheckResult
from .findings import Finding as Finding
from .looked_through import LookedThrough as LookedThrough
from .remarks import quick_findings as quick_findings
from .remarks import remarks_on as remarks_on
from .through import look_through as look_through
