"""How often a run is made anew, for longer or at a slower pace, where another run may decide."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.schedules import Paced
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.running.job import Job
from maxmargin.verify.training.train import Training


def _runs(monkeypatch, needed, *, native=True, missing=True, tier="quick", once=False):
    """Steps and share of the pace of all runs, where the decision on each asks for ``needed`` steps, or cannot tell."""
    made, asked = [], iter(needed)

    def run(self, training, progress):
        made.append((training.steps, training.pace.pace))
        return SimpleNamespace(slower=training.pace.pace)

    def decision(self, found, norm):
        left = next(asked, "done")
        facts = SimpleNamespace(steps_needed=None if left == "done" else left, slower=found.slower)
        return SimpleNamespace(another_run_may_do=missing and left != "done", facts=facts)

    monkeypatch.setattr(Job, "_run", run)
    monkeypatch.setattr(Job, "_decision", decision)
    monkeypatch.setattr("maxmargin.verify.running.job.replace", _new)
    trainee = get_optimizer("signum") if native else (None, None)
    exam = Exam("blocks@linear", claimed=(get_norm("linf"),))
    Job("job", exam, Training(trainee, 1000, 1, 0.01, Paced(1.0)), tier, {}, None, 0, "cpu", once=once).run()
    return made


def _new(thing, **new):
    """As dataclasses.replace, of a namespace too."""
    return SimpleNamespace(**{**vars(thing), **new})


@pytest.mark.parametrize(
    ("native", "needed", "made"),
    [
        (True, [], [(1000, 1)]),
        (True, [2000], [(1000, 1), (4000, 1)]),
        (True, [8000], [(1000, 1), (10_000, 1)]),
        (True, [15_000], [(1000, 1), (16_000, 1)]),
        (True, [17_000], [(1000, 1), (4000, 1 / 4)]),  # too long at this pace
        (True, [None], [(1000, 1), (4000, 1 / 4)]),
        (True, [None] * 5, [(1000, 1), (4000, 1 / 4), (16_000, 1 / 16)]),
        (True, [8000] + [None] * 5, [(1000, 1), (10_000, 1), (16_000, 1 / 4), (16_000, 1 / 16)]),
        (True, [None] * 2 + [16_000] * 5, [(1000, 1), (4000, 1 / 4), (16_000, 1 / 16), (64_000, 1 / 16)]),  # it closes
        (True, [None] * 2 + [40_000] * 5, [(1000, 1), (4000, 1 / 4), (16_000, 1 / 16), (64_000, 1 / 16)]),
        (True, [None] * 2 + [65_000] * 5, [(1000, 1), (4000, 1 / 4), (16_000, 1 / 16)]),  # too late
        (False, [None] * 5, [(1000, 1), (4000, 1 / 4)]),  # a black box takes minutes for them
        (False, [None, 8000], [(1000, 1), (4000, 1 / 4), (16_000, 1 / 4)]),
        (False, [8000, 9000], [(1000, 1), (10_000, 1), (24_000, 1)]),
        (False, [5000, 7000], [(1000, 1), (6250, 1), (24_000, 1)]),  # not four times as long, but all that there is
        (False, [5000, 25_000], [(1000, 1), (6250, 1)]),
        (False, [16_000, 22_000], [(1000, 1), (20_000, 1)]),  # hardly longer than the one before
    ],
)
def test_runs_are_as_long_as_a_closing_gap_asks_and_slower_where_it_does_not_close(monkeypatch, native, needed, made):
    assert _runs(monkeypatch, needed, native=native) == made


def test_nothing_is_run_again_where_more_than_the_run_speaks_against_a_norm(monkeypatch):
    assert _runs(monkeypatch, [2000], missing=False) == [(1000, 1)]


def test_nothing_is_run_again_where_one_run_is_asked_for_and_no_black_box_for_hours(monkeypatch):
    assert _runs(monkeypatch, [2000], once=True) == [(1000, 1)]
    assert _runs(monkeypatch, [2000], native=False, tier="full") == [(1000, 1)]
    assert _runs(monkeypatch, [2000] * 5, tier="full") == [(1000, 1), (4000, 1), (4000, 1 / 4)]
    assert _runs(monkeypatch, [None] * 5, tier="full") == [(1000, 1), (4000, 1 / 4)]
