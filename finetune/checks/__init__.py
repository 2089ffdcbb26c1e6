"""Labelled images looked through: copies, mistaken labels, pictures that show nothing, odd ones."""

import lazy_loader

# The names stand in __init__.pyi; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
