"""Which learning-rate schedules the theorems allow, decided by sympy.

Gronich & Vardi (2602.16340) ask of momentum steepest descent on a model of degree L that ``∫ η dt = ∞`` and
``η = o(t^{1/L − 1})`` (LR-MSD); Adam needs moreover a non-increasing η (LR-Adam) and β₁ ≤ β₂. Steepest descent without
momentum has nothing to track and needs the first alone. For the power law η₀ t^{−a} the first two read
``1 − 1/L < a ≤ 1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import sympy as sp

t = sp.Symbol("t", positive=True)
"""Time, or the number of steps, in every schedule."""


class ScheduleError(ValueError):
    """A schedule or an optimizer family that cannot be read."""


@final
@dataclass(frozen=True)
class Admissibility:
    """Whether a schedule meets the hypotheses of the convergence theorem.

    Attributes:
        met: All conditions are met; None: at least one is undecided and none is violated.
        reasons: One sentence for every condition that is not met.
        conditions: Name → ``{"met": bool or None, "value": what was found}``.
    """

    met: bool | None
    reasons: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]]


# sympy's limits of these at infinity can run for minutes; such schedules are undecided.
_OSCILLATING = sp.functions.elementary.trigonometric.TrigonometricFunction

Condition = Callable[[sp.Expr, sp.Rational, Mapping[str, float | None]], tuple[bool | None, Any, str]]


def _diverges(eta: sp.Expr, degree: sp.Rational, betas: Mapping[str, float | None]) -> tuple[bool | None, Any, str]:
    # First against the powers of t, where limits suffice: η·t → nonzero makes ∫η infinite, η·t^{1+ε} → 0 finite.
    ratio = _limit(eta * t)
    if ratio is not None and (ratio == sp.oo or (ratio.is_number and ratio > 0)):
        return True, "oo", ""
    finite = "∫η dt is finite: the iterates travel a bounded way and keep the memory of their start"
    if _limit(eta * t ** sp.Rational(101, 100)) == 0:
        return False, "finite", finite
    if not eta.has(_OSCILLATING):
        total = sp.integrate(eta, (t, sp.E, sp.oo))  # from e on: log t may stand in the denominator
        if total == sp.oo:
            return True, "oo", ""
        if total.is_finite:
            return False, str(total), finite
    return None, None, "sympy cannot decide whether ∫η dt diverges"


def _vanishes(eta: sp.Expr, degree: sp.Rational, betas: Mapping[str, float | None]) -> tuple[bool | None, Any, str]:
    limit = _limit(eta * t ** (1 - 1 / degree))
    value = None if limit is None else str(limit)
    if limit is None:
        return None, value, f"sympy cannot decide the limit of η·t^(1 − 1/{degree})"
    why = (
        f"η is not o(t^(1/{degree} − 1)): η·t^(1 − 1/{degree}) → {limit}, so gradients change by a factor that does "
        "not tend to 1 within the optimizer's memory"
    )
    return limit == 0, value, "" if limit == 0 else why


def _non_increasing(
    eta: sp.Expr, degree: sp.Rational, betas: Mapping[str, float | None]
) -> tuple[bool | None, Any, str]:
    slope, u = sp.diff(eta, t), sp.Symbol("u", nonnegative=True)
    for k in range(121):
        at = 1 + (sp.Rational(k, 8) if k < 80 else sp.Integer(2) ** (k - 76))
        if slope.subs(t, at).is_positive:
            return False, f"dη/dt > 0 at t = {at}", f"η increases at t = {at}; Adam's theorem asks for a monotone η"
    for start in (1, 3):  # from 3 on, log t is known to exceed 1
        if sp.simplify(slope.subs(t, start + u)).is_nonpositive:
            return True, f"dη/dt <= 0 for t >= {start}", ""
    return None, None, "sympy cannot decide whether η is non-increasing"


def _betas_ordered(
    eta: sp.Expr, degree: sp.Rational, betas: Mapping[str, float | None]
) -> tuple[bool | None, Any, str]:
    b1, b2 = betas["b1"], betas["b2"]
    if b1 is None or b2 is None:
        return None, None, "β₁ and β₂ were not given"
    why = f"β₁ = {b1} > β₂ = {b2}: the second moment forgets faster than the first"
    return b1 <= b2, f"{b1} <= {b2}" if b1 <= b2 else f"{b1} > {b2}", "" if b1 <= b2 else why


FAMILIES: Mapping[str, Mapping[str, Condition]] = {
    "steepest descent": {"divergent integral": _diverges},
    "momentum": {"divergent integral": _diverges, "o(t^(1/L-1))": _vanishes},
    "adam": {
        "divergent integral": _diverges,
        "o(t^(1/L-1))": _vanishes,
        "non-increasing": _non_increasing,
        "b1 <= b2": _betas_ordered,
    },
}
"""Family of optimizers → the conditions its theorem puts on the schedule. Muon-Adam is of the family ``adam``."""


def power_law(a: float | Fraction | sp.Expr, eta0: float | sp.Expr = 1) -> sp.Expr:
    """Return η₀ t^{−a} in the symbol ``t``, with exact exponents: 0.8 is read as 4/5.

    Example:
        >>> power_law(0.8)
        t**(-4/5)
    """
    return _exact(eta0) * t ** (-_exact(a))


def admissible(
    schedule: sp.Expr | str | float | Fraction,
    degree: float,
    optimizer: str = "momentum",
    *,
    b1: float | None = None,
    b2: float | None = None,
) -> Admissibility:
    """Decide the theorem's conditions on a schedule.

    Args:
        schedule: A number a for the power law t^{−a}; or η(t) as a sympy expression in :data:`t` (a sympy number is a
            constant η), or as text.
        degree: The model's degree L.
        optimizer: A key of :data:`FAMILIES`.
        b1: Adam's β₁.
        b2: Adam's β₂.

    Returns:
        The conditions, each met, violated or undecided.

    Raises:
        ScheduleError: an unknown family, a degree below 1, or a schedule that is not a positive function of t.

    Example:
        >>> admissible(0.8, degree=3).met, admissible(0.6, degree=3).met
        (True, False)
        >>> admissible("1/(t*log(t))", degree=15).met
        True
    """
    if optimizer not in FAMILIES:
        raise ScheduleError(f"unknown optimizer family {optimizer!r}; known: {', '.join(FAMILIES)}")
    if not 1 <= degree < float("inf"):
        raise ScheduleError(f"degree is {degree}; needed is a number of at least 1")
    eta = _read(schedule)
    betas = {"b1": b1, "b2": b2}
    found = {name: test(eta, sp.Rational(str(degree)), betas) for name, test in FAMILIES[optimizer].items()}
    verdicts = [met for met, _, _ in found.values()]
    return Admissibility(
        met=False if False in verdicts else None if None in verdicts else True,
        reasons=tuple(why for met, _, why in found.values() if not met),
        conditions={name: {"met": met, "value": value} for name, (met, value, _) in found.items()},
    )


def admissible_powers(degree: float) -> sp.Interval:
    """The exponents a for which t^{−a} is admissible for momentum steepest descent, derived by sympy, not tabulated.

    Returns:
        The interval ``(1 − 1/L, 1]``.

    Example:
        >>> admissible_powers(3)
        Interval.Lopen(2/3, 1)
    """
    a = sp.Symbol("a", real=True)
    # The integral of t^{-a} is t^{1-a}/(1-a), or log t: unbounded for a <= 1. And t^b → 0 iff b < 0.
    diverges = sp.solveset(1 - a >= 0, a, sp.S.Reals)
    vanishes = sp.solveset((1 - 1 / sp.Rational(str(degree))) - a < 0, a, sp.S.Reals)
    return diverges.intersect(vanishes)


def _exact(x: Any) -> sp.Expr:
    if isinstance(x, sp.Expr):
        return x
    return sp.Rational(x.numerator, x.denominator) if isinstance(x, Fraction) else sp.Rational(str(x))


def _limit(f: sp.Expr) -> sp.Expr | None:
    if f.has(_OSCILLATING):
        return None
    try:
        value = sp.limit(f, t, sp.oo)
    except (NotImplementedError, ValueError):
        return None
    return value if not value.has(sp.Limit) and not isinstance(value, sp.AccumBounds) else None


def _read(schedule: Any) -> sp.Expr:
    if isinstance(schedule, str):
        # sympify evaluates text as Python, so nothing but numbers, t and four functions may reach it.
        if not re.fullmatch(r"(?:[\d.\s()+\-*/^t]|exp|log|sqrt|sin|cos|pi)+", schedule):
            raise ScheduleError(f"schedule {schedule!r}: only numbers, t, + - * / **, exp, log, sqrt, sin, cos and pi")
        try:
            eta = sp.sympify(schedule, locals={"t": t}, rational=True)
        except (sp.SympifyError, TypeError, SyntaxError, AttributeError):
            raise ScheduleError(
                f"schedule {schedule!r} is no expression in t; write for example '0.1*t**-0.8'"
            ) from None
    elif isinstance(schedule, sp.Expr):
        eta = schedule
    else:
        return power_law(schedule)
    if not isinstance(eta, sp.Expr) or eta.free_symbols - {t}:
        raise ScheduleError(f"schedule {schedule!r} must be an expression in t alone")
    if eta.is_nonpositive or eta.subs(t, 10**6).is_nonpositive:
        raise ScheduleError(f"schedule {schedule!r} is not positive")
    return eta
