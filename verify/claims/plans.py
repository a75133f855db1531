"""The problems on which limit directions are tested, and how hard."""

from __future__ import annotations

from maxmargin.verify.claims.record import Plan
from maxmargin.verify.thresholds.judging import CLAIM_LINEAR, CLAIM_NETWORK


def linear(problem: str, quick: int, full: int, decay: float = 0.2) -> Plan:
    """A linear problem: one start, steps by tier."""
    return Plan(problem, {"quick": quick, "full": full}, CLAIM_LINEAR, {"quick": 1, "full": 2}, 0.01, decay)


def network(problem: str, quick: int, full: int, decay: float = 0.2, scale: float = 0.002) -> Plan:
    """A network: several starts of one scale, steps by tier."""
    return Plan(problem, {"quick": quick, "full": full}, CLAIM_NETWORK, {"quick": 4, "full": 8}, scale, decay)


def common(
    patience: float = 1.0, decay: float = 0.2, network_decay: float | None = None, network_scale: float = 0.002
) -> tuple[Plan, ...]:
    """Return the common problems; an optimizer with a longer memory goes slower, and has ``patience`` times the steps.

    On a network, what a weight moved the wrong way at the start is a deficit that only ‖θ‖ ~ t^((1−decay)/L) makes
    small. A smaller start helps (a quarter off the gap of sign-like steps for a tenth, which at 2 % growth a step costs
    100 steps), and so does a slower decay of the pace.
    """
    fall = decay if network_decay is None else network_decay
    return (
        linear("multiclass", int(300_000 * patience), int(5_000_000 * patience), decay),
        linear("digits-3", int(400_000 * patience), int(5_000_000 * patience), decay),
        linear("blocks", int(250_000 * patience), int(5_000_000 * patience), decay),
        network("binary@relu2:h=8", int(200_000 * patience), int(3_000_000 * patience), fall, network_scale),
    )
