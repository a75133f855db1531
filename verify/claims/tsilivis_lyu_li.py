"""Steepest flow without momentum: Tsilivis et al. 2410.22069, Lyu & Li 1906.05890, Ji & Telgarsky 2006.06657."""

from __future__ import annotations

from maxmargin.verify.claims.papers import LL, TG
from maxmargin.verify.claims.plans import common
from maxmargin.verify.claims.record import claim

claim(
    "ngd-l2",
    "ngd",
    "l2",
    "Normalized gradient descent approaches a KKT direction of the l2 margin problem.",
    f"{LL.name}; {TG.name}",
    common(),
    paper=LL.key,
)
