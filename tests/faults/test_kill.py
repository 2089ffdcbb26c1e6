"""A search that is killed with -9 goes on: nothing lost, nothing repeated, the same board.

A longer form is `python benchmarks/kills.py`.
"""

import random

import pytest


@pytest.mark.slow
def test_search_killed_five_times_ends_as_if_it_had_never_been(make_victim, timed_search):
    whole, seconds = timed_search("halving")
    victim = make_victim("killed", strategy="halving")
    moments = random.Random(0)
    for _ in range(5):
        victim.kill_after(moments.uniform(0.1, 0.8) * seconds)
    victim.finish()
    victim.note()
    assert victim.board() == whole.board()
    assert victim.leftovers() == []
