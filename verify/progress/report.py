"""Progress of long work: a bar on a terminal, a sparse line in a log, nothing when asked to be quiet.

Whatever takes long accepts ``progress``, a callable ``progress(done, total, text)``: ``done`` of ``total`` units are
finished, and ``text``, if any, says what the last one was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO, final

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID


TOLD_FROM = 0.1
"""Share of the work from which the time left is told: before it, it is mostly wrong."""

WIDTH = 79
"""Characters of a line of progress, at most."""

StepProgress = Callable[[int, int], None]
"""What a run calls, with (steps done, steps)."""


class Progress(Protocol):
    """What the engine, the campaign and the solvers call."""

    def __call__(self, done: float, total: float, text: str = "", /) -> None:
        """Report that ``done`` of ``total`` units are finished."""


def silent(done: float, total: float, text: str = "", /) -> None:
    """The progress of ``--quiet``: none."""


@final
class StepRate:
    """Turns the engine's (steps done, steps) into a job's share of the whole, with its rate and the time left.

    At most once a second; the rate is the mean since the first call, so a resumed run is not flattered.

    Example:
        >>> times = iter([0.0, 0.5, 4.0])
        >>> steps = StepRate(print, 3, 28, "adam-linf on blocks", clock=lambda: next(times))
        >>> steps(10_000, 60_000)  # a resumed run
        >>> steps(14_000, 60_000)  # after half a second: too soon
        >>> steps(42_000, 60_000)
        3.7 28 adam-linf on blocks: step 42,000 of 60,000, 8,000/s, 2 s left
    """

    def __init__(
        self, report: Progress, before: float, total: float, what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report, self._before, self._total, self._what = report, before, total, what
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._last = 0.0

    def __call__(self, done: int, steps: int, /) -> None:
        """Report that ``done`` of the job's ``steps`` are taken."""
        now = self._clock()
        if self._first is None or done < self._first[1]:  # at first, or another run after a shorter one
            self._first, self._last = (now, done), now
            return
        if now - self._last < 1.0:
            return
        self._last = now
        start, first = self._first
        rate = (done - first) / (now - start)
        left = f", {span((steps - done) / rate)} left" if rate > 0 and done >= TOLD_FROM * steps else ""
        text = f"{self._what}: step {done:,} of {steps:,}, {rate:,.0f}/s{left}"
        self._report(self._before + done / steps, self._total, text)


def span(seconds: float) -> str:
    """Seconds, or minutes, hours, days and years where these say more."""
    units = (("s", 1.0, 100.0), ("min", 60.0, 6000.0), ("h", 3600.0, 2e5), ("days", 86400.0, 5e7))
    name, unit, _ = next((u for u in units if seconds < u[2]), ("years", 3.156e7, 0.0))
    digits = 1 if name == "h" else 0
    return f"{seconds / unit:,.{digits}f} {name}"


@final
class SparseLines:
    """For logs: at most one line every ``every`` seconds.

    Example:
        >>> times = iter([0.0, 1.0, 20.0, 21.0, 35.0])
        >>> lines = SparseLines(sys.stdout, every=10.0, clock=lambda: next(times))
        >>> lines(1, 28, "signum-linf on blocks: holds")  # after 1 s: too soon
        >>> lines(14, 28, "adam-linf on blocks: holds")
        14 of 28 (50 %), 20 s, 20 s left: adam-linf on blocks: holds
        >>> lines(15, 28)
        >>> lines(24.5, 28)
        24.5 of 28 (88 %), 35 s, 5 s left
    """

    def __init__(self, stream: TextIO, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._start = self._last = clock()

    def __call__(self, done: float, total: float, text: str = "", /) -> None:
        """Print a line, unless one was printed a moment ago."""
        now = self._clock()
        if now - self._last < self._every:
            return
        self._last = now
        share = f" ({100 * done / total:.0f} %)" if total > 0 else ""
        spent = now - self._start
        left = f", {span(spent * (total - done) / done)} left" if TOLD_FROM * total <= done < total else ""
        more = f": {text}" if text else ""
        line = f"{round(done, 2):g} of {total:g}{share}, {span(spent)}{left}{more}"
        print(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…", file=self._stream, flush=True)


@final
class Bar:
    """For terminals: one rich bar, with what was finished last beside it."""

    def __init__(self, bars: RichBars) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def __call__(self, done: float, total: float, text: str = "", /) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bars.add_task("", total=total, last="")
        self._bars.update(self._task, completed=done, total=total)
        if text:
            self._bars.update(self._task, last=text)


@contextmanager
def reporting(what: str, *, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Progress]:
    """The progress that suits ``stream`` (standard error by default), shown while the block runs.

    The bar is taken off the terminal however the block ends, Ctrl-C included, so that what is printed next starts
    on a clean line.

    Args:
        what: What is under way, in a word or two.
        quiet: Show nothing.
        stream: Where to show it.

    Yields:
        The callable to hand to ``check``, ``verify`` or ``solve``.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        yield silent
    elif not stream.isatty():
        yield SparseLines(stream)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        columns = (
            SpinnerColumn(),
            TextColumn(what, markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[last]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        with Progress(*columns, console=Console(file=stream), transient=True) as bars:
            bar = Bar(bars)
            bar(0, 1)  # the spinner turns from the start, while libraries load
            yield bar
