"""Cuts as tests ask for them."""

from finetune.reuse.cuts import find_cuts


def find_cut(model, freeze_depth, *, affordable=0):
    """The deepest cut that no more values cross; where there is none, the cheapest."""
    first, *others = find_cuts(model, freeze_depth)
    return next((cut for cut in reversed(others) if cut.values <= affordable), first)
