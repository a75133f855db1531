"""Progress: nothing when quiet, sparse lines in a log, a bar on a terminal that Ctrl-C takes away cleanly."""

from __future__ import annotations

import io

import pytest

from maxmargin.verify.progress import SparseLines, reporting


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    with reporting("checking", quiet=True, stream=stream) as progress:
        progress(1, 3, "text")
    assert stream.getvalue() == ""


def test_a_log_gets_one_line_in_ten_seconds_however_often_it_is_called() -> None:
    stream, now = io.StringIO(), 0.0

    def clock() -> float:
        return now

    lines = SparseLines(stream, every=10.0, clock=clock)
    for done in range(1, 3001):
        now = done * 0.01
        lines(done, 3000, "on blocks")
    said = stream.getvalue().splitlines()
    assert said == [
        "1000 of 3000 (33 %), 10 s: on blocks",
        "2000 of 3000 (67 %), 20 s: on blocks",
        "3000 of 3000 (100 %), 30 s: on blocks",
    ]


def test_an_unknown_total_is_no_division_by_zero() -> None:
    stream = io.StringIO()
    SparseLines(stream, every=0.0, clock=lambda: 0.0)(3, 0)
    assert stream.getvalue() == "3 of 0, 0 s\n"


def test_a_terminal_gets_a_bar_with_the_last_text(terminal: Terminal) -> None:
    with reporting("checking", stream=terminal) as progress:
        progress(1, 4)
        progress(2, 4, "[red]on blocks[/red]")
    said = terminal.getvalue()
    assert "checking" in said
    assert "50 %" in said
    assert "[red]on blocks[/red]" in said  # a name, not markup


def test_an_interrupt_restores_the_terminal_and_goes_on_up(terminal: Terminal) -> None:
    def interrupted() -> None:
        with reporting("checking", stream=terminal) as progress:
            progress(1, 4, "half way")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    said = terminal.getvalue()
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor stays hidden"
    assert said.rindex("\x1b[2K") > said.rindex("half way"), "the bar stays on the screen"
