"""Limits that belong to another reference problem: robust margins, uniform margins, the margin in a metric of the data.

Each reference is convex or a system of linear equations; it is solved beside the run, with a certificate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import NORMALIZED, OWN, ROBUST
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, closing, measured


def robust_problem(X: np.ndarray, y: np.ndarray, eps: float, dual: int) -> Any:
    """Return the robust margins y⟨w, x⟩ − ε‖w‖, the worst over perturbations of size ε in the dual of ‖·‖.

    Concave and homogeneous of degree 1. Labels are multiplied into the samples, so that all have the label +1.

    Args:
        X: Samples, (n, d).
        y: Labels ±1.
        eps: Size of the perturbations.
        dual: 1 for perturbations in ℓ∞, 2 for ℓ2.
    """
    import torch

    from maxmargin.models.model import HomogeneousModel
    from maxmargin.models.problem import Problem

    class Robust(HomogeneousModel):
        name, inputs, degree, smooth = "robust", X.shape[1], 1, False
        shapes, block_degrees = {"w": (X.shape[1],)}, {"w": 1}

        def scores(self, theta: Any, X: Any) -> Any:
            w = theta["w"]
            return (X @ w - eps * (w.abs().sum() if dual == 1 else (w * w).sum().sqrt())).unsqueeze(-1)

        def pullback(self, theta: Any, X: Any, c: Any) -> Any:
            w = theta["w"]
            unit = torch.sign(w) if dual == 1 else w / (w * w).sum().sqrt()
            return {"w": c[:, 0] @ X - eps * c.sum() * unit}

    return Problem.of("robust", Robust(), X * y[:, None], np.ones(len(y)), classes=(-1, 1))


def robust(
    tier: str, seed: int, *, optimizer: str, norm: str, dual: int, share: float = 0.5, trained_on: float | None = None
) -> dict[str, float]:
    """Return 1 − robust margin/optimum, over that at a tenth; and that of the plain margin's maximizer over it.

    ε is ``share`` of the largest at which the data are robustly separable. The optimum is a convex program's; its upper
    bound is ‖Σ λ_i y_i x_i − ε s‖_* with λ in the simplex and ‖s‖ ≤ 1 in the perturbations' norm, a second program's.
    """
    import cvxpy as cp
    import torch

    from maxmargin.models import problems
    from maxmargin.solvers.linear.optimum import solve_margin
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import nearest, shrunk, trained

    plain = problems.get(f"binary:n=8,d=12,seed={seed + 6}@linear")
    X, y = plain.X.numpy(), plain.contrasts.flatten().numpy()
    eps = share * solve_margin(plain, get_norm({1: "l1", 2: "l2"}[dual])).margin
    data, own = robust_problem(X, y, eps, dual), get_norm(norm)
    fed = data if trained_on is None else robust_problem(X, y, trained_on * eps, dual)
    start = {"w": torch.as_tensor((y @ X)[None] / 100)}
    _, path = trained(fed, optimizer, steps=300_000, start=start)
    ball: dict[str, Any] = {"l1": 1, "l2": 2, "linf": "inf"}
    w, lam, unit = cp.Variable(X.shape[1]), cp.Variable(len(y), nonneg=True), cp.Variable(X.shape[1])
    worst = cp.min(cp.multiply(y, X @ w)) - eps * cp.norm(w, dual)
    cp.Problem(cp.Maximize(worst), [cp.norm(w, ball[norm]) <= 1]).solve(solver="CLARABEL")
    dual_of: dict[Any, Any] = {"l1": "inf", "l2": 2, "linf": 1, 1: "inf", 2: 2}
    height = cp.norm((X * y[:, None]).T @ lam - eps * unit, dual_of[norm])
    inside = cp.norm(unit, dual_of[dual]) <= 1
    cp.Problem(cp.Minimize(height), [cp.sum(lam) == 1, inside]).solve(solver="CLARABEL")
    assert w.value is not None
    assert lam.value is not None
    assert unit.value is not None
    best = float(data.min_margin({"w": w.value})) / float(own.value({"w": w.value}))
    weights = np.maximum(lam.value, 0) / np.maximum(lam.value, 0).sum()
    inner = unit.value / max(1.0, float(np.linalg.norm(unit.value, {1: np.inf, 2: 2}[dual])))
    upper = float(own.dual({"w": (X * y[:, None]).T @ weights - eps * inner}))

    def deficit(theta: Any) -> float:
        return 1 - float(data.min_margin(theta)) / float(own.value(theta)) / best

    end = deficit(path.at(-1, 0))
    return {
        "gap": end,
        "gap, end over a tenth": shrunk(end, deficit(path.at(nearest(path, 30_000), 0))),
        "gap of the plain maximizer over it": deficit(solve_margin(plain, own).theta) / end,
        "certified gap of the reference": 1 - best / upper,
        "separated": float(path.separated.mean()),
    }


measured(
    id="robust-erm",
    paper=ROBUST.key,
    kind="limit direction",
    statement="Steepest descent on the loss at the worst perturbations maximizes the robust margin under its norm: "
    "perturbation and optimizer each bring their own norm.",
    formula="w/‖w‖ → argmax min_i y_i⟨w, x_i⟩ − ε‖w‖_{p*} s.t. ‖w‖ ≤ 1",
    source=f"{ROBUST.name}, theorem on steepest descent in robust ERM",
    measure=robust,
    cases=(
        Case("gradient descent, linf perturbations", optimizer="ngd", norm="l2", dual=1),
        Case("sign descent, l2 perturbations", optimizer="sign-gd", norm="linf", dual=2),
    ),
    conditions=closing(1e-2, 0.6, stalled=0.9, others=False),
    hypotheses=(at_least("separated", 1.0), at_most("certified gap of the reference", 1e-6)),
    control=Control("trained without perturbations", trained_on=0.0),
)


def normalized(
    tier: str, seed: int, *, gamma: bool = True, n: int = 6, d: int = 10, steps: int = 200_000
) -> dict[str, float]:
    """Spread of the margins, standard deviation over mean, of a linear model with batch normalization at the end.

    Gradient descent of the logistic loss of f(x) = γ ⟨w, x⟩/√(wᵀΣw) with Σ = Xᵀ X/n, in w and γ (in w alone of ⟨w, x⟩
    where ``gamma`` is false), with the learning rate 0.1; the data have d ≥ n, so a uniform margin exists.

    Returns:
        The numbers; "error of the uniform margin" is of the equations Xw = 1.
    """
    from maxmargin.verify.claims.measures import shrunk

    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.choice([-1.0, 1.0], n)[:, None]  # labels multiplied into the samples
    uniform = np.linalg.lstsq(X, np.ones(n), rcond=None)[0]
    w, g, eta = X.mean(axis=0), 1.0, 0.1
    spread = {}
    for t in range(1, steps + 1):
        z = X @ w
        size = np.sqrt(z @ z / n) if gamma else 1.0
        m = g * z / size if gamma else z
        pull = -1 / (1 + np.exp(np.minimum(m, 700.0))) / n  # of the loss, by each margin
        if gamma:
            back = pull * g / size
            back = back - z * (z @ back) / (n * size * size)
            g -= eta * float(pull @ z) / size
        else:
            back = pull
        w = w - eta * (back @ X)
        if t in (steps // 100, steps // 10, steps):
            spread[t] = float(np.std(m) / np.mean(m))
    return {
        "spread of the margins": spread[steps],
        "spread, end over a tenth": shrunk(spread[steps], spread[steps // 10]),
        "least margin": float((X @ w).min() / np.linalg.norm(X @ w)),
        "error of the uniform margin": float(np.abs(X @ uniform - 1).max()),
        "gamma": g,
    }


measured(
    id="batch-norm-uniform-margin",
    paper=NORMALIZED.key,
    kind="limit direction",
    statement="Gradient descent on a linear model with batch normalization makes all margins equal, where the "
    "linear model alone would maximize the least of them.",
    formula="γ⟨w, x_i⟩y_i / √(wᵀΣw) → the same for all i",
    source=f"{NORMALIZED.name}, theorem on linear models",
    optimizers=("gd",),
    measure=normalized,
    cases=(Case("Gaussian, n = 6, d = 10"), Case("Gaussian, n = 8, d = 8", n=8, d=8)),
    conditions=(
        at_most("spread of the margins", 1e-2, refuted=3e-2),
        at_most("spread, end over a tenth", 0.3, refuted=0.9),
    ),
    hypotheses=(at_most("error of the uniform margin", 1e-9), at_least("least margin", 1e-6)),
    control=Control("the same without normalization", gamma=False),
)


def natural(
    tier: str, seed: int, *, metric: str = "fisher", reference: str = "fisher", n: int = 20, d: int = 6
) -> dict[str, float]:
    """Return 1 − margin/optimum under ‖w‖_F = √(wᵀFw), F = XᵀX/n, of steps w ← w − η F⁻¹∇ℒ/‖∇ℒ‖_{F⁻¹}, η = t^(−1/2)/10.

    The optimum is the ℓ2 margin problem of the data in the coordinates F^(1/2) w, solved with a certificate.
    """
    import torch

    from maxmargin.models import problems
    from maxmargin.models.families.linear import BlockLinear
    from maxmargin.models.problem import Problem
    from maxmargin.solvers.linear.optimum import solve_margin
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import shrunk

    plain = problems.get(f"binary:n={n},d={d},seed={seed}@linear")
    X = plain.X.numpy() * plain.contrasts.flatten().numpy()[:, None]
    scale = np.diag(np.geomspace(1, 50, d))
    X = X @ scale
    fisher = X.T @ X / n
    metrics = {"fisher": fisher, "euclidean": np.eye(d)}
    F, step = metrics[reference], np.linalg.inv(metrics[metric])
    values, vectors = np.linalg.eigh(F)
    root = (vectors / np.sqrt(values)) @ vectors.T  # F^(−1/2)
    best = solve_margin(
        Problem(
            "metric", BlockLinear((("w", (d,)),)), torch.as_tensor(X @ root), torch.ones(n, 1, 1).double(), plain.labels
        ),
        get_norm("l2"),
    )
    w, gaps, steps = np.zeros(d), {}, 200_000
    for t in range(1, steps + 1):
        m = X @ w
        weights = np.exp(m.min() - m)
        g = weights @ X
        move = step @ g
        w = w + 0.1 * t**-0.5 * move / np.sqrt(g @ move)
        if t in (steps // 10, steps):
            gaps[t] = 1 - float((X @ w).min() / np.sqrt(w @ F @ w) / best.margin)
    return {
        "gap": gaps[steps],
        "gap, end over a tenth": shrunk(gaps[steps], gaps[steps // 10]),
        "certified gap of the reference": float(best.gap),
        "least margin": float((X @ w).min()),
    }


measured(
    id="own-natural-gradient",
    paper=OWN.key,
    kind="limit direction",
    statement="Natural gradient descent, steepest in the metric of the data, maximizes the margin in that metric.",
    formula="w/‖w‖ → argmax min mᵢ(w) s.t. wᵀXᵀXw/n ≤ 1",
    source="Gunasekar et al. 1802.08246, theorem on steepest descent, for the norm of a fixed metric",
    measure=natural,
    cases=(Case("binary, 20 samples"), Case("binary, 40 samples, 12 features", n=40, d=12)),
    conditions=closing(1e-2, 0.6, stalled=0.9, others=False),
    hypotheses=(at_most("certified gap of the reference", 1e-6), at_least("least margin", 1e-6)),
    control=Control("plain gradient descent", metric="euclidean"),
)
