"""What the commands print: plain aligned columns in a pipe, a rich table on a terminal, nothing unasked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, final

from maxmargin.verify.cli.streams import results
from maxmargin.verify.results.encoding import json_text
from maxmargin.verify.results.store import json_bytes, write_through

UNBROKEN = 10_000  # characters a line of a table that does not go to a terminal: rows stay lines
STYLES = {"HOLDS": "bold green", "FAILS": "bold red", "INCONCLUSIVE": "bold yellow"}


def printable(text: object) -> str:
    r"""``text`` with control characters made visible: a target's name must not drive the terminal.

    Returns:
        Text that prints as one sees it.

    Example:
        >>> print(printable(f"a{chr(27)}[31mb"))
        a\x1b[31mb
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in str(text))


def number(value: float | None, digits: int = 2) -> str:
    """A measured number in few characters; a dash where nothing was measured.

    Returns:
        The text.

    Example:
        >>> number(0.00123), number(12.3456), number(1234.5), number(None)
        ('1.2e-03', '12', '1234', '–')
    """
    if value is None:
        return "–"
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


@final
@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers (then it is aligned to the right)."""

    heading: str
    numeric: bool = False


@final
@dataclass(frozen=True)
class Output:
    """Where a command's human text goes.

    Attributes:
        stream: Standard output; standard error when standard output carries JSON.
        quiet: Print headlines only.
    """

    stream: TextIO
    quiet: bool = False

    def headline(self, text: str) -> None:
        """The one line that is printed even when quiet."""
        self._print(text)

    def text(self, text: str = "") -> None:
        """A line of explanation."""
        if not self.quiet:
            self._print(text)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """A table: ruled and colored on a terminal, plain aligned columns otherwise."""
        if self.quiet:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        terminal = self.stream.isatty()
        table = Table(box=SIMPLE_HEAD if terminal else None, pad_edge=False)
        for column in columns:
            table.add_column(column.heading, justify="right" if column.numeric else "left")
        for row in rows:
            table.add_row(*(Text(printable(cell), style=STYLES.get(cell, "")) for cell in row))
        console = Console(file=self.stream, width=None if terminal else UNBROKEN)
        with console.capture() as lines:
            console.print(table)
        print(*(line.rstrip() for line in lines.get().splitlines()), sep="\n", file=self.stream)

    def _print(self, text: str) -> None:
        text = printable(text)
        word = text.split(" ", 1)[0].rstrip(":")
        if word in STYLES and self.stream.isatty():
            from rich.console import Console
            from rich.text import Text

            line = Text(text)
            line.stylize(STYLES[word], 0, len(word))
            Console(file=self.stream, soft_wrap=True).print(line)
        else:
            print(text, file=self.stream)


def emit_json(payload: Any, where: str | None) -> None:
    """Write ``payload`` to standard output (``"-"``), to a file at once, or nowhere (None); never NaN."""
    if where is None:
        return
    if where == "-":
        results().write(json_text(payload))
        results().flush()
    else:
        write_through(Path(where), json_bytes(payload))
