"""What steepest descent does on its way: soft margin, rates of loss and norm, alignment, balance of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import GV, JT, LL, TG
from maxmargin.verify.claims.record import UNTIL_DECIDED, Case, Control, at_least, at_most, measured, within


def _log_loss(problem: Any, path: Any, run: int = 0) -> np.ndarray:
    """log Σ e^(−m) at every checkpoint."""
    return np.array(
        [np.logaddexp.reduce(-np.asarray(problem.margins(path.at(t, run)))) for t in range(len(path.steps))]
    )


def soft(
    tier: str, seed: int, *, problem: str, norm: str, steps_of: str | None = None, pace: float = 0.02
) -> dict[str, Any]:
    """Largest fall of log(q̃/‖θ‖ᴸ) between two checkpoints after q̃ > 0, q̃ = −log Σ e^(−m); all of its rise."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import trained
    from maxmargin.verify.engine.schedules import Paced

    data, path = trained(
        problem, "steepest", {"norm": steps_of or norm}, steps=40_000, seed=seed, scale=0.05,
        schedule=Paced(pace=pace), checkpoints=400,
    )  # fmt: skip
    q = -_log_loss(data, path)
    late = np.flatnonzero(q > 0).tolist()
    own = get_norm(norm)
    sizes = np.array([float(own.value(path.at(t, 0))) for t in late])
    margin = np.log(q[late]) - data.degree * np.log(sizes)
    return {
        "largest fall": float(np.maximum(-np.diff(margin), 0).max()),
        "rise": float(margin[-1] - margin[0]),
        "checkpoints": float(len(late)),
        "steps": path.steps[late],
        "log normalized soft margin": margin,
    }


measured(
    id="tg-soft-margin",
    paper=TG.key,
    kind="monotone",
    statement="Once the data are separated, small steps of steepest descent never lower their norm's soft margin.",
    formula="d/dt [ −log ℒ(θ) / ‖θ‖ᴸ ] ≥ 0 once ℒ(θ) < 1",
    source=f"{TG.name}, theorem on the algorithm-specific margin; {LL.name} for ℓ2",
    optimizers=("steepest", "ngd", "sign-gd", "spectral-gd", "coordinate-descent"),
    measure=soft,
    cases=tuple(
        Case(f"{problem}, {norm}", problem=problem, norm=norm)
        for problem in ("binary@relu2:h=8", "multiclass@linear")
        for norm in ("l2", "linf", "spectral", "l1", "entrywise:3")
    ),
    conditions=(at_most("largest fall", 1e-6, refuted=1e-4), at_least("rise", 0.1)),
    control=Control("the soft margin of another norm", norm="linf", steps_of="l1"),
    hypotheses=(at_least("checkpoints", 100),),
)


