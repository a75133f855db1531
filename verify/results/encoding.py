"""The schema's way to JSON and back. JSON has no NaN: what is not finite is null there.

Files may come from anyone: what is missing, or of the wrong type, is refused with its place in the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from maxmargin.models.errors import InputError

T = TypeVar("T")
LONGEST = 300  # characters of a message: a file may hold a text of any length where a word is due

if TYPE_CHECKING:
    Real = float
else:

    class Real(float):
        """A float that is NaN where nothing was measured, and then null in JSON; any float may stand for it."""


class ReportError(InputError):
    """Stored data that cannot be used: missing, damaged, or of another schema."""


def as_json(value: Any) -> Any:
    """JSON-ready: Structs as objects, tuples and arrays as lists, numbers of numpy and torch, null for NaN and ∞."""
    plain = msgspec.to_builtins(value, enc_hook=_encode, str_keys=True)
    return json.loads(json.dumps(plain), parse_constant=lambda _: None)


def json_text(value: Any) -> str:
    """The same as the text of a file."""
    return json.dumps(as_json(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path, schema: type[T], missing: str) -> T:
    """Read a JSON file.

    Args:
        path: The file.
        schema: The type of what it holds; entries that it does not know are ignored.
        missing: What to do where there is no such file, for the message.

    Returns:
        What the file holds, checked.

    Raises:
        ReportError: when it is missing, cannot be read, is no JSON, or something else than the schema asks for.
    """
    return decode(read_json(path, missing), schema, str(path))


def read_json(path: Path, missing: str) -> Any:
    """Read a JSON file without a look at what it holds; numbers beyond every float are null."""
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite, parse_int=_integer
        )
    except FileNotFoundError:
        raise ReportError(f"{path} does not exist; {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is not JSON ({error}); was it cut short? Write it again") from None


def decode(value: Any, schema: type[T], place: str) -> T:
    """Check a decoded JSON value.

    Args:
        value: What ``read_json`` gave.
        schema: What it should be.
        place: What messages call the file.

    Returns:
        The value in the types of the schema.

    Raises:
        ReportError: naming the first entry that is missing or of the wrong type.
    """
    try:
        return msgspec.convert(value, schema, dec_hook=_decode, str_keys=True)
    except ValueError as error:  # msgspec's, or that a name is no Unicode
        text = str(error)
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 100]} … {text[-97:]}"
        raise ReportError(f"{place}: {text}") from None


def _encode(value: Any) -> Any:
    if isinstance(value, float):
        return float(value)
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    raise NotImplementedError(f"{type(value).__name__} {value!r} is not of the schema")


def _decode(kind: type, value: Any) -> Any:
    if kind is not Real:
        raise NotImplementedError(f"the schema has no {kind.__name__}")
    if value is not None and type(value) not in (int, float):
        raise TypeError(f"Expected `float | null`, got `{type(value).__name__}`")
    return Real(math.nan if value is None else value)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    return int(text) if _finite(text) is not None else None
