"""What several tests of the solvers compare with."""

import numpy as np
import pytest
from scipy.optimize import minimize

from maxmargin.solvers.norms import get_norm


@pytest.fixture
def ascend():
    """A search of its own: (problem, "l2" or "linf", seed) → the normalized margin reached."""
    return _ascend


def _ascend(problem, norm, seed):
    """The best normalized margin from one start, by SLSQP on max t with margins >= t within the ball or box."""
    shapes = problem.shapes
    start = np.concatenate([block.numpy().ravel() for block in problem.model.init(seed).values()])
    start = np.append(start / max(1.0, np.abs(start).max()) * 0.5, -1.0)

    def blocks(z):
        pieces = np.split(z[:-1], np.cumsum([np.prod(shape) for shape in shapes.values()])[:-1])
        return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}

    def slopes(z):
        rows = problem.jacobian(blocks(z))
        flat = np.concatenate([rows[name].reshape(problem.n_margins, -1) for name in shapes], axis=1)
        return np.hstack([flat, -np.ones((problem.n_margins, 1))])

    constraints = [{"type": "ineq", "fun": lambda z: problem.margins(blocks(z)) - z[-1], "jac": slopes}]
    if norm == "l2":
        constraints.append(
            {"type": "ineq", "fun": lambda z: 1 - z[:-1] @ z[:-1], "jac": lambda z: np.append(-2 * z[:-1], 0.0)}
        )
    bounds = [(-1, 1)] * (len(start) - 1) + [(None, None)]
    found = minimize(
        lambda z: -z[-1],
        start,
        jac=lambda z: np.append(np.zeros(len(z) - 1), -1.0),
        bounds=bounds,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 300},
    )
    theta = blocks(found.x)
    return float(problem.min_margin(theta)) / float(get_norm(norm).value(theta)) ** problem.degree
