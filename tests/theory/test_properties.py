"""Properties of trajectories on drawn data: the theorem's rate, alignment, and the matching KKT point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxmargin.models import problems
from maxmargin.models.families.linear import MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.evidence.measure import measure
from maxmargin.verify.optimizers import get_optimizer

pytestmark = pytest.mark.theory("properties", verdict=False)  # plain assertions, no claim of the registry

# n >= k and d >= k by construction, and separable by a drawn teacher: nothing is filtered out.
DATA = st.builds(
    lambda k, more, wide, seed: f"multiclass:n={k + more},d={k + wide},k={k},seed={seed}",
    k=st.integers(2, 4),
    more=st.integers(0, 6),
    wide=st.integers(0, 5),
    seed=st.integers(0, 10_000),
)


@st.composite
def easy(draw):
    """x_i = a_i e_{y_i} + noise: the identity separates by 0.6 at least, so q*/max‖g_i‖_* is large by construction."""
    k, copies, wide = draw(st.integers(2, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    y = np.tile(np.arange(k), copies)
    X = rng.uniform(1.0, 2.0, len(y))[:, None] * np.eye(k, k + wide)[y] + rng.uniform(-0.2, 0.2, (len(y), k + wide))
    return Problem.of(f"drawn-{draw(st.uuids())}", MulticlassLinear(k, k + wide), X, y)


NORMS = ["l2", "linf", "spectral", "l1", "nuclear"]


def largest_gradient(problem, norm):
    rows = problem.jacobian({name: np.zeros(shape) for name, shape in problem.shapes.items()})
    return max(float(norm.dual({k: rows[k][i] for k in rows})) for i in range(problem.n_margins))


@pytest.mark.parametrize("name", NORMS)
@given(spec=DATA)
@settings(derandomize=True, deadline=None, max_examples=5)
def test_steepest_descent_keeps_the_rate_that_its_norm_promises(name, spec):
    """Upper bound, for any separable data and any norm, from L(W + ηΔ) ≤ L(W) (1 − η‖∇L‖_*/L + η²B²e^{ηB}/2).

    With the exponential loss and ‖∇L‖_* ≥ γ* L it gives q(T) ≥ γ* N − Σ η²B²e^{ηB}/2 − log L(0), while
    ‖W‖ ≤ N + ‖W(0)‖ (Gunasekar et al. 1802.08246; Fan et al. 2502.04664 for the rate). A step in the wrong norm, or
    longer than it should be, breaks one of the two.
    """
    problem, norm = problems.get(spec), get_norm(name)
    optimum = solve_margin(problem, norm)
    B = largest_gradient(problem, norm)
    eta0, steps = 0.3 / B, 2000
    theta0 = starts(problem, 1, seed=1, scale=0.01)
    trajectory = run(
        problem, get_optimizer("steepest", {"norm": name}), theta0, steps=steps,
        schedule=PowerLaw(eta=eta0, a=0.5), loss="exponential",
    )  # fmt: skip
    first = trajectory.at(0, 0)
    log_loss = np.logaddexp.reduce(-np.asarray(problem.margins(first)))
    for t in range(1, len(trajectory.steps)):
        travelled = trajectory.travelled[t, 0]
        # η is held for 8 steps at a time, so Σ η² ≤ 8 η(1)² + Σ η(t − 7)²; the sum below is that bound.
        etas = eta0 * np.maximum(1, np.arange(1, trajectory.steps[t] + 1) - 7) ** -0.5
        curvature = float((etas**2 * B**2 * np.exp(etas * B) / 2).sum())
        promised = optimum.margin * travelled - curvature - log_loss
        assert trajectory.margin[t, 0] >= promised - 1e-9 * (1 + abs(promised))
        assert norm.value(trajectory.at(t, 0)) <= travelled + norm.value(first) + 1e-9 * (1 + travelled)


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [("momentum-gd", "l2"), ("signum", "linf"), ("muon", "spectral"), ("adam", "linf"), ("muon-signum", "hybrid")],
)
@given(problem=easy())
@settings(derandomize=True, deadline=None, max_examples=3)
def test_drawn_problems_align_and_close(optimizer, name, problem):
    """Limit direction: steps end aligned with steepest descent in the optimizer's norm, and its gap keeps closing."""
    norm = get_norm(name)
    method = get_optimizer(optimizer)
    start = starts(problem, 1, seed=2, scale=0.01)
    trajectory = run(problem, method, start, steps=8_000)
    found = measure(problem, trajectory, [norm], claimed=[norm])
    own = found.norms[norm.name]
    gaps = found.arrays[f"kkt_gap:{norm.name}"][:, 0]
    at = [int(np.abs(trajectory.steps - s).argmin()) for s in (250, 1_000, 8_000)]
    # A gradient entry near 0 flips its sign and back under the momentum; the gate's fixed problems ask for 0.95.
    assert own.alignment >= 0.93
    assert gaps[at[2]] <= 0.05
    # From 1,000 to 8,000 steps the bound on Γ, (log n + lag)/(γ* N), falls by 5; half of that is asked for, down to
    # where a sample just outside the support fades only like t^(−its excess margin).
    assert gaps[at[2]] <= 0.4 * gaps[at[1]] or gaps[at[2]] <= 1e-3
    assert own.distance is None or own.distance <= 0.5
