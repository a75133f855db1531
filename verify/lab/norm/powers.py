"""Powers of the gradient's magnitudes in a step, and the ℓ_P norm whose steepest descent has them.

Steepest descent under an ℓ_P of magnitudes (entries, singular values, rows, columns) moves along the gradient's own
directions with magnitudes |Δ_i| ∝ |g_i|^{1/(P−1)}: power 0 is the sign or the polar factor (P = inf), 1 gradient
descent (P = 2). So P is read off a line through log |Δ_i| over log |g_i|. A power of 0 or less belongs to no norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from maxmargin.solvers.norms import BlockNorm, GaugeNorm, NormError
from maxmargin.solvers.norms.families import FAMILIES
from maxmargin.verify.thresholds.norm import (
    LARGEST_TAKEN_APART,
    OWN_DIRECTIONS,
    POWER_CLEAR,
    POWER_ERRORS,
    POWER_ROUNDING,
    SIMPLE_NEAR,
    SIMPLE_POWER,
)


@dataclass(frozen=True)
class PowerLaw:
    """y = c_draw · x^power, with a factor of its own for each draw.

    Attributes:
        power: The exponent.
        residual: Standard deviation of log y around the lines.
        spread: Standard deviation of log x around each draw's mean.
        error: Standard error of the exponent.
    """

    power: float
    residual: float
    spread: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether it is a law, of a power that is neither 0 nor 1: the line explains far more than it leaves."""
        apart = min(self.power, abs(self.power - 1.0))
        return apart > POWER_ROUNDING and self.residual <= POWER_CLEAR * apart * self.spread

    @property
    def exponent(self) -> float:
        """P = 1 + 1/power, a simple fraction where one is within the error or near, otherwise to the digits known."""
        tolerance = POWER_ERRORS * self.error + POWER_ROUNDING
        P = 1.0 + 1.0 / self.power
        simple = Fraction(P).limit_denominator(SIMPLE_POWER)
        near = abs(simple - P) <= SIMPLE_NEAR * P
        if simple > 1 and (near or abs(1.0 / (float(simple) - 1.0) - self.power) <= tolerance):
            return float(simple)
        digits = int(np.clip(-np.log10(tolerance / self.power), 2, 10))
        return 1.0 + float(f"{1.0 / self.power:.{digits}g}")


def power_law(x: np.ndarray, y: np.ndarray) -> PowerLaw | None:
    """Fit y = c_draw · x^p in logarithms.

    Args:
        x: (draws, n), magnitudes of gradients.
        y: (draws, n), magnitudes of steps.

    Returns:
        The fit; None where a magnitude is not positive, or all of a draw's are alike.
    """
    if x.shape[1] < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()) or min(x.min(), y.min()) <= 0:
        return None
    a, b = np.log(x), np.log(y)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    power = float((a * a).sum())
    if power <= 0:
        return None
    p = float((a * b).sum() / power)
    residual = float(np.std(b - p * a))
    return PowerLaw(p, residual, float(np.std(a)), residual / power**0.5)


def followed(gradients: np.ndarray, updates: np.ndarray) -> Iterator[tuple[BlockNorm, PowerLaw]]:
    """The ℓ_P norms whose steepest descent one block's steps are, by the power of their magnitudes.

    Args:
        gradients: (draws, *shape).
        updates: (draws, *shape).

    Yields:
        Norms of the registered families (``entrywise:3``, ``schatten:1.5``) with the law they were read from; none of
        power 0 or 1, which have names of their own and are read without a fit.
    """
    for family in FAMILIES.values():
        if not issubclass(family, GaugeNorm):
            continue
        law = law_of(family(3.0), gradients, updates)
        if law is not None and law.clear:
            yield family(law.exponent), law


def law_of(gauge: GaugeNorm, gradients: np.ndarray, updates: np.ndarray) -> PowerLaw | None:
    """The power with which a family's magnitudes of the gradient enter the steps; None where it is no such law."""
    inputs, outputs = [], []
    for g, u in zip(gradients, updates, strict=True):
        try:
            parts = _parts(gauge, g, u)
        except NormError:  # rows of a block of three axes
            return None
        if parts is None:
            return None
        inputs.append(parts[0])
        outputs.append(parts[1])
    return power_law(np.array(inputs), np.array(outputs)) if inputs else None


def _parts(gauge: GaugeNorm, g: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The gradient's magnitudes and what the step has of each; None where the step is not made of them alone."""
    magnitudes, rebuild = gauge.split(g)
    if len(magnitudes) == g.size:  # each entry alone
        return np.asarray(magnitudes), -(np.sign(g) * u).reshape(-1)
    if len(magnitudes) * g.size > LARGEST_TAKEN_APART:
        return None
    directions = np.array([rebuild(unit) for unit in np.eye(len(magnitudes))])
    own = -np.tensordot(directions, u, axes=u.ndim)
    stray = np.linalg.norm(u + np.tensordot(own, directions, axes=1))
    return (np.asarray(magnitudes), own) if stray <= OWN_DIRECTIONS * np.linalg.norm(u) else None
