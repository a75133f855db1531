"""Progress: nothing when quiet, sparse lines in a log, a bar on a terminal that Ctrl-C takes away cleanly."""

from __future__ import annotations

import io

import pytest

from maxmargin.verify.progress.report import SparseLines, StepRate, reporting, span


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
        "1000 of 3000 (33 %), 10 s, 20 s left: on blocks",
        "2000 of 3000 (67 %), 20 s, 10 s left: on blocks",
        "3000 of 3000 (100 %), 30 s: on blocks",
    ]


def test_a_job_reports_its_share_rate_and_time_left_once_a_second() -> None:
    said: list[tuple[float, float, str]] = []
    now = 0.0
    steps = StepRate(lambda done, total, text="": said.append((done, total, text)), 2, 5, "job", clock=lambda: now)
    for done in range(0, 100_001, 100):  # 20,000 steps a second, seen 200 times a second
        now = done / 20_000
        steps(done, 400_000)
    assert [text for _, _, text in said] == [
        f"job: step {20_000 * s:,} of 400,000, 20,000/s" + f", {20 - s} s left" * (s > 1)  # from a tenth on
        for s in (1, 2, 3, 4, 5)
    ]
    assert [done for done, _, _ in said] == pytest.approx([2.05, 2.1, 2.15, 2.2, 2.25])
    assert {total for _, total, _ in said} == {5}


@pytest.mark.parametrize(("seconds", "text"), [(99, "99 s left"), (3000, "50 min left"), (9000, "2.5 h left")])
def test_long_times_are_said_in_minutes_and_hours(seconds: float, text: str) -> None:
    times, said = iter([0.0, seconds / 4]), []
    steps = StepRate(lambda done, total, text="": said.append(text), 0, 1, "job", clock=lambda: next(times))
    steps(0, 1)
    steps(1000, 5000)
    assert said[0].endswith(text)


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(99, "99 s"), (200, "3 min"), (7000, "1.9 h"), (3e5, "3 days"), (2e10, "634 years"), (1e13, "316,857 years")],
)
def test_a_span_is_told_in_the_unit_that_says_most(seconds: float, text: str) -> None:
    assert span(seconds) == text
