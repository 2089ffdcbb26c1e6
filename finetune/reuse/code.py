"""What code that is not Keras' own computes, as far as it can be told by reading it."""

import inspect
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from finetune.compat import all_layers, calls_of
from finetune.reuse.graph import is_graph

# Named by their versions in every key.
_NAMED = {"keras", "tensorflow", "numpy"}
_PLAIN = (int, float, complex, str, bytes, bool, type(None), range, slice, np.number, np.dtype)


class UnknownCode(Exception):
    """What some code computes cannot be told; `reason` says why in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def code_of_layers(layer: keras.Layer) -> list[str]:
    """The code behind a layer and all layers and operations in it, without Keras' own.

    Besides the sources of classes and functions that is the values that these refer to: an edited
    constant is an edited layer. Of an installed package it is the version.

    Args:
        layer: A layer or model.

    Returns:
        Texts in a stable order; none where all is Keras' own.

    Raises:
        UnknownCode: If some of it cannot be read.

    Example:
        >>> code_of_layers(keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]))
        []
    """
    reader = _Reader()
    of_all_layers = vars(keras.layers.Layer())
    for part in _parts(layer):
        for name in ("call", "__call__"):
            if name in vars(part):
                raise UnknownCode(f"'{name}' of layer '{part.name}' was replaced")
            reader.read(getattr(type(part), name))
        reader.read(type(part))
        for name, value in sorted(vars(part).items()):
            if callable(value) and not isinstance(value, (type, keras.Layer)):
                reader.read(value)
            elif not (reader.is_named(type(part)) or name.startswith("_") or name in of_all_layers):
                reader.read_value(name, value)
    return reader.texts


def code_of(function: Any) -> list[str]:
    """The code behind a function or an object that can be called, see `code_of_layers`.

    Raises:
        UnknownCode: If some of it cannot be read.
    """
    reader = _Reader()
    reader.read(function)
    return reader.texts


def _parts(layer: keras.Layer) -> Iterator[Any]:
    """The layers within a layer, and the operations that its graphs call."""
    for part in all_layers(layer):
        yield part
        if is_graph(part):
            yield from (
                call.operation
                for call in calls_of(part)  # pyright: ignore[reportArgumentType]
                if not isinstance(call.operation, keras.Layer)
            )


class _Reader:
    """Reads code once, and whatever it refers to.

    Attributes:
        texts: What was read, in order.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._seen: dict[int, Any] = {}  # held, so that no other object gets its id
        places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
        self._stdlib = tuple(Path(place) for place in places)
        self._site = tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))

    def is_named(self, code: Any) -> bool:
        """Whether the key says by a version what this code computes."""
        return _home(code).split(".")[0] in _NAMED

    def read(self, code: Any) -> None:
        """Read a class, a function, or a callable object."""
        if isinstance(code, MethodType):
            code = code.__func__
        if isinstance(code, partial):
            self.read(code.func)
            self.read_value("arguments", (code.args, tuple(sorted(code.keywords.items()))))
            return
        if id(code) in self._seen or self.is_named(code):
            return
        self._seen[id(code)] = code
        if isinstance(code, (BuiltinFunctionType, np.ufunc)):
            self._read_home(code)
        elif not isinstance(code, (type, FunctionType)):
            self.read(type(code))
            for name, value in sorted(vars(code).items()):
                self.read_value(name, value)
        elif not self._read_home(code):
            self._read_own(code)

    def read_value(self, name: str, value: Any) -> None:
        """Read a value that code refers to."""
        if isinstance(value, keras.Layer) or hasattr(value, "path"):
            return  # layers are read on their own, variables belong to the weights
        if isinstance(value, (tuple, list)):
            for entry in value:
                self.read_value(name, entry)
        elif isinstance(value, dict):
            for key in value:
                self.read_value(f"{name} {key!r}", value[key])
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.texts.append(f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}")
        elif isinstance(value, _PLAIN):
            self.texts.append(f"{name} = {value!r}")
        elif isinstance(value, ModuleType):
            if not self._read_home(value) and not self.is_named(value):
                self.texts.append(_source(value))
        elif isinstance(value, (type, FunctionType, MethodType, partial)) or callable(value):
            self.read(value)
        elif not self.is_named(type(value)):
            raise UnknownCode(f"it is not known what '{name}' holds ({type(value).__name__})")

    def _read_home(self, code: Any) -> bool:
        """Read the version of the package that the code is from; False if it is not installed."""
        module = sys.modules.get(_home(code))
        if module is None:
            raise UnknownCode(f"the module of {code!r} is not known")
        top = module.__name__.split(".")[0]
        file = getattr(module, "__file__", None)
        if file is None:  # code that was typed in may pass for a builtin
            own = isinstance(code, (type, FunctionType)) and code not in vars(module).values()
            return top in sys.builtin_module_names and not own
        if any(place in Path(file).parents for place in self._site):
            self.texts.append(f"{top} {_versions(top)}")
            return True
        return any(place in Path(file).parents for place in self._stdlib)

    def _read_own(self, code: Any) -> None:
        self.texts.append(_source(code))
        if isinstance(code, type):
            for base in code.__mro__[1:]:
                if base is not object:
                    self.read(base)
            functions = [inspect.unwrap(_function(entry)) for entry in vars(code).values()]
        else:
            functions = [inspect.unwrap(code)]
        for function in functions:
            if isinstance(function, FunctionType):
                used = inspect.getclosurevars(function)
                for name, value in sorted({**used.globals, **used.nonlocals}.items()):
                    self.read_value(name, value)


@cache  # reading the lists of all installed packages takes half a second
def _versions(package: str) -> list[str]:
    """Versions of the distributions that a package was installed by."""
    names = metadata.packages_distributions().get(package, [])
    return [metadata.version(name) for name in sorted(set(names))]


def _function(entry: Any) -> Any:
    """What a class holds, without what makes a property or class method of it."""
    return getattr(entry, "fget", None) or getattr(entry, "__func__", entry)


def _home(code: Any) -> str:
    if isinstance(code, ModuleType):
        return code.__name__
    if isinstance(code, np.ufunc):
        return "numpy"
    return getattr(code, "__module__", None) or type(code).__module__


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError) as error:
        name = getattr(code, "__name__", repr(code))
        raise UnknownCode(f"the code of '{name}' cannot be read") from error
