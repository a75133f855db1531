"""What steps that nearly follow a norm guarantee: the bound Γ ≤ 1 − r held against runs, and what it is refused for."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pytest
from msgspec import structs

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.evidence.hypotheses import hypotheses_of
from maxmargin.verify.evidence.measure import Effort, measure
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.guarantee import factor_of, late_alignment
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, ProblemVerdict
from maxmargin.verify.thresholds.judging import BOUND_SLACK, GUARANTEE, PATH_SLACK

SPECTRAL = get_norm("spectral")


def _ran(name, optimizer, steps):
    problem = problems.get(name)
    trajectory = run(
        problem, optimizer, starts(problem, 1, scale=0.01), steps=steps, schedule=paced_for(optimizer), checkpoints=24
    )
    evidence = measure(problem, trajectory, [SPECTRAL], effort=Effort(checkpoints=2, wrong_checkpoints=2))
    return Measured(problem, trajectory, evidence, Exam(problem.name))


def _verdict(m, **changes):
    fields = {
        "problem": m.problem.name,
        "degree": m.problem.degree,
        "outcome": Outcome.FAILS,
        "steps": int(m.trajectory.steps[-1]),
        "final_margin": float(m.trajectory.margin[-1].max()),
        "evidence": m.evidence.norms,
        "hypotheses": hypotheses_of(m.problem, m.trajectory, SPECTRAL),
        "norm": "spectral",
    }
    return ProblemVerdict(**(fields | changes))


@pytest.fixture(scope="module")
def one_step():
    """Muon with one Newton–Schulz step, on matrices: hardly more than normalized gradients."""
    return _ran("matrices", get_optimizer("muon-ns", {"steps": 1, "dtype": "float64", "factor": "none"}), 10_000)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_the_bound_holds_for_newton_schulz_steps_and_is_nearly_met(steps):
    """Γ after 2e4 steps: 0.241, 0.215, 0.186, 0.195, 0.187; 1 − r: 0.243, 0.220, 0.195, 0.199, 0.187."""
    m = _ran("matrices", get_optimizer("muon-ns", {"steps": steps, "dtype": "float64", "factor": "none"}), 10_000)
    gap, bound = m.evidence.norms["spectral"].kkt_gap, 1.0 - late_alignment(m, "spectral")
    assert gap <= bound + 2e-3
    assert gap >= bound - 0.03
    factor = factor_of([m], [_verdict(m)])
    assert factor.guaranteed == pytest.approx(1 - bound)
    assert factor.reached == pytest.approx(1 - gap)


def test_the_bound_holds_on_a_network():
    m = _ran("multiclass@relu2:h=8", get_optimizer("muon-ns", {"dtype": "float64", "factor": "none"}), 30_000)
    assert m.evidence.norms["spectral"].kkt_gap <= 1.0 - late_alignment(m, "spectral") + BOUND_SLACK


def test_an_alignment_that_is_computed_wrongly_contradicts_the_bound(one_step):
    """The cosine (alignment under l2) in place of r: 0.87, where the gap is 0.24."""
    ran = one_step.trajectory
    l2 = get_norm("l2")
    cosines = [alignment(l2, ran.at(t, 0, "gradient"), ran.at(t, 0, "update")) for t in range(len(ran.steps))]
    wrong = np.array(cosines)[:, None]
    evidence = replace(one_step.evidence, arrays={**one_step.evidence.arrays, "alignment:spectral": wrong})
    spoiled = replace(one_step, evidence=evidence)
    assert late_alignment(spoiled, "spectral") > 0.85
    assert factor_of([one_step], [_verdict(one_step)]) is not None
    assert factor_of([spoiled], [_verdict(spoiled)]) is None


def test_the_worst_late_step_counts_not_the_median(one_step):
    series = one_step.evidence.arrays["alignment:spectral"].copy()
    series[-2] = GUARANTEE + 0.01
    early = one_step.evidence.arrays["alignment:spectral"].copy()
    early[0] = 0.0  # a decade before the end, anything may have been
    for changed, least in ((series, GUARANTEE + 0.01), (early, late_alignment(one_step, "spectral"))):
        m = replace(
            one_step,
            evidence=replace(one_step.evidence, arrays={**one_step.evidence.arrays, "alignment:spectral": changed}),
        )
        assert factor_of([m], [_verdict(m)]).guaranteed == pytest.approx(least)


@pytest.mark.parametrize(
    "changes",
    [
        {"final_margin": 0.0},
        {"hypotheses": {"direction settles": Hypothesis(False, 0.5)}},
        {"hypotheses": {"R": Hypothesis(None, 1.01 + PATH_SLACK)}},
        {"norm": "l1"},  # not measured
    ],
    ids=str,
)
def test_without_its_hypotheses_nothing_is_guaranteed(one_step, changes):
    assert factor_of([one_step], [_verdict(one_step, **changes)]) is None


@pytest.mark.parametrize("r", [GUARANTEE - 0.01, nan])
def test_too_little_is_no_guarantee(one_step, r):
    arrays = {"alignment:spectral": np.full_like(one_step.evidence.arrays["alignment:spectral"], r)}
    m = replace(one_step, evidence=replace(one_step.evidence, arrays=arrays))
    assert factor_of([m], [_verdict(m)]) is None


@pytest.mark.parametrize(
    "kind", [Kind.FROZEN, Kind.LAYOUT, Kind.RULE, Kind.CENTRED, Kind.WEIGHTS, Kind.SHARED, Kind.RANDOM]
)
def test_a_fault_is_no_factor(one_step, kind):
    fault = Finding.of(kind, "wide", 1.0, "it is broken")
    m = replace(one_step, exam=Exam("matrices", findings=(fault,)))
    assert factor_of([m], [_verdict(m)]) is None
    steps = Finding.of(Kind.NEWTON_SCHULZ, "wide", 0.2, "one Newton–Schulz step")
    assert factor_of([replace(m, exam=Exam("matrices", findings=(steps,)))], [_verdict(m)]) is not None
    both = replace(m, exam=Exam("matrices", findings=(steps, fault)))  # which is a wrong length on a vector
    assert (factor_of([both], [_verdict(m)]) is not None) is (kind is Kind.WEIGHTS)


def test_the_worst_problem_speaks_for_all(one_step):
    better = structs.replace(one_step.evidence.norms["spectral"], kkt_gap=0.01, kkt_gap_range=(0.01, 0.01))
    easy = replace(one_step, evidence=replace(one_step.evidence, norms={"spectral": better}))
    found = factor_of([easy, one_step], [_verdict(easy), _verdict(one_step)])
    assert found == factor_of([one_step], [_verdict(one_step)])
    arrays = one_step.evidence.arrays
    lower = {**arrays, "alignment:spectral": np.minimum(arrays["alignment:spectral"], GUARANTEE + 0.02)}
    worse = replace(one_step, evidence=replace(one_step.evidence, arrays=lower))
    both = factor_of([one_step, worse], [_verdict(one_step), _verdict(worse)])
    assert both.guaranteed == pytest.approx(GUARANTEE + 0.02)
