"""The exponent of realized step lengths: recovered, with an interval, and judged; paced runs against their law."""

import numpy as np
import pytest
import sympy as sp

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.schedules.admissibility import admissible_powers, t
from maxmargin.verify.engine.run import log_spaced, run, starts
from maxmargin.verify.engine.schedules import Paced, PowerLaw, Schedule
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.schedule_taken import admissibility_of, realized, symbolic
from maxmargin.verify.optimizers import get_optimizer

STEPS = np.array([0, *log_spaced(1_000_000, 60)])
LINF = get_norm("linf")


def taken(lengths, steps=STEPS):
    """A trajectory whose steps have these l-infinity lengths, (T, runs)."""
    lengths = np.asarray(lengths, dtype=float)
    ones = np.ones(lengths.shape)
    blocks = {"w": lengths[..., None] * np.array([1.0, -1.0])}
    return Trajectory(
        "p", "o", steps, blocks, blocks, blocks, 0 * ones, ones, ones, ones, np.zeros(lengths.shape[1], dtype=int)
    )  # fmt: skip


def law(a, noise=0.0, runs=3, seed=0):
    rng = np.random.default_rng(seed)
    base = np.maximum(STEPS, 1.0)[:, None] ** -a
    return taken(base * np.exp(noise * rng.standard_normal((len(STEPS), runs))))


def judged(trajectory, degree):
    return realized(degree, trajectory, LINF, range(trajectory.runs))


@pytest.mark.parametrize("degree", [1, 2, 3, 15])
@pytest.mark.parametrize("a", [0.1, 0.45, 0.6, 0.75, 0.98, 1.2])
def test_power_laws_are_judged_as_sympy_judges_them(a, degree):
    found = judged(law(a), degree)
    assert found.exponent == pytest.approx(a, abs=1e-9)
    assert found.interval == pytest.approx((a, a), abs=1e-6)
    edge = 1 - 1 / degree
    if abs(a - edge) > 0.06:  # beyond the slack the two agree
        assert found.met is bool(admissible_powers(degree).contains(sp.Rational(str(a))))


def test_noise_widens_the_interval_and_the_interval_decides():
    """L = 3, edge 2/3: an exponent of 0.8 is seen through a little noise, and left open under much."""
    clear, vague = judged(law(0.8, noise=0.02), 3), judged(law(0.8, noise=1.0), 3)
    assert clear.met is True
    assert clear.interval[0] <= 0.8 <= clear.interval[1]
    assert np.ptp(clear.interval) < 0.2 < np.ptp(vague.interval)
    assert vague.met is None
    assert judged(law(0.3, noise=0.02), 3).met is False
    assert judged(law(1.3, noise=0.02), 3).met is False
    assert judged(law(1.3, noise=1.0), 3).met is not True


def test_the_interval_covers_the_exponent_as_often_as_it_says():
    covered = [
        low <= 0.5 <= high
        for low, high in (judged(law(0.5, noise=0.1, runs=1, seed=s), 2).interval for s in range(200))
    ]
    assert 0.9 <= np.mean(covered) <= 1.0


def test_too_few_or_no_steps_are_not_judged():
    short = taken(np.ones((3, 1)), np.array([0, 8, 16]))
    assert judged(short, 1).met is None
    assert judged(taken(np.zeros((len(STEPS), 1))), 1).exponent is None


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize(("decay", "met"), [(0.0, False), (0.2, True), (0.5, True), (1.0, True)])
def test_a_paced_schedule_is_admissible_unless_its_pace_stands_still(degree, decay, met):
    """At a constant pace the gradient shrinks by the same factor at every step: the edge."""
    assert admissibility_of(Paced(decay=decay), degree).met is met


def test_the_power_of_a_paced_schedule_is_the_one_its_growth_makes():
    """eta = t^-d / |theta|^(L-1) with |theta|' = eta: integrated numerically, not by the formula."""
    decay, degree = 0.2, 3
    edges = np.geomspace(1.0, 1e12, 200_001)
    length, early = 1e-3, None
    for i in range(len(edges) - 1):
        eta = edges[i] ** -decay / length ** (degree - 1)
        length += min(eta * (edges[i + 1] - edges[i]), 0.01 * length)
        if i == 150_000:
            early = (edges[i], eta)
    a = -np.log(eta / early[1]) / np.log(edges[-2] / early[0])
    power = sp.lambdify(t, symbolic(Paced(decay=decay), degree))
    assert a == pytest.approx(-np.log(power(100.0) / power(1.0)) / np.log(100.0), rel=1e-2)


def test_other_schedules_are_not_guessed():
    class Odd(Schedule):
        @property
        def needs_speed(self):
            return False

        def rate(self, step, speed, *_):
            return speed

    assert symbolic(Odd(), 2) is None
    assert admissibility_of(Odd(), 2) is None


@pytest.mark.parametrize(
    ("schedule", "met"), [(PowerLaw(0.02, 0.8), True), (PowerLaw(0.02, 0.3), False), (Paced(pace=0.1), True)]
)
def test_the_engines_runs_on_a_network_are_judged_a_posteriori(schedule, met):
    """L = 3: t^-0.8 is within the theorem, t^-0.3 is not; a paced run finds an admissible eta by itself."""
    problem = problems.get("binary@relu2:h=4")
    theta0 = starts(problem, 2, scale=0.1)
    seen = run(problem, get_optimizer("signum"), theta0, steps=5_000, schedule=schedule, checkpoints=40)
    runs = np.flatnonzero(seen.separated)
    assert runs.size
    found = realized(problem.degree, seen, LINF, runs)
    assert found.met is met
    if isinstance(schedule, PowerLaw):
        assert found.exponent == pytest.approx(schedule.a, abs=1e-2)
