"""How often a run is made anew, for longer, where nothing but steps is missing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.running.job import Job
from maxmargin.verify.training.train import Training


def _steps_of_runs(monkeypatch, problem, needed, *, native=True, missing=True, tier="quick"):
    """The steps of all runs, where the decision on each asks for ``needed`` steps, None at the end of the list."""
    made, asked = [], iter(needed)

    def run(self, training, progress):
        made.append(training.steps)
        return SimpleNamespace(problem=problems.get(problem))

    def decision(self, found, norm):
        left = next(asked, "done")
        facts = SimpleNamespace(steps_needed=None if left == "done" else left)
        return SimpleNamespace(more_steps_may_do=missing and left != "done", facts=facts)

    monkeypatch.setattr(Job, "_run", run)
    monkeypatch.setattr(Job, "_decision", decision)
    monkeypatch.setattr("maxmargin.verify.running.job.replace", lambda thing, **new: _new(thing, new))
    trainee = get_optimizer("signum") if native else (None, None)
    exam = Exam(problem, claimed=(get_norm("linf"),))
    Job("job", exam, Training(trainee, 1000, 1, 0.01, None), tier, {}, None, 0, "cpu").run()
    return made


def _new(thing, new):
    """As dataclasses.replace, of a namespace too."""
    return SimpleNamespace(**{**vars(thing), **new})


@pytest.mark.parametrize(
    ("problem", "native", "needed", "made"),
    [
        ("blocks@linear", True, [], [1000]),
        ("blocks@linear", True, [2000], [1000, 4000]),
        ("blocks@linear", True, [8000], [1000, 10_000]),
        ("blocks@linear", True, [None, None], [1000, 4000, 16_000]),
        ("blocks@linear", True, [None] * 5, [1000, 4000, 16_000]),
        ("blocks@linear", False, [None, None], [1000, 4000]),  # a black box takes minutes for them
        ("binary@relu2:h=8", True, [None, None], [1000, 4000]),
        ("binary@relu2:h=8", False, [8000, 9000], [1000, 10_000]),  # the third would be longer than any
        ("blocks@linear", True, [13_000], [1000]),  # nor would the longest do
    ],
)
def test_as_many_steps_as_are_asked_for_and_not_more_than_sixteen_times_the_first(
    monkeypatch, problem, native, needed, made
):
    assert _steps_of_runs(monkeypatch, problem, needed, native=native) == made


def test_nothing_is_run_again_where_more_than_steps_is_missing_or_in_the_full_tier(monkeypatch):
    assert _steps_of_runs(monkeypatch, "blocks@linear", [2000], missing=False) == [1000]
    assert _steps_of_runs(monkeypatch, "blocks@linear", [2000], tier="full") == [1000]
