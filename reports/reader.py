"""Decoded JSON read entry by entry, with its place in the file for messages; it may come from anyone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from maxmargin.models.errors import InputError


class ReportError(InputError):
    """Stored data that cannot be rendered: missing, damaged, or of another schema."""


Range = tuple[float, float]


@final
@dataclass(frozen=True)
class Reader:
    """One JSON object with its place in the file, for messages.

    Every method reads one entry and raises a :class:`ReportError` that names it where it is of another type;
    those with a default, and those that may give None, let it be absent.
    """

    value: Mapping[str, Any]
    place: str

    @classmethod
    def of(cls, value: Any, place: str) -> Reader:
        """Wrap a decoded value.

        Returns:
            Its reader.

        Raises:
            ReportError: when it is no object.
        """
        if not isinstance(value, Mapping):
            raise ReportError(f"{place} is {shown(value)}; needed is an object")
        return cls(value, place)

    def _typed(self, key: str, kinds: tuple[type, ...], wanted: str, default: Any) -> Any:
        value = self.value.get(key, default)
        if value is _REQUIRED:
            raise ReportError(f"{self.place} has no {key!r}")
        if value is default or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
            return value
        raise ReportError(f"{self.place}.{key} is {shown(value)}; needed is {wanted}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; required unless it has a default."""
        value = self._typed(key, (str,), "text", _REQUIRED if default is None else default)
        return str(value)

    def flagged(self, key: str) -> bool:
        """A truth value; required."""
        return bool(self._typed(key, (bool,), "true or false", _REQUIRED))

    def optional_text(self, key: str) -> str | None:
        """A text, or None."""
        value: str | None = self._typed(key, (str,), "text or null", None)
        return value

    def number(self, key: str) -> float | None:
        """A finite number; None for null, NaN and what no float can hold."""
        value: float | None = self._typed(key, (int, float), "a number or null", None)
        try:
            return value if value is not None and math.isfinite(value) else None
        except OverflowError:  # an integer beyond every float
            return None

    def integer(self, key: str) -> int:
        """A whole number; required."""
        return int(self._typed(key, (int,), "a whole number", _REQUIRED))

    def range(self, key: str) -> Range | None:
        """Two numbers, or None where one is missing."""
        value = self._typed(key, (list,), "two numbers or null", None)
        if value is None or value == [None, None]:
            return None
        pair = Reader({str(i): item for i, item in enumerate(value)}, f"{self.place}.{key}")
        low, high = pair.number("0"), pair.number("1")
        return None if low is None or high is None else (low, high)

    def flag(self, key: str) -> bool | None:
        """A truth value, or None."""
        value: bool | None = self._typed(key, (bool,), "true, false or null", None)
        return value

    def scalar(self, key: str) -> float | str | None:
        """A number or a text; truth values in words."""
        value = self._typed(key, (int, float, str, bool), "a number, text or null", None)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of the given texts; required.

        Returns:
            The text.

        Raises:
            ReportError: when it is another.
        """
        value = self.text(key)
        if value not in choices:
            raise ReportError(f"{self.place}.{key} is {shown(value)}; needed is one of {', '.join(choices)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts.

        Returns:
            The texts, none where the entry is absent.

        Raises:
            ReportError: naming the first item that is no text.
        """
        value = self._typed(key, (list,), "a list of texts", [])
        for i, item in enumerate(value):
            if not isinstance(item, str):
                raise ReportError(f"{self.place}.{key}[{i}] is {shown(item)}; needed is text")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, at least one; required.

        Returns:
            The numbers.

        Raises:
            ReportError: when there is none, or an item is something else.
        """
        value = self._typed(key, (list,), "a list of whole numbers", _REQUIRED)
        if not value or not all(type(item) is int for item in value):
            raise ReportError(f"{self.place}.{key} is {shown(value)}; needed are whole numbers, at least one")
        return tuple(value)

    def strings(self, key: str) -> dict[str, str]:
        """Texts by name; none where there is no such entry, or it is null."""
        named = Reader.of(self.value.get(key) or {}, f"{self.place}.{key}")
        return {name: named.text(name) for name in named.value}

    def objects(self, key: str) -> list[Reader]:
        """A list of objects; required."""
        value = self._typed(key, (list,), "a list", _REQUIRED)
        return [Reader.of(item, f"{self.place}.{key}[{i}]") for i, item in enumerate(value)]

    def named(self, key: str) -> dict[str, Reader]:
        """Objects by name."""
        value = self._typed(key, (dict,), "an object", {})
        return {name: Reader.of(item, f"{self.place}.{key}[{name!r}]") for name, item in value.items()}


_REQUIRED: Any = object()


def shown(value: Any) -> str:
    """A value as messages quote it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def read_json(path: Path, missing: str) -> Any:
    """Decode a file.

    Args:
        path: The file.
        missing: What to do where there is none, for the message.

    Returns:
        The decoded value.

    Raises:
        ReportError: when it is missing, cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{path} does not exist; {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is not JSON ({error}); was it cut short? Write it again") from None


def read_table(path: Path, kind: str, schema: int, writer: str) -> Reader:
    """Decode a table that a benchmark has written.

    Args:
        path: The file.
        kind: What its entry "kind" must say.
        schema: What its entry "schema" must say.
        writer: The script that writes it.

    Returns:
        Its reader.

    Raises:
        ReportError: when the file is missing, no JSON, or another table.
    """
    top = Reader.of(read_json(path, f"'python {writer}' writes it"), str(path))
    if (got := (top.value.get("kind"), top.value.get("schema"))) != (kind, schema):
        raise ReportError(
            f"{path} is of kind {shown(got[0])}, schema {shown(got[1])}; needed are {kind!r} and {schema}, "
            f"which '{writer}' writes"
        )
    return top
