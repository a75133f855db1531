"""How the layers' norms are joined: Muon whose layers share a step by ℓ2 or by sum, and MuonMax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.solvers.norms import get_norm, lp
from maxmargin.verify.optimizers.core.base import Facts, State, check_betas, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine
from maxmargin.verify.optimizers.core.moments import OneMoment
from maxmargin.verify.optimizers.steepest import with_momentum


@register("muon-max", "MuonMax: layers joined by max, vectors beside them by l2: no named norm (beta=0.9)")
@dataclass(frozen=True)
class MuonMax(OneMoment):
    """Momentum steepest descent in ‖θ‖ = √( (max_k ‖W_k‖_sp)² + (max_k ‖a_k‖_∞)² ), matrices W_k and vectors a_k.

    The recursion, m ← β m + (1−β) g, then with A = Σ_k ‖M_k‖_nuc over the matrices' momenta and B = Σ_k ‖m_k‖_1 over
    the vectors': W_k ← W_k − η A polar(M_k), a_k ← a_k − η B sign(m_k); ``normalized`` divides both by √(A² + B²), the
    dual norm, which is a schedule of learning rates (without it steps shrink with the loss).

    This is what Crawshaw et al. (2510.09827) call MuonMax, its norm a maximum over the layers that Muon steps, joined
    with the others' by ℓ2, without their stale nuclear norms, their Adam scaling of the vectors and Momo. Two joins
    in one norm are not among this package's norms, so none is named; with matrices alone it is ``spectral``.
    """

    beta: float = 0.9
    normalized: bool = True

    def __post_init__(self) -> None:
        check_betas(beta=self.beta)

    @override
    def facts(self) -> Facts:
        end = "/√(A²+B²)" if self.normalized else ""
        return Facts(
            norm=None,
            pace_norm="hybrid",  # of a normalized step at most 1, and at least 1/√2
            recursion=(
                f"m ← {self.beta:g} m + {1 - self.beta:.3g} g;  W ← W − η A{end} polar(M), a ← a − η B{end} sign(m), "
                "A = Σ ‖M‖_nuc, B = Σ ‖m‖_1"
            ),
            source="Crawshaw et al. 2510.09827; steepest descent in a norm: Gronich & Vardi 2602.16340",
            memory=1.0 / (1.0 - self.beta),
            lag_limit=1.0 - self.beta,
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        moment = combine(state, self.beta, gradient, 1.0 - self.beta)
        hybrid = get_norm("hybrid")
        unit = hybrid.lmo(moment.blocks)
        zero = torch.zeros_like(moment.log_scale)
        duals = {True: zero, False: zero}  # of all matrices, and of all vectors
        for k, u in unit.items():
            duals[u.ndim == 2] = duals[u.ndim == 2] - (moment.blocks[k] * u).sum()
        both = torch.stack([duals[True], duals[False]])
        share = lp.unit(both) if self.normalized else both * torch.exp(moment.log_scale)
        return {k: share[0 if u.ndim == 2 else 1] * u for k, u in unit.items()}, moment


# √Σ ‖W_k‖_sp²: layer k moves by ‖M_k‖_nuc polar(M_k), all over one length (Crawshaw et al. 2510.09827).
register("muon-l2", "Muon whose layers are joined by l2, each by its nuclear norm's share: spectral;l2 (beta=0.9)")(
    with_momentum("spectral;l2")
)
# Σ ‖W_k‖_sp: one layer a step, greedy over the layers.
register("muon-sum", "Muon that moves only the layer with the largest nuclear norm: spectral;sum (beta=0.9)")(
    with_momentum("spectral;sum")
)
