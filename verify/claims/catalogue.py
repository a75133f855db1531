"""The claims that are covered: which optimizer, which norm's margin, on which problems.

Adding a claim touches this file: one row more in :data:`CLAIMS`. ``maxmargin list claims``, ``maxmargin verify``
and the theory gate run every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from maxmargin.models.errors import InputError
from maxmargin.verify.thresholds.judging import CLAIM_LINEAR, CLAIM_NETWORK
from maxmargin.verify.thresholds.table import Bounds

TIERS = ("quick", "full")


class ClaimError(InputError):
    """A claim or tier that does not exist."""


@dataclass(frozen=True)
class Plan:
    """One problem on which a claim is tested, and how hard.

    Attributes:
        problem: As in ``maxmargin list problems``.
        steps: Steps of each run, by tier.
        bounds: What is asked, by tier.
        runs: Initializations, by tier.
        scale: Of the initialization: a direction forgets its start only like a power of ‖θ₀‖/‖θ‖, so start small.
        decay: The pace falls like t^(−decay) (schedules.Paced).
    """

    problem: str
    steps: Mapping[str, int]
    bounds: Mapping[str, Bounds]
    runs: Mapping[str, int]
    scale: float
    decay: float = 0.2


@dataclass(frozen=True)
class Claim:
    """One optimizer, one norm, and the problems on which they are held against each other."""

    id: str
    optimizer: str
    norm: str
    statement: str
    source: str
    plans: tuple[Plan, ...]
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def _linear(problem: str, quick: int, full: int, decay: float) -> Plan:
    return Plan(problem, {"quick": quick, "full": full}, CLAIM_LINEAR, {"quick": 1, "full": 2}, 0.01, decay)


def _network(problem: str, quick: int, full: int, decay: float, scale: float) -> Plan:
    return Plan(problem, {"quick": quick, "full": full}, CLAIM_NETWORK, {"quick": 4, "full": 8}, scale, decay)


def _plans(
    patience: float = 1.0, decay: float = 0.2, network_decay: float | None = None, network_scale: float = 0.002
) -> tuple[Plan, ...]:
    """The common problems; an optimizer with a longer memory goes slower, and has ``patience`` times the steps.

    On a network, what a weight moved the wrong way at the start is a deficit that only ‖θ‖ ~ t^((1−decay)/L) makes
    small. A smaller start helps (a quarter off the gap of sign-like steps for a tenth, which at 2 % growth a step costs
    100 steps), and so does a slower decay of the pace.

    Returns:
        One plan a problem.
    """
    fall = decay if network_decay is None else network_decay
    return (
        _linear("multiclass", int(300_000 * patience), int(5_000_000 * patience), decay),
        _linear("digits-3", int(400_000 * patience), int(5_000_000 * patience), decay),
        _linear("blocks", int(250_000 * patience), int(5_000_000 * patience), decay),
        _network("binary@relu2:h=8", int(200_000 * patience), int(3_000_000 * patience), fall, network_scale),
    )


_GV = "Gronich & Vardi 2602.16340"

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim(
            "ngd-l2",
            "ngd",
            "l2",
            "Normalized gradient descent approaches a KKT direction of the l2 margin problem.",
            "Lyu & Li 1906.05890; Tsilivis et al. 2410.22069",
            _plans(),
        ),
        Claim(
            "momentum-gd-l2",
            "momentum-gd",
            "l2",
            "Gradient descent with momentum approaches a KKT direction of the l2 margin problem.",
            f"{_GV}, theorem on momentum steepest descent",
            _plans(),
        ),
        Claim(
            "signum-linf",
            "signum",
            "linf",
            "Signum approaches a KKT direction of the linf margin problem.",
            f"{_GV}, theorem on momentum steepest descent",
            _plans(),
        ),
        Claim(
            "muon-spectral",
            "muon",
            "spectral",
            "Muon with the exact polar factor approaches a KKT direction of the max-spectral-norm margin problem.",
            f"{_GV}, theorem on momentum steepest descent; Fan et al. 2502.04664 for linear models",
            # Its KKT points are not isolated: from smaller starts it ends nearer to stationarity, but further from the
            # one point that is matched to its end (0.28 instead of 0.22 after 40,000 steps).
            _plans(network_scale=0.02),
        ),
        Claim(
            "adam-linf",
            "adam",
            "linf",
            "Adam without eps approaches a KKT direction of the linf margin problem.",
            f"{_GV}, theorem on Adam; Zhang, Zou & Cao 2406.10650 for linear models",
            _plans(patience=2, network_decay=0.1),
        ),
        Claim(
            "muon-signum-hybrid",
            "muon-signum",
            "hybrid",
            "Muon on matrices with Signum on the rest approaches a KKT direction of the hybrid margin problem.",
            f"{_GV}, corollary on composites",
            _plans(),
        ),
        Claim(
            "muon-adam-hybrid",
            "muon-adam",
            "hybrid",
            "Muon on matrices with Adam (eps = 0) on the rest approaches a KKT direction of the hybrid margin problem.",
            f"{_GV}, theorem on Muon-Adam",
            _plans(patience=1.6, decay=0.5),
            # A lagging Adam steps by κ < 1, which acts as a weight of the norm. To first order in the gradient's
            # decay rate r, κ = 1 + r (β₁/(1−β₁) − β₂/(1−β₂)): equal betas (allowed: β₁ ≤ β₂) leave only r²; a pace
            # that falls faster takes r itself to 0.
            kwargs=MappingProxyType({"beta1": 0.9, "beta2": 0.9}),
        ),
    )
}


def register(claim: Claim) -> Claim:
    """Make a claim known to ``maxmargin list claims``, ``maxmargin verify`` and the theory gate.

    Returns:
        The claim.

    Raises:
        ClaimError: when there is one of this id.
    """
    if claim.id in CLAIMS:
        raise ClaimError(f"a claim called {claim.id!r} exists already; give the new one another id")
    CLAIMS[claim.id] = claim
    return claim


def select(ids: Sequence[str] | None) -> list[Claim]:
    """Return the claims with these ids, all of them for None or none.

    Raises:
        ClaimError: for an unknown id, with a suggestion.
    """
    if not ids:
        return list(CLAIMS.values())
    chosen = []
    for name in ids:
        if name not in CLAIMS:
            near = get_close_matches(name, CLAIMS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ClaimError(f"unknown claim {name!r}{hint} Known: {', '.join(CLAIMS)}")
        if CLAIMS[name] not in chosen:
            chosen.append(CLAIMS[name])
    return chosen


def check_tier(tier: str) -> str:
    """Return the tier itself.

    Raises:
        ClaimError: unless it is ``quick`` or ``full``.
    """
    if tier not in TIERS:
        raise ClaimError(f"unknown tier {tier!r}; needed is {' or '.join(TIERS)}")
    return tier
