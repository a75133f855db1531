"""Whether a run tells two norms apart, on points that are known: a norm's own, another's, and those between."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.linear.optimum import MarginError, solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence import apartness
from maxmargin.verify.evidence.apartness import coincide, with_apartness
from maxmargin.verify.evidence.measure import measure
from maxmargin.verify.results.candidates import CANDIDATES

NORMS = {name: get_norm(name) for name in CANDIDATES}
STEPS = np.array([0, 10, 100, 1000])


def _at_rest(problem, *points):
    """A trajectory that stands at a point, one run each."""
    theta = {k: np.stack([[p[k] for p in points]] * len(STEPS)) for k in problem.shapes}
    ones = np.ones((len(STEPS), len(points)))
    return Trajectory(
        problem=problem.name,
        optimizer="by hand",
        steps=STEPS,
        theta=theta,
        gradient={k: -b for k, b in theta.items()},
        update=theta,
        log_scale=-ones,
        margin=np.array([[problem.min_margin(p) for p in points]] * len(STEPS)),
        eta=ones,
        travelled=ones * STEPS[:, None],
        separated_at=np.zeros(len(points), dtype=int),
    )


def _told(problem, claim, *points):
    trajectory = _at_rest(problem, *points)
    found = measure(problem, trajectory, list(NORMS.values()))
    return with_apartness(problem, trajectory, found, get_norm(claim))


def _between(a, b, share):
    size = [np.sqrt(sum((x**2).sum() for x in p.values())) for p in (a, b)]
    return {k: (1 - share) * a[k] / size[0] + share * b[k] / size[1] for k in a}


BLOCKS = problems.get("blocks")
PAIRS = list(permutations(("l2", "linf", "spectral"), 2))
BEST = {name: solve_margin(BLOCKS, norm).theta for name, norm in NORMS.items()}


@pytest.mark.parametrize("claim", CANDIDATES)
def test_at_a_norms_own_optimum_every_other_norm_is_told(claim):
    rows = _told(BLOCKS, claim, BEST[claim])
    for name, row in rows.items():
        if name != claim:
            assert not row.same
            assert row.apart > 0.1
            assert row.told == pytest.approx((1.0, 1.0), abs=1e-3)
    assert rows[claim].same
    assert rows[claim].told is None


@pytest.mark.parametrize(("claim", "other"), PAIRS)
def test_at_another_norms_optimum_that_norm_is_reached(claim, other):
    assert _told(BLOCKS, claim, BEST[other])[other].told[1] < 1e-3


@pytest.mark.parametrize(("claim", "other"), PAIRS)
def test_between_two_optima_the_share_falls_all_the_way_whether_a_gap_is_linear_or_quadratic(claim, other):
    """The nearer to the claimed norm's set, the larger the other's share."""
    points = [_between(BEST[claim], BEST[other], share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    told = [_told(BLOCKS, claim, point)[other].told[0] for point in points]
    assert told == sorted(told, reverse=True)
    assert told[0] == pytest.approx(1.0, abs=1e-3)
    assert 0.2 < told[2] < 0.9
    assert told[4] < 1e-3


def test_the_worst_run_is_the_one_that_counts():
    rows = _told(BLOCKS, "l2", BEST["l2"], _between(BEST["l2"], BEST["linf"], 0.5))
    low, high = rows["linf"].told
    assert low < 0.9
    assert high == pytest.approx(1.0, abs=1e-3)
    assert rows["l2"].distance > 0.1
    assert _told(BLOCKS, "l2", BEST["l2"])["l2"].distance < 1e-6


def test_on_a_network_that_shares_its_kkt_point_nothing_is_told():
    problem = problems.get("point:x=1:1@relu2:h=1")
    theta = {"W": np.array([[1.0, 1.0]]), "a": np.array([1.0])}
    for claim, other in (("l2", "linf"), ("linf", "l2")):
        row = _told(problem, claim, theta)[other]
        assert row.apart < 1e-6
        assert not row.same


def test_where_no_point_of_the_norms_own_is_found_nothing_is_known(monkeypatch):
    def refuse(*_args, **_options):
        raise MarginError("no solver finds it")

    monkeypatch.setattr(apartness, "nearest_on_face", refuse)
    rows = _told(BLOCKS, "l2", BEST["l2"])
    assert set(rows) == set(CANDIDATES)
    assert all(row.apart is None and row.told is None for name, row in rows.items() if name != "l2")


# -- The same norm ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "a", "b", "same"),
    [
        ("blocks", "spectral", "hybrid", False),  # the vector's norm differs, however large the matrices are
        ("binary@relu2:h=8", "spectral", "hybrid", False),
        ("multiclass", "spectral", "hybrid", True),
        ("matrices", "spectral", "hybrid", True),
        ("matrices", "spectral", "hybrid:2", True),  # a factor of 2 all over
        ("blocks", "hybrid", "hybrid:2", False),
        ("blocks", "l2", "l2;max", False),  # joined differently
        ("multiclass", "l2", "l2;max", True),  # a single block
        ("blocks", "linf", "linf", True),
        ("blocks", "linf", "entrywise:1e6", False),
    ],
)
def test_norms_are_the_same_where_every_block_and_the_joint_are(spec, a, b, same):
    assert coincide(problems.get(spec), get_norm(a), get_norm(b)) is same
    assert coincide(problems.get(spec), get_norm(b), get_norm(a)) is same


def test_a_block_that_is_lighter_by_little_makes_another_norm():
    problem = problems.get("blocks")
    light = get_norm("blocks:vector=1.000001*l2,*=spectral;max")
    assert not coincide(problem, get_norm("spectral"), light)
