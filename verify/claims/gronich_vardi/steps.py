"""Steps that are not the plain ones: rates in bursts, clipped, unnormalized, flattened; and wide networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from maxmargin.verify.claims.linear.approach import (
    CLOSES,
    NETWORK,
    NETWORK_CLOSES,
    OTHERS,
    SEPARATED,
    approaches,
)
from maxmargin.verify.claims.papers import GV
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, measured

SOURCE = f"{GV.name}, theorem on momentum steepest descent"


def _closing(data: Any, path: Any, norm: str, others: Sequence[str] = OTHERS) -> dict[str, float]:
    """Γ at the end, over what it was at a tenth; the least Γ of the other norms over it."""
    from maxmargin.verify.claims.measures import gaps, nearest

    early, end = gaps(data, path, norm, [nearest(path, path.steps[-1] / 10), -1])[:, 0].tolist()
    wrong = min(float(gaps(data, path, n, [-1])[0, 0]) for n in others if n != norm)
    return {"gap": end, "gap, end over a tenth": end / early, "least other gap over it": wrong / end}


@cache
def _in_bursts(optimizer: str, seed: int, eta: float, a: float) -> Any:
    """Trained at rates η t^(−a), ten times as large in 100 steps of every thousand."""
    from torch import Tensor

    from maxmargin.verify.claims.measures import trained
    from maxmargin.verify.engine.schedules import PowerLaw

    @dataclass(frozen=True)
    class Bursts(PowerLaw):
        def rate(self, step: int, speed: Tensor, length: Tensor, growth: Tensor | None = None) -> Tensor:
            return super().rate(step, speed, length, growth) * (10.0 if step % 1000 < 100 else 1.0)

    return trained("multiclass@linear", optimizer, steps=1_000_000, seed=seed, schedule=Bursts(eta, a))


def bursts(tier: str, seed: int, *, optimizer: str, norm: str, eta: float, a: float = 0.5) -> dict[str, float]:
    """Gaps as ``approaches`` has them, and how often the rate rose from one checkpoint to the next."""
    data, path = _in_bursts(optimizer, seed, eta, a)
    return {
        **_closing(data, path, norm),
        "rises of the rate": float((np.diff(path.eta[1:, 0]) > 0).sum()),
        "separated": float(path.separated.mean()),
    }


BURSTS: dict[str, Any] = {
    "paper": GV.key,
    "formula": "η(t) = o(t^(1/L−1)), ∫η = ∞, not monotone:  Γ → 0",
    "measure": bursts,
    "conditions": CLOSES,
    "hypotheses": (*SEPARATED, at_least("rises of the rate", 1.0)),
}
measured(
    id="gv-rate-bursts",
    kind="limit direction",
    statement="Learning rates need not fall monotonically for momentum steepest descent: bursts keep the norm.",
    source=f"{SOURCE}: its schedule (LR-MSD) is not asked to be monotone",
    cases=tuple(
        Case(f"multiclass, {optimizer}", optimizer=optimizer, norm=norm, eta=eta)
        for optimizer, norm, eta in (("signum", "linf", 0.02), ("momentum-gd", "l2", 0.05), ("muon", "spectral", 0.05))
    ),
    control=Control("another norm", norm="l2"),
    **BURSTS,
)
measured(
    id="gv-rate-bursts-adam",
    kind="counterexample",
    statement="The theorem on Adam asks for a monotone rate; with bursts that vanish Adam closes the ℓ∞ gap too.",
    source=f"{GV.name}, hypothesis of the theorem on Adam; that it is not necessary: own measurement",
    cases=(Case("multiclass, adam", optimizer="adam", norm="linf", eta=0.02),),
    control=Control("bursts that do not vanish, and that the moments cannot follow", eta=1.0, a=0.0),
    **BURSTS,
)


def clipped(
    tier: str, seed: int, *, entry_by_entry: bool, growth: float, norm: str = "l2", most: float = 0.1
) -> dict[str, float]:
    """Gradient descent at rates e^(growth·t), each step cut to the length ``most``, or its entries to that size.

    At a constant rate the gradient dies out and no step is cut; at growing rates some or all are.

    Returns:
        The gap's numbers; the share of late steps at checkpoints that were cut.
    """
    import torch

    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import trained
    from maxmargin.verify.optimizers.core.base import Facts
    from maxmargin.verify.optimizers.steepest import SteepestDescent

    @dataclass(frozen=True)
    class Clipped(SteepestDescent):
        """θ ← θ − clip(η_t g)."""

        def facts(self) -> Facts:
            return Facts(norm=None, recursion="θ ← θ − clip(η g)", source="a clipped step", pace_norm="l2")

        def direction(self, state: Any, gradient: Any, step: Any) -> Any:
            log_size = gradient.log_scale + growth * step
            raw = {k: -b * torch.exp(torch.clamp(log_size, max=300.0)) for k, b in gradient.blocks.items()}
            if entry_by_entry:
                return {k: torch.clamp(b, -most, most) for k, b in raw.items()}, state
            length = torch.sqrt(sum((b * b).sum() for b in raw.values()))
            cut = torch.clamp(most / length, max=1.0)
            return {k: b * cut for k, b in raw.items()}, state

    data, path = trained("multiclass@linear", Clipped(get_norm("l2")), steps=60_000, seed=seed, eta=1.0)
    late = path.update["W"][len(path.steps) // 2 :, 0]
    cut = np.sqrt((late**2).sum(axis=(1, 2))) >= most * (1 - 1e-9)
    return {
        **_closing(data, path, norm),
        "share of late steps that are cut": float(cut.mean()),
        "separated": float(path.separated.mean()),
    }


measured(
    id="gv-clipped",
    paper=GV.key,
    kind="limit direction",
    statement="Clipping a step by its norm keeps the norm: clipped gradient descent maximizes the ℓ2 margin.",
    formula="θ ← θ − min(1, c/‖ηg‖₂) ηg:  Γ₂ → 0",
    source=f"{SOURCE}, normalized or not: a clipped step is one of the two; own derivation",
    optimizers=("ngd",),
    measure=clipped,
    cases=(
        Case("multiclass, all late steps cut", entry_by_entry=False, growth=2.0),
        Case("multiclass, no late step cut", entry_by_entry=False, growth=0.002),
    ),
    conditions=CLOSES,
    hypotheses=SEPARATED,
    control=Control("clipped entry by entry, which makes signs of the steps", entry_by_entry=True),
)


def unnormalized(
    tier: str, seed: int, *, problem: str, norm: str = "l2", others: Sequence[str] = OTHERS
) -> dict[str, float]:
    """Return gaps of θ ← θ − η(t) m, m the average of gradients, not normalized; 1 − r of the last step.

    At rates t^(−a) margins would grow like log t, and no run is long enough. At η = exp(t^0.8/20)/100 they grow like
    t^0.8, and ‖Δθ‖ like t^(0.8/L − 1), which is o(t^(1/L−1)): as long as the theorem's normalized steps may be.
    """
    import torch

    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import trained
    from maxmargin.verify.optimizers.core.logscale import combine
    from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent
    from maxmargin.verify.results.alignment import alignment

    @dataclass(frozen=True)
    class Unnormalized(MomentumSteepestDescent):
        """θ ← θ − η m; the rate is a part of the direction, in the logarithm."""

        def direction(self, state: Any, gradient: Any, step: Any) -> Any:
            m = combine(state, self.beta, gradient, 1.0 - self.beta)
            return {k: -b * torch.exp(m.log_scale + torch.pow(step, 0.8) / 20) for k, b in m.blocks.items()}, m

    data, path = trained(problem, Unnormalized(get_norm("l2")), steps=100_000, seed=seed, eta=0.01, scale=0.1)
    return {
        **_closing(data, path, norm, others),
        "1 − r": 1 - float(alignment(get_norm(norm), path.at(-1, 0, "gradient"), path.at(-1, 0, "update"))),
        "separated": float(path.separated.mean()),
    }


measured(
    id="gv-unnormalized",
    paper=GV.key,
    kind="limit direction",
    statement="Gradient descent with momentum that is not normalized approaches KKT directions of ℓ2 on networks.",
    formula="θ ← θ − η(t) m, ‖Δθ‖ = o(t^(1/L−1)):  Γ₂ → 0 for L = 2, 3, 4",
    source=f"{SOURCE}, in its unnormalized form; the rates, which grow as the loss falls: Lyu & Li 1906.05890",
    optimizers=("momentum-gd",),
    measure=unnormalized,
    cases=(
        Case("binary@relu2-fixed:h=8, L = 2", problem="binary@relu2-fixed:h=8"),
        Case("binary@relu2:h=8, L = 3", problem="binary@relu2:h=8"),
        # A deep linear network's layers are of rank one in the end, and then ℓ2 and spectral are one.
        Case("binary@deep-linear:depth=4, L = 4", problem="binary@deep-linear:depth=4,width=4", others=("l2", "linf")),
    ),
    conditions=(*NETWORK_CLOSES, at_most("1 − r", 1e-2, refuted=0.1)),
    hypotheses=SEPARATED,
    control=Control("another norm", norm="linf"),
)

measured(
    id="gv-width",
    paper=GV.key,
    kind="limit direction",
    statement="Momentum steepest descent approaches KKT directions of its norm on wide networks too.",
    formula="h = 64, 512:  Γ(θ_t) → 0",
    source=f"{SOURCE}; the width is not in it",
    measure=approaches,
    cases=tuple(
        Case(
            f"binary@relu2:h={h}, {optimizer}",
            problem=f"binary@relu2:h={h}",
            optimizer=optimizer,
            norm=norm,
            **{**NETWORK, "runs": 1},
        )
        for h in (64, 512)
        for optimizer, norm in (("signum", "linf"), ("momentum-gd", "l2"), ("muon", "spectral"))
    ),
    conditions=NETWORK_CLOSES,
    hypotheses=SEPARATED,
    control=Control("another norm", norm="l2"),
)


def flattened(tier: str, seed: int, *, rows: int = 3, steps: int = 20_000, apart: float = 0.02) -> dict[str, float]:
    """Muon on a kernel (3, 2, 2), flattened to (3, 4): gap of the spectral margin of the (``rows``, 12/rows) matrix.

    Data are drawn until the spectral optimum lacks the share ``apart`` of each other norm's margin: where two norms
    have one optimum, no run tells them apart.

    Returns:
        The gap at the end, over what it was at a tenth, the least gap of l2 and linf over it.
    """
    import torch

    from maxmargin.models.families.linear import BlockLinear
    from maxmargin.models.problem import Problem
    from maxmargin.solvers.linear.optimum import MarginSolution, solve_margin
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import nearest, trained
    from maxmargin.verify.optimizers.core.base import Facts
    from maxmargin.verify.optimizers.steepest import SteepestDescent

    spectral, rivals = get_norm("spectral"), ("l2", "linf")

    @dataclass(frozen=True)
    class Flattening(SteepestDescent):
        """The lmo of the flattened kernel."""

        def facts(self) -> Facts:
            return Facts(norm=None, recursion="lmo of g as a (3, 4) matrix", source="Muon's code", pace_norm="l2")

        def direction(self, state: Any, gradient: Any, step: Any) -> Any:
            flat = {k: torch.reshape(b, (3, 4)) for k, b in gradient.blocks.items()}
            return {k: torch.reshape(b, (3, 2, 2)) for k, b in spectral.lmo(flat).items()}, state

    def optima(matrix: Problem) -> dict[str, MarginSolution]:
        return {n: solve_margin(matrix, get_norm(n)) for n in ("spectral", *rivals)}

    def deficit(matrix: Problem, best: dict[str, MarginSolution], kernel: np.ndarray, norm: str) -> float:
        theta = {"K": kernel.reshape(matrix.shapes["K"])}
        return 1 - float(matrix.min_margin(theta)) / float(get_norm(norm).value(theta)) / best[norm].margin

    rng, y = np.random.default_rng(seed), np.array([1, -1] * 4)
    least = 0.0
    while least < apart:
        X = rng.standard_normal((8, 12))
        flat = Problem.of("matrix", BlockLinear((("K", (3, 4)),)), X, y)
        best = optima(flat)
        least = min(deficit(flat, best, best["spectral"].theta["K"], n) for n in rivals)
    matrix = Problem.of("matrix", BlockLinear((("K", (rows, 12 // rows)),)), X, y)
    best = optima(matrix)
    kernel = Problem.of("kernel", BlockLinear((("K", (3, 2, 2)),)), X, y)
    _, path = trained(kernel, Flattening(get_norm("l2")), steps=steps, seed=seed)
    own, *wrong = (deficit(matrix, best, path.at(-1, 0)["K"], n) for n in best)
    early = deficit(matrix, best, path.at(nearest(path, steps / 10), 0)["K"], "spectral")
    return {
        "gap": own,
        "gap, end over a tenth": own / early,
        "least other gap over it": min(wrong) / own,
        "separated": float(path.separated.mean()),
    }


measured(
    id="gv-flattened-convolution",
    paper=GV.key,
    kind="limit direction",
    statement="A kernel that Muon flattens to a matrix before its polar factor has the flattening's spectral norm.",
    formula="K (3, 2, 2) as (3, 4):  Γ under ‖K‖_{3×4, sp} → 0",
    source=f"{SOURCE}, for the norm that the flattening defines; own derivation",
    optimizers=("muon",),
    measure=flattened,
    cases=(Case("kernel 3 × 2 × 2"),),
    conditions=CLOSES,
    hypotheses=SEPARATED,
    control=Control("the kernel flattened the other way, to (6, 2)", rows=6),
)
