"""JSON as typed records: what a file should not hold is refused by its key, before it is used."""

import functools
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NewType, TypeVar

from finetune.exceptions import DamagedFileError
from finetune.support.files import open_regular

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")

# Far more than any record of this package takes; memory for it is no matter.
MOST_BYTES = 32 * 2**20


class _AnyFloat:
    """Says in a record that NaN and infinities may stand there."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.float_schema(strict=True, allow_inf_nan=True)


# For what training measures, which may diverge. All other numbers of a record are finite.
AnyFloat = Annotated[float, _AnyFloat]


def read_json(
    source: Path | bytes, kind: type[Record], *, name: str = "", most_bytes: int = MOST_BYTES
) -> Record:
    """Read a JSON file into a record, or refuse it.

    Types are strict (no number is read from a text), numbers are finite where the record does not
    say `AnyFloat`, nesting is bounded, and keys that the record does not know are passed over. A
    `ValueError` of the record's own `__post_init__` refuses it too.

    Args:
        source: The file, or its content.
        kind: What it should hold: a dataclass, or a type such as `dict[str, int]`.
        name: What errors call the content. Default: the file's path.
        most_bytes: Size above which it is not even read.

    Returns:
        The record.

    Raises:
        DamagedFileError: If it holds something else; the text names the keys.
        StorageError: If the file cannot be read.

    Example:
        >>> read_json(b'{"a": 1}', dict[str, int])
        {'a': 1}
        >>> read_json(b'{"a": [1, "2"]}', dict[str, list[int]], name="counts.json")
        Traceback (most recent call last):
        finetune.exceptions.DamagedFileError: counts.json cannot be used: a[1] should be a valid integer, received '2'.
    """  # noqa: E501
    import pydantic

    name = name or (str(source) if isinstance(source, Path) else "The JSON")
    if isinstance(source, Path):
        with open_regular(source) as file:
            source = file.read(most_bytes + 1)
    if len(source) > most_bytes:
        raise DamagedFileError(
            f"{name} cannot be used: expected at most {most_bytes:,} bytes, received more."
        )
    try:
        return _adapter(kind).validate_json(source)
    except pydantic.ValidationError as error:
        raise DamagedFileError(f"{name} cannot be used: {_reasons(error)}.") from error


@functools.cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    # Late, for `import finetune` and `finetune --help` read no file.
    import pydantic

    config = pydantic.ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")
    # A dataclass takes no settings from outside, but those of the type that it stands in.
    record: Any = NewType("record", kind)  # pyright: ignore[reportGeneralTypeIssues]
    return pydantic.TypeAdapter(record, config=config)


def _reasons(error: "ValidationError") -> str:
    problems = error.errors(include_url=False)
    told = [_reason(problem) for problem in problems[:3]]
    if len(problems) > len(told):
        told.append(f"and {len(problems) - len(told)} more such")
    return "; ".join(told)


def _reason(problem: Any) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    key = key.removeprefix(".") or "it"
    if problem["type"] == "json_invalid":
        return problem["msg"]
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["msg"].startswith("Input should be"):
        expected = problem["msg"].removeprefix("Input ")
        return f"{key} {expected}, received {reprlib.repr(problem['input'])}"
    return f"{key}: {problem['msg']}"
