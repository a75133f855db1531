"""The gate: every claim that is covered holds, on every problem where it is tested, by numbers read here again."""

import numpy as np
import pytest

from maxmargin.verify.claims.catalogue import CLAIMS, Claim
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running.campaign import parts

CASES = [pytest.param(name, marks=pytest.mark.theory(name)) for name in CLAIMS]
LIMITS = [pytest.param(name, marks=pytest.mark.theory(name)) for name, c in CLAIMS.items() if isinstance(c, Claim)]


@pytest.mark.parametrize("claim", CASES)
def test_what_comes_out_is_what_the_record_says(claim, campaign, record_verdict):
    verdict, record = record_verdict(campaign[claim]), CLAIMS[claim]
    assert verdict.outcome is record.expected, verdict.explain()
    assert len(verdict.problems) == len(parts(record, "quick"))
    assert bool(record.because) == (record.expected is not Outcome.HOLDS)  # what does not hold is explained


@pytest.mark.parametrize("claim", CASES)
def test_the_same_check_refuses_the_claims_control(claim, campaign, record_verdict):
    control = record_verdict(campaign[claim]).control
    assert control is not None
    assert control.refused, (control.violates, control.numbers)


@pytest.mark.parametrize("claim", LIMITS)
def test_on_linear_problems_the_matching_gap_closes_and_the_others_do_not(claim, campaign, record_verdict):
    verdict = record_verdict(campaign[claim])
    linear = [p for p in verdict.problems if p.degree == 1]
    assert {p.problem.partition("@")[0] for p in linear} >= {"multiclass", "digits-3"}
    for p in linear:
        own = p.evidence[verdict.claim]
        assert own.kkt_gap_range[1] <= 5e-3, p.problem
        assert own.rung != "numerical", p.problem
        assert own.slope_interval[1] < 0, p.problem
        for name, other in p.evidence.items():
            if not other.same:  # the same function on this problem's blocks
                assert other.kkt_gap_range[0] >= 10 * own.kkt_gap_range[1], (p.problem, name)


@pytest.mark.parametrize("claim", LIMITS)
def test_networks_approach_a_kkt_point_of_the_matching_norm_and_no_other(claim, campaign, record_verdict):
    verdict = record_verdict(campaign[claim])
    networks = [p for p in verdict.problems if p.degree >= 2]
    assert networks
    for p in networks:
        own = p.evidence[verdict.claim]
        assert p.separated_runs >= 3
        assert own.kkt_gap_range[1] <= 5e-2
        assert own.slope_interval[1] < 0
        assert own.alignment >= 0.95
        assert own.matched == 1.0
        assert own.residual <= 1e-8
        error = p.arrays[f"direction_error:{verdict.claim}"]
        early = int(np.abs(p.arrays["steps"] - p.arrays["steps"][-1] / 30).argmin())
        assert (error[-1] < error[early]).all()  # every run approaches the KKT point that is matched to its end
        assert np.median(error[-1]) <= 0.25
        assert min(e.kkt_gap_range[0] for n, e in p.evidence.items() if n != verdict.claim) >= 3 * own.kkt_gap_range[1]
