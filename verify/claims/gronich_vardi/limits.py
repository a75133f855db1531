"""Gronich & Vardi 2602.16340: momentum steepest descent, Adam and Muon approach KKT directions of their norm."""

from __future__ import annotations

from types import MappingProxyType

from maxmargin.verify.claims.papers import GV
from maxmargin.verify.claims.plans import common
from maxmargin.verify.claims.record import claim

claim(
    "momentum-gd-l2",
    "momentum-gd",
    "l2",
    "Gradient descent with momentum approaches a KKT direction of the l2 margin problem.",
    f"{GV.name}, theorem on momentum steepest descent",
    common(),
    paper=GV.key,
)
claim(
    "signum-linf",
    "signum",
    "linf",
    "Signum approaches a KKT direction of the linf margin problem.",
    f"{GV.name}, theorem on momentum steepest descent",
    common(),
    paper=GV.key,
)
claim(
    "muon-spectral",
    "muon",
    "spectral",
    "Muon with the exact polar factor approaches a KKT direction of the max-spectral-norm margin problem.",
    f"{GV.name}, theorem on momentum steepest descent; Fan et al. 2502.04664 for linear models",
    # Its KKT points are not isolated: from smaller starts it ends nearer to stationarity, but further from the
    # one point that is matched to its end (0.28 instead of 0.22 after 40,000 steps).
    common(network_scale=0.02),
    paper=GV.key,
)
claim(
    "adam-linf",
    "adam",
    "linf",
    "Adam without eps approaches a KKT direction of the linf margin problem.",
    f"{GV.name}, theorem on Adam; Zhang, Zou & Cao 2406.10650 for linear models",
    common(patience=2, network_decay=0.1),
    paper=GV.key,
    # Adam's N is Σ η whatever the norm: where ‖θ‖ > N nothing is decided; a hundredth of the spectral norm is less.
    control="hybrid:0.01",
)
claim(
    "muon-signum-hybrid",
    "muon-signum",
    "hybrid",
    "Muon on matrices with Signum on the rest approaches a KKT direction of the hybrid margin problem.",
    f"{GV.name}, corollary on composites",
    common(),
    paper=GV.key,
)
claim(
    "muon-adam-hybrid",
    "muon-adam",
    "hybrid",
    "Muon on matrices with Adam (eps = 0) on the rest approaches a KKT direction of the hybrid margin problem.",
    f"{GV.name}, theorem on Muon-Adam",
    common(patience=1.6, decay=0.5),
    # A lagging Adam steps by κ < 1, which acts as a weight of the norm. To first order in the gradient's
    # decay rate r, κ = 1 + r (β₁/(1−β₁) − β₂/(1−β₂)): equal betas (allowed: β₁ ≤ β₂) leave only r²; a pace
    # that falls faster takes r itself to 0.
    kwargs=MappingProxyType({"beta1": 0.9, "beta2": 0.9}),
    paper=GV.key,
    control="linf",  # at most the spectral norm, so ‖θ‖ ≤ N, without which nothing is decided
)
