"""``[tool.maxmargin]`` of a project's ``pyproject.toml``: what ``maxmargin check`` without a target checks.

[tool.maxmargin]
tier = "quick"                                      # of all targets; also problems = [...]
targets = [
"mypkg.optim:MySign",                             # some norm must be found
{ target = "mypkg.optim:MyMuon", claim = "spectral", kw = { momentum = 0.95 } },
]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from maxmargin.verify.cli.status import CliError

NAME, TABLE = "pyproject.toml", "tool.maxmargin"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One target, with what is asked of it; what is None is the project's."""

    target: str
    claim: str | None = None
    kw: dict[str, Any] = {}
    problems: list[str] | None = None
    tier: Literal["quick", "full"] | None = None


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table; targets as text or rows."""

    targets: list[str | dict[str, Any]]
    problems: list[str] | None = None
    tier: Literal["quick", "full"] = "quick"

    def rows(self) -> list[Row]:
        """The targets, each with the project's problems and tier where it has none of its own."""
        found = [msgspec.convert({"target": t} if isinstance(t, str) else t, Row) for t in self.targets]
        return [
            msgspec.structs.replace(row, problems=row.problems or self.problems, tier=row.tier or self.tier)
            for row in found
        ]


def find(start: Path) -> tuple[Path, list[Row]]:
    """The targets of the nearest ``pyproject.toml`` that has the table, in a folder or above it.

    Args:
        start: The folder.

    Returns:
        The folder of the file, from which its paths count, and the targets.

    Raises:
        CliError: there is none, or it says something that is not understood.
    """
    for folder in (start, *start.parents):
        table = _table(folder / NAME)
        if table is None:
            continue
        try:
            rows = msgspec.convert(table, Project).rows()
        except msgspec.ValidationError as error:
            raise CliError(f"{folder / NAME}, [{TABLE}]: {error}") from None
        if not rows:
            raise CliError(f"{folder / NAME}, [{TABLE}]: targets is empty, so nothing would be checked")
        return folder, rows
    raise CliError(
        f"no TARGET was given, and no {NAME} here or above has targets under [{TABLE}]; "
        "give module:attr or path/to/file.py:attr"
    )


def _table(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("maxmargin")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CliError(f"{path} cannot be read: {error}") from None
    return table
