from .board import board_rows as board_rows
from .board import error_lines as error_lines
from .board import render as render
from .ranking import rank as rank
from .run import run_search as run_search
from .search_result import SearchResult as SearchResult
from .study import read_monitor as read_monitor
from .study import read_trials as read_trials