def soft_flow(tier: str, seed: int, *, problem: str, norm: str, until: float, off: int = 0) -> dict[str, float]:
    """The same along the norm's flow, at 60 lengths N up to ``until``, for the degree L + ``off``."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import problems, starts
    from maxmargin.verify.engine.flow import flow

    data, own = problems.get(problem), get_norm(norm)
    start = {k: b[0].numpy() for k, b in starts(data, 1, seed=seed + 1, scale=0.05).items()}
    path = flow(data, norm, start, np.geomspace(until / 100, until, 60))
    weights = [path.at(t) for t in range(60)]
    q = np.array([-np.logaddexp.reduce(-np.asarray(data.margins(w))) for w in weights])
    sizes = np.array([float(own.value(w)) for w in weights])
    late = q > 0
    margin = np.log(q[late]) - (data.degree + off) * np.log(sizes[late])
    return {
        "largest fall": float(np.maximum(-np.diff(margin), 0).max()),
        "rise": float(margin[-1] - margin[0]),
        "checkpoints": float(late.sum()),
    }


measured(
    id="tg-soft-margin-flow",
    paper=TG.key,
    kind="monotone",
    statement="Along the flow of steepest descent its norm's soft margin never falls once the data are separated.",
    formula="d/dN [ −log ℒ(θ) / ‖θ‖ᴸ ] ≥ 0 once ℒ(θ) < 1",
    source=f"{TG.name}, theorem on the algorithm-specific margin",
    optimizers=("steepest",),
    measure=soft_flow,
    cases=(
        Case("binary@linear, linf", problem="binary@linear", norm="linf", until=100.0),
        Case("binary@linear, l2", problem="binary@linear", norm="l2", until=100.0),
        Case("multiclass@linear, spectral", problem="multiclass@linear", norm="spectral", until=60.0),
        Case("binary@relu2:h=4, l2", problem="binary@relu2:h=4", norm="l2", until=20.0),
    ),
    # The integrator's relative error is 1e-4.
    conditions=(at_most("largest fall", 1e-4, refuted=1e-3), at_least("rise", 0.1)),
    control=Control("a degree that the model does not have, L + 1", off=1),
    hypotheses=(at_least("checkpoints", 20),),
)


def rates(tier: str, seed: int, *, problem: str, degree: int, optimizer: str = "ngd") -> dict[str, float]:
    """Exponents of ‖θ‖ and loss · t in log t, t the time of gradient flow."""
    from maxmargin.verify.claims.measures import exponent, flat, trained

    data, path = trained(problem, optimizer, steps=60_000, seed=seed, scale=0.02, checkpoints=60)
    at = np.flatnonzero(path.margin[:, 0] > 30.0).tolist()
    loss = _log_loss(data, path)[at]
    slope = np.array([np.log(np.linalg.norm(flat(path.at(t, 0, "gradient")))) + path.log_scale[t, 0] for t in at])
    log_t = loss - 2 * slope  # t = ∫ dN/‖∇ℒ‖, whose last part alone counts: ℒ falls by ‖∇ℒ‖ per unit of N
    size = np.array([np.linalg.norm(flat(path.at(t, 0))) for t in at])
    order = 2 - 2 / degree
    product = float(np.polyfit(np.log(log_t), 2 * (loss - slope), 1)[0])
    return {
        "exponent of the norm, times L": exponent(log_t, size) * degree,
        "exponent of loss · t, less theory's": product + order,
        "log t": float(log_t[-1]),
    }


measured(
    id="ll-rates",
    paper=LL.key,
    kind="rate",
    statement="Along gradient flow the norm is of order (log t)^(1/L), the loss of order 1/(t (log t)^(2−2/L)).",
    formula="‖θ‖ = Θ((log t)^(1/L)),  ℒ = Θ(1/(t (log t)^(2−2/L)))",
    source=f"{LL.name}, theorem on rates",
    optimizers=("ngd",),
    measure=rates,
    cases=(
        Case("multiclass@linear", problem="multiclass@linear", degree=1),
        Case("binary@diagonal:depth=2", problem="binary@diagonal:depth=2", degree=2),
        Case("binary@relu2:h=8", problem="binary@relu2:h=8", degree=3),
        Case("binary@deep-linear:depth=4", problem="binary@deep-linear:depth=4,width=4", degree=4),
    ),
    conditions=(
        within("exponent of the norm, times L", 0.95, 1.05),
        within("exponent of loss · t, less theory's", -0.1, 0.1),
    ),
    control=Control("the exponents of degree 2", degree=2),
    hypotheses=(at_least("log t", 100.0),),
)


def aligned(tier: str, seed: int, *, problem: str, optimizer: str) -> dict[str, float]:
    """1 − cos(θ, −∇ℒ), and the shares ‖W_k‖²/‖θ‖² against d_k/L; the worst of two runs."""
    from maxmargin.verify.claims.measures import cosine, nearest, trained

    data, path = trained(problem, optimizer, steps=60_000, runs=2, seed=seed, scale=0.01)

    def short(t: int) -> float:
        return max(1 + cosine(path.at(t, i), path.at(t, i, "gradient")) for i in range(path.runs))

    degrees = data.model.block_degrees or {}
    off = 0.0
    for i in range(path.runs):
        end = path.at(-1, i)
        total = sum(float((b**2).sum()) for b in end.values())
        off = max(off, *(abs(float((end[k] ** 2).sum()) / total - degrees[k] / data.degree) for k in end))
    return {
        "1 − cos": short(-1),
        "1 − cos, end over a tenth": short(-1) / short(nearest(path, 6_000)),
        "error of the layers' shares": off,
        "separated": float(path.separated.mean()),
    }


measured(
    id="jt-alignment",
    paper=JT.key,
    kind="limit direction",
    statement="Under gradient descent the weights align with the loss's gradient, and layers share ‖θ‖² as d_k/L.",
    formula="⟨θ, −∇ℒ⟩/(‖θ‖‖∇ℒ‖) → 1,  ‖W_k‖²/‖θ‖² → d_k/L",
    source=f"{JT.name}, theorem on alignment; the shares: Euler's identity",
    measure=aligned,
    cases=(
        Case("binary@relu2:h=8, ngd", problem="binary@relu2:h=8", optimizer="ngd"),
        Case("binary@relu2:h=8, momentum", problem="binary@relu2:h=8", optimizer="momentum-gd"),
        Case("binary@deep-linear:depth=3", problem="binary@deep-linear:depth=3,width=4", optimizer="ngd"),
    ),
    conditions=(
        at_most("1 − cos", 1e-2, refuted=5e-2),
        at_most("1 − cos, end over a tenth", 0.7, refuted=0.95),
        at_most("error of the layers' shares", 1e-2, refuted=5e-2),
    ),
    control=Control("signs of the gradient", optimizer="sign-gd"),
    hypotheses=(at_least("separated", 1.0),),
)


def equal_layers(tier: str, seed: int, *, problem: str, optimizer: str, norm: str, steps: int) -> dict[str, float]:
    """Largest over smallest norm of a layer at the end, less 1: the worst of two runs."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import trained

    _, path = trained(problem, optimizer, steps=steps, runs=2, seed=seed, scale=0.005)
    own = get_norm(norm)
    sizes = [[float(own.value({k: b})) for k, b in path.at(-1, i).items()] for i in range(path.runs)]
    return {
        "largest layer over smallest, less 1": max(max(s) / min(s) for s in sizes) - 1,
        "separated": float(path.separated.mean()),
    }


LAYERS = {"problem": "binary@relu2:h=8", "steps": 60_000}
measured(
    id="gv-equal-layers",
    paper=GV.key,
    kind="identity",
    statement="At KKT directions of the ℓ∞ and the max-spectral problem all layers have the same norm.",
    formula="max|W_j| = max|W_k|,  ‖W_j‖_sp = ‖W_k‖_sp",
    source=f"{GV.name}, KKT conditions of the problem; by Euler's identity no layer's multiplier vanishes",
    measure=equal_layers,
    cases=(
        Case("binary@relu2:h=8, signum", optimizer="signum", norm="linf", **LAYERS),
        Case("binary@relu2:h=8, muon", optimizer="muon", norm="spectral", **LAYERS),
    ),
    lengths=UNTIL_DECIDED,
    conditions=(at_most("largest layer over smallest, less 1", 2e-2, refuted=0.1),),
    control=Control("gradient descent in ℓ2, whose layers are as √2 to 1", optimizer="ngd", norm="l2"),
    hypotheses=(at_least("separated", 1.0),),
)
