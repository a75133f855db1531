"""Two measurements that a long run mixes: the discrete optimizer tracks the flow, and the flow reaches a KKT point."""

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.flow import flow
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers import get_optimizer

pytestmark = pytest.mark.theory("flow", verdict=False)

N = 4.0
ETAS = (0.1, 0.05, 0.025)


def start(problem, scale=0.3):
    return starts(problem, 1, seed=1, scale=scale)


def first(theta0):
    return {k: b[0].numpy() for k, b in theta0.items()}


def apart(problem, optimizer, norm):
    """ℓ2 distance of directions, the run with each η against the flow under the norm, both at N = 4."""
    theta0 = start(problem)
    end = flow(problem, norm, first(theta0), [N]).at(0)
    size = np.sqrt(sum((b**2).sum() for b in end.values()))
    found = []
    for eta in ETAS:
        steps = round(N / eta)
        path = run(
            problem,
            optimizer,
            theta0,
            steps=steps,
            schedule=PowerLaw(eta),
            loss="exponential",
            checkpoints=2,
            native=False,
        )
        assert path.travelled[-1, 0] == pytest.approx(N)
        last = path.at(-1, 0)
        length = np.sqrt(sum((b**2).sum() for b in last.values()))
        found.append(np.sqrt(sum(((last[k] / length - end[k] / size) ** 2).sum() for k in end)))
    return np.array(found)


def order(distances):
    """The exponent p of distance ~ η^p."""
    return float(np.polyfit(np.log(ETAS), np.log(distances), 1)[0])


@pytest.mark.parametrize(
    ("spec", "name", "kwargs", "norm", "other"),
    [
        ("binary@linear", "ngd", {}, "l2", "linf"),
        ("binary@linear", "momentum-gd", {"beta": 0.5}, "l2", "linf"),
        ("multiclass@linear", "spectral-gd", {}, "spectral", "l2"),
        ("blocks@linear", "steepest", {"norm": "hybrid"}, "hybrid", None),
        ("binary@relu2:h=4", "ngd", {}, "l2", None),
    ],
)
def test_the_optimizer_tracks_its_flow_to_first_order_in_the_learning_rate(spec, name, kwargs, norm, other):
    problem = problems.get(spec)
    optimizer = get_optimizer(name, kwargs)
    distances = apart(problem, optimizer, norm)
    assert 0.8 <= order(distances) <= 1.3
    assert distances[-1] <= 0.02
    if other is not None:  # another norm's flow is not approached
        wrong = apart(problem, optimizer, other)
        assert wrong[-1] >= 5 * distances[-1]
        assert order(wrong) <= 0.2


@pytest.mark.parametrize(
    ("spec", "norm", "other", "method", "until"),
    [
        ("binary@linear", "l2", "linf", "ivp", 300.0),
        ("binary@linear", "linf", "l2", "implicit", 300.0),
        ("multiclass@linear", "spectral", "linf", "implicit", 60.0),
        ("binary@relu2:h=4", "l2", "linf", "ivp", 20.0),
    ],
)
def test_the_flow_reaches_a_kkt_point_of_its_norm(spec, norm, other, method, until):
    problem = problems.get(spec)
    got = flow(problem, norm, first(start(problem, 0.05)), until / np.array([30.0, 6.0, 1.0]), method=method, tol=1e-4)
    own, wrong = ([GapEvaluator(problem, get_norm(name))(got.at(t)).value for t in range(3)] for name in (norm, other))
    assert own[0] > own[1] > own[2]
    assert own[2] <= 0.2 * own[0]
    assert own[2] <= 1e-2
    assert wrong[2] >= 5 * own[2]
