"""A search that is killed with -9 goes on: nothing lost, nothing repeated, the same board."""

import random

import pytest


@pytest.mark.parametrize("strategy", ["halving", "grid", "random", "bayesian", "hyperband"])
def test_killed_search_ends_as_if_it_had_never_been(make_victim, strategy, timed_search):
    whole, seconds = timed_search(strategy)
    victim = make_victim("killed", strategy)
    moments = random.Random(strategy)
    kills = 5 if strategy == "halving" else 1
    for _ in range(kills):
        victim.kill_after(moments.uniform(0.2, 0.8) * seconds)
    victim.finish()
    victim.note()
    assert victim.board() == whole.board()
    assert not list((victim.folder / "trials").glob(".*.partial"))
