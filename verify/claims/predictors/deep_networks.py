"""Deep linear, diagonal, convolutional and quadratic networks: the margin that their predictor maximizes.

The network is one of a predictor: f(θ; x) = ⟨β(θ), φ(x)⟩ with fixed features φ. Its reference problem is linear in β,
so convex under a norm, and solved with a certificate, whatever the network's own margin problem is like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from maxmargin.verify.claims.linear.approach import (
    CLOSES,
    NETWORK,
    NETWORK_CLOSES,
    SEPARATED,
    SOME_SEPARATE,
    approaches,
)
from maxmargin.verify.claims.papers import GUN, GV, OWN
from maxmargin.verify.claims.record import LONGER, Case, Control, at_most, measured
from maxmargin.verify.results.outcome import Outcome

if TYPE_CHECKING:
    from maxmargin.models.problem import Problem

Blocks = Mapping[str, np.ndarray]


def in_predictor(problem: Problem, theta: Blocks) -> tuple[Problem, dict[str, np.ndarray]]:
    """Return the linear problem that a network's predictor solves, and the predictor β(θ).

    Features are x itself; its discrete Fourier transform for convolutions, one row (Re, Im) a frequency, so that
    ``sumrow`` is ‖β̂‖₁; x xᵀ for quadratic units with a fixed head.
    """
    import torch

    from maxmargin.models.families.convolution import LinearConvolution
    from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
    from maxmargin.models.families.networks import FixedHead
    from maxmargin.models.problem import Problem

    model, X = problem.model, problem.X.numpy()
    n, d = X.shape
    blocks = {name: torch.as_tensor(block) for name, block in theta.items()}
    linear: Any
    if isinstance(model, FixedHead):
        W = theta["W"]
        signs = np.where(np.arange(model.hidden) < model.positive, 1.0, -1.0)
        linear, beta = BlockLinear((("M", (d, d)),)), {"M": (W.T * signs) @ W}
        features = np.einsum("ni,nj->nij", X, X).reshape(n, -1)
    else:
        whole = model.scores(blocks, torch.eye(d, dtype=torch.float64)).numpy().T  # (outputs, d)
        if isinstance(model, LinearConvolution):
            once = np.fft.rfft(whole[0])
            twice = np.where(np.isin(np.arange(len(once)), (0, d / 2)), 1.0, 2.0)  # those that have a conjugate
            linear = BlockLinear((("F", (len(once), 2)),))
            beta = {"F": np.stack([twice * once.real, twice * once.imag], axis=1)}
            parts = np.fft.rfft(X, axis=1) / d
            features = np.stack([parts.real, parts.imag], axis=2).reshape(n, -1)
        elif model.outputs > 1:
            linear, beta, features = MulticlassLinear(model.outputs, d), {"W": whole}, X
        else:
            linear, beta, features = BlockLinear((("w", (d,)),)), {"w": whole[0]}, X
    return Problem(
        f"{problem.name}, predictor", linear, torch.as_tensor(features), problem.contrasts, problem.labels
    ), beta


def level(problem: Problem, scale: float) -> dict[str, Any]:
    """A start of a diagonal or convolutional network that prefers no entry, or frequency, and no sign: β = 0.

    From small random starts a few entries are ahead for longer than a run: the rest escapes like a power of ‖θ‖.

    Returns:
        One start: all factors but the last are the unit of the product, times ``scale``; the last one is 0.
    """
    from maxmargin.models.families.convolution import LinearConvolution
    from maxmargin.verify.claims.measures import filled

    (d,) = next(iter(problem.shapes.values()))
    unit = np.eye(d)[0] if isinstance(problem.model, LinearConvolution) else np.ones(d)
    *rest, last = problem.shapes
    return filled(problem, {**dict.fromkeys(rest, scale * unit), last: np.zeros(d)})


def predictor_approaches(
    tier: str, seed: int, *, problem: str, optimizer: str, norm: str, others: tuple[str, ...], steps: int,
    scale: float = 0.01, flat: bool = False,
) -> dict[str, float]:  # fmt: skip
    """1 − margin/optimum of β(θ) under a norm at the end, over that at a tenth; the least of the others over it."""
    from maxmargin.models import problems
    from maxmargin.solvers.linear.optimum import solve_margin
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import nearest, trained

    data = problems.get(problem)
    start = level(data, scale) if flat else None
    _, path = trained(data, optimizer, steps=steps, seed=seed, scale=scale, start=start)
    solved: dict[str, Any] = {}

    def deficit(name: str, at: int) -> float:
        linear, beta = in_predictor(data, path.at(at, 0))
        own = get_norm(name)
        if name not in solved:
            solved[name] = solve_margin(linear, own)
        return 1 - float(linear.min_margin(beta)) / float(own.value(beta)) / solved[name].margin

    end, wrong = deficit(norm, -1), [deficit(name, -1) for name in others if name != norm]
    return {
        "gap": end,
        "gap, end over a tenth": end / deficit(norm, nearest(path, steps / 10)),
        "least other gap over it": min(wrong) / end,
        "certified gap of the reference": float(solved[norm].gap),
        "separated": float(path.separated.mean()),
    }


PREDICTOR = {"steps": 60_000, "others": ("l1", "l2", "linf")}
LEVEL = {**PREDICTOR, "steps": 300_000, "scale": 0.1, "flat": True}
MATRIX = {"steps": 60_000, "others": ("nuclear", "l2", "spectral", "linf")}
FREE = "binary:n=6,d=12"  # more features than samples: the norms' optima are far apart
MANY = "multiclass:n=6,d=8,k=3"
HYPOTHESES = (*SEPARATED, at_most("certified gap of the reference", 1e-6))

ROWS: tuple[dict[str, Any], ...] = (
    {
        "id": "gunasekar-fully-connected",
        "paper": GUN.key,
        "statement": "Gradient descent on a fully connected linear network of any depth maximizes the l2 margin of its "
        "predictor.",
        "formula": "W_L ⋯ W_1 / ‖·‖ → argmax min mᵢ(β) s.t. ‖β‖₂ ≤ 1",
        "source": f"{GUN.name}, theorem on fully connected networks",
        "cases": tuple(
            Case(f"depth {L}", problem=f"{FREE}@deep-linear:depth={L},width=4", optimizer="ngd", norm="l2", **PREDICTOR)
            for L in (2, 3)
        ),
        "control": Control("the l1 margin of the same predictor", norm="l1"),
    },
    {
        "id": "gunasekar-diagonal",
        "paper": GUN.key,
        "statement": "Gradient descent on a diagonal linear network of depth 2 maximizes its predictor's l1 margin.",
        "formula": "u₁ ∘ u₂ / ‖·‖ → argmax min mᵢ(β) s.t. ‖β‖₁ ≤ 1",
        "source": f"{GUN.name}, on diagonal networks: ℓ_{{2/L}}",
        "cases": (Case("depth 2", problem=f"{FREE}@diagonal:depth=2", optimizer="ngd", norm="l1", **LEVEL),),
        "control": Control("the l2 margin of the same predictor", norm="l2"),
    },
    {
        "id": "gunasekar-convolution",
        "paper": GUN.key,
        "statement": "Gradient descent on a full-width linear convolutional network of depth 2 maximizes the margin "
        "under the l1 norm of its predictor's Fourier transform.",
        "formula": "w₁ ∗ w₂ / ‖·‖ → argmax min mᵢ(β) s.t. ‖β̂‖₁ ≤ 1",
        "source": f"{GUN.name}, theorem on convolutional networks of depth 2",
        "cases": (
            Case(
                "depth 2", problem=f"{FREE}@conv:depth=2", optimizer="ngd", norm="sumrow",
                **{**LEVEL, "others": ("sumrow", "l2", "l1")},
            ),
        ),
        "control": Control("the l2 margin of the same predictor", norm="l2"),
    },
    {
        "id": "own-factorization",
        "paper": OWN.key,
        "statement": "Gradient descent on two linear layers of matrices maximizes their product's nuclear-norm margin.",
        "formula": "‖W₂W₁‖_nuc ≤ (‖W₁‖² + ‖W₂‖²)/2, with equality at balanced layers",
        "source": "Gunasekar et al. 1705.09280 for the norm; own derivation",
        "cases": (
            Case(
                "multiclass, l2", problem=f"{MANY}@deep-linear:depth=2,width=6", optimizer="ngd", norm="nuclear",
                **MATRIX,
            ),
        ),
        "control": Control("the l2 margin of the same product", norm="l2"),
    },
    {
        "id": "own-deep-linear-spectral",
        "paper": OWN.key,
        "statement": "Muon on linear layers of matrices maximizes the spectral margin of their product, at any depth.",
        "formula": "‖W_L ⋯ W_1‖_op ≤ Π ‖W_k‖_op ≤ ‖θ‖ᴸ",
        "source": "Own derivation",
        "cases": tuple(
            Case(
                f"depth {L}", problem=f"{MANY}@deep-linear:depth={L},width=6", optimizer="muon", norm="spectral",
                **MATRIX,
            )
            for L in (2, 3)
        ),
        "control": Control("the nuclear-norm margin of the same product", norm="nuclear"),
    },
    {
        "id": "own-deep-linear-linf",
        "paper": OWN.key,
        "statement": "Signum on fully connected or diagonal linear layers maximizes the predictor's linf margin, at "
        "any depth.",
        "formula": "‖β(θ)‖_∞ ≤ (Π m_k) ‖θ‖_∞ᴸ",
        "source": "Own derivation",
        "cases": tuple(
            Case(name, problem=f"{FREE}@{name}", optimizer="signum", norm="linf", **PREDICTOR)
            for name in ("diagonal:depth=2", "diagonal:depth=3", "deep-linear:depth=2,width=4")
        ),
        "control": Control("the l1 margin of the same predictor", norm="l1"),
    },
    {
        "id": "own-quadratic",
        "paper": OWN.key,
        "statement": "Quadratic units with a fixed head: gradient descent maximizes the nuclear-norm margin of "
        "M = Σ ± w_j w_jᵀ.",
        "formula": "‖M‖_nuc ≤ ‖W‖²",
        "source": "own derivation for xᵀMx; Gunasekar et al. 1705.09280 for the norm",
        "cases": (
            Case(
                "2d units", problem="binary:n=6,d=4@quadratic-fixed:h=8", optimizer="ngd", norm="nuclear",
                **{**MATRIX, "steps": 300_000, "scale": 1.0},
            ),
        ),
        "control": Control("the l2 margin of the same matrix", norm="l2"),
    },
)  # fmt: skip

for _row in ROWS:
    measured(
        kind="limit direction", measure=predictor_approaches, conditions=CLOSES, hypotheses=HYPOTHESES, lengths=LONGER,
        **_row,
    )  # fmt: skip


def balanced(problem: Problem, theta: Blocks, depth: int) -> tuple[Problem, dict[str, np.ndarray]]:
    """Return the balanced network of another depth with the predictor of this diagonal or convolutional one.

    Its factors have moduli |β|^(1/L), of the entries or of the Fourier transform; the first has their signs or phases.
    So ‖θ‖² = L ‖β‖_{2/L}^{2/L}, and KKT points of its ℓ2 problem are stationary points of min ‖β‖_{2/L}.
    """
    from dataclasses import replace

    model: Any = replace(cast("Any", problem.model), depth=depth)
    beta = next(iter(in_predictor(problem, theta)[1].values()))
    if beta.ndim == 1:
        moduli, signs = np.abs(beta), np.sign(beta)
        factors = [signs * moduli ** (1 / depth), *[moduli ** (1 / depth)] * (depth - 1)]
    else:
        d = model.features
        z = (beta[:, 0] + 1j * beta[:, 1]) / np.where(np.isin(np.arange(len(beta)), (0, d / 2)), 1.0, 2.0)
        moduli = np.abs(z) ** (1 / depth)
        first = moduli * np.exp(1j * np.angle(z))
        factors = [np.fft.irfft(w, d) for w in (first, *[moduli] * (depth - 1))]
    return replace(problem, model=model), dict(zip(model.shapes, factors, strict=True))


def quasi_norm(tier: str, seed: int, *, problem: str, depth: int, steps: int = 300_000) -> dict[str, float]:
    """Return Γ of the predictor as a stationary point of ℓ_{2/L}, at the end, over a tenth; and that of ℓ_2 over it.

    Where β has no more nonzero entries than active samples it is stationary for every L ≥ 2 at once: Γ of ℓ_1 is told
    for information.
    """
    from maxmargin.models import problems
    from maxmargin.solvers.kkt.gap import kkt_gap
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import nearest, trained

    data = problems.get(problem)
    _, path = trained(data, "ngd", steps=steps, seed=seed, start=level(data, 0.1))

    def gap(of: int, at: int) -> float:
        lifted, theta = balanced(data, path.at(at, 0), of)
        return float(kkt_gap(lifted, theta, get_norm("l2")).value)

    end = gap(depth, -1)
    return {
        "gap": end,
        "gap, end over a tenth": end / gap(depth, nearest(path, steps / 10)),
        "least other gap over it": gap(1, -1) / end,
        "gap of l_1": gap(2, -1),
        "separated": float(path.separated.mean()),
    }


measured(
    id="gunasekar-bridge",
    paper=GUN.key,
    kind="limit direction",
    statement="Gradient descent at depth 3 ends at stationary points of the l_{2/3} quasi-norm, of the predictor "
    "of diagonal networks and of its Fourier transform for convolutions.",
    formula="β / ‖·‖ → a KKT direction of min ‖β‖_{2/L} or ‖β̂‖_{2/L} s.t. mᵢ(β) ≥ 1",
    source=f"{GUN.name}, theorem on convolutional networks of any depth; diagonal networks likewise",
    optimizers=("ngd",),
    measure=quasi_norm,
    cases=tuple(Case(f"{m}, depth 3", problem=f"{FREE}@{m}:depth=3", depth=3) for m in ("diagonal", "conv")),
    conditions=CLOSES,
    hypotheses=SEPARATED,
    control=Control("the l2 margin, which is depth 1", depth=1),
)


GD, SIGN, MUON = ("momentum-gd", "l2"), ("signum", "linf"), ("muon", "spectral")
FROM_NEAR_0 = {**NETWORK, "scale": 0.001, "steps": 200_000, "loss": "exponential"}
LONG = {"steps": 1_000_000}
NETWORKS: dict[str, tuple[str, str, dict[tuple[str, str], dict[str, int]]]] = {
    "three-layer": ("three layers of squared ReLU, L = 7", "binary@deep-relu:depth=3,h=8", {GD: {}}),
    "relu-1.5": ("units max(z, 0)^1.5, L = 5/2", "binary@relu-power:q=1.5,h=8", {GD: {}, SIGN: {}, MUON: {}}),
    "relu-3": ("units max(z, 0)^3, L = 4", "binary@relu-power:q=3,h=8", {GD: {}, SIGN: {}, MUON: {}}),
    "quadratic": ("quadratic activation, L = 3", "binary@quadratic:h=8", {GD: LONG, SIGN: {}, MUON: {}}),
    "tied": ("shared weights, L = 7", "binary@tied:depth=3", {GD: {}}),
    "attention": ("linear attention, L = 3", "binary:n=8,d=6@attention:tokens=2", {GD: {}, SIGN: {}, MUON: {}}),
    "three-layer-slow": (
        "squared ReLU, L = 7",
        "binary@deep-relu:depth=3,h=8",
        {SIGN: {"steps": 3_000_000}, MUON: {}},
    ),
    "tied-slow": ("shared weights, L = 7", "binary@tied:depth=3", {SIGN: LONG, MUON: {}}),
}
SLOW = (
    "At L = 7 the weights grow like t^(0.8/7), by a third for ten times the steps: what the first sign-like steps "
    "moved the wrong way is still there. The gap falls, and is the smallest of the three, but not within its bound."
)
for _name, (_what, _problem, _runs) in NETWORKS.items():
    _slow = _name.endswith("-slow")
    measured(
        id=f"gv-network-{_name}",
        paper=GV.key,
        kind="limit direction",
        statement=f"Momentum steepest descent approaches KKT directions of its norm: {_what}.",
        formula="Γ(θ_t) → 0",
        source=f"{GV.name}, theorem on momentum steepest descent; the model is C¹ and homogeneous (M1, M2)",
        measure=approaches,
        cases=tuple(
            Case(
                f"{_problem}, {optimizer}",
                problem=_problem,
                optimizer=optimizer,
                norm=norm,
                **{**FROM_NEAR_0, **steps},
            )
            for (optimizer, norm), steps in _runs.items()
        ),
        conditions=NETWORK_CLOSES,
        hypotheses=SOME_SEPARATE,
        lengths={**LONGER, "full": LONGER["full"][:1]} if _slow else LONGER,
        control=Control("another norm", norm="l2" if _slow else "linf"),
        expected=Outcome.INCONCLUSIVE if _slow else Outcome.HOLDS,
        because=SLOW if _slow else "",
    )
