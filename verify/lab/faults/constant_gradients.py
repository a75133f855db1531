"""Faults that show in one block's steps under constant gradients, when they should follow a known norm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, log10
from typing import Any

import numpy as np

from maxmargin.solvers.norms import get_block_norm
from maxmargin.solvers.norms.entrywise import Entrywise
from maxmargin.solvers.norms.schatten import Schatten
from maxmargin.verify.lab.faults.case import BlockSteps, Case
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.harness.sentence import Place
from maxmargin.verify.lab.norm.newton_schulz import fitted
from maxmargin.verify.lab.norm.powers import PowerLaw, power_law
from maxmargin.verify.lab.norm.weights import levels
from maxmargin.verify.thresholds.faults import (
    ASCENDS,
    BETTER_NORM,
    DESCENDS,
    FIXED_FACTOR,
    FOLLOWS_NORM,
    IMPERFECT,
    OWN_VECTORS,
    POLAR_RANGE,
    POWER_LAW_RESIDUAL,
    SAME_POWER,
    SURE_SIGN,
)
from maxmargin.verify.thresholds.norm import WEIGHT_TIE


def frozen(case: Case) -> Iterator[Finding]:
    """Entries, rows, columns or all of a block that no gradient moves."""
    for name, still in case.still.items():
        if still.all():
            yield Finding.of(Kind.FROZEN, name, 1.0, "{block} never moves")
        elif still.any():
            place = Place.of(still)
            form = "{place:{block}} never move" + ("" if place.plural else "s")
            yield Finding.of(Kind.FROZEN, name, float(still.mean()), form, place=place)


def ascent(b: BlockSteps) -> Finding | None:
    """Rows, columns, entries, or all of a block on which steps go uphill."""
    if climbs(b):
        size = float((b.G * b.U).sum() / np.abs(b.G * b.U).sum())
        return Finding.of(Kind.ASCENT, b.name, size, "it ascends on {block}: the step has the wrong sign")
    for axes in [(2,), (1,), ()] if b.U.ndim == 3 else [()]:
        wrong = _uphill(b, axes)
        if wrong.any():
            mask = np.broadcast_to(wrong, b.shape)
            place = Place.of(mask)
            form = "{place:{block}} ascend" + ("" if place.plural else "s")
            return Finding.of(Kind.ASCENT, b.name, float(mask.mean()), form, place=place)
    return None


def climbs(b: BlockSteps) -> bool:
    """Whether a block's steps as a whole go uphill."""
    return bool(_uphill(b, tuple(range(1, b.U.ndim))).all())


def _uphill(b: BlockSteps, axes: tuple[int, ...]) -> np.ndarray:
    """For each share of the block that ``axes`` leave (kept as ones), whether it ascends where it should descend."""

    def share(U: np.ndarray) -> np.ndarray:
        product = (b.G * U).sum(axes, keepdims=True)
        sizes = np.sqrt((b.G**2).sum(axes, keepdims=True) * (U**2).sum(axes, keepdims=True))
        return -product.sum(0) / np.maximum(sizes.sum(0), 1e-300)

    measured, wanted = share(b.U), share(b.E)
    return (wanted > DESCENDS) & (measured < -np.maximum(ASCENDS * wanted, SURE_SIGN))


def rule(b: BlockSteps) -> Finding | None:
    """Another norm's rule on this block; of the other blocks, those that should follow it are named."""
    best = b.reading.alignments[b.reading.norm]
    if best < FOLLOWS_NORM or b.own >= best - BETTER_NORM or _of_a_power(b):
        return None
    theirs = ", ".join(other for other, norm in b.others.items() if norm == b.reading.norm)
    return Finding.of(
        Kind.RULE,
        b.name,
        best - b.own,
        "the step on {block} follows {seen} (alignment {best:.3f})"
        + (", the rule meant for {theirs}" if theirs else "")
        + ", not {norm} ({own:.3f})",
        seen=b.reading.norm,
        best=best,
        theirs=theirs,
        norm=b.norm.name,
        own=b.own,
    )


def _of_a_power(b: BlockSteps) -> bool:
    """Whether the power of entries or singular values, which has a finding of its own, says more than another norm."""
    seen = get_block_norm(b.reading.norm)
    return b.reading.power is not None and (
        isinstance(seen, Entrywise) or (isinstance(seen, Schatten) and b.norm == get_block_norm("spectral"))
    )


def singular_values(b: BlockSteps) -> Finding | None:
    """Polar factors whose singular values are not 1: Newton–Schulz steps, or a power of the gradient's."""
    if len(b.shape) != 2 or min(b.shape) < 2 or b.norm != get_block_norm("spectral") or b.own > 1 - IMPERFECT:
        return None
    inputs, outputs, stray = [], [], []
    for g, step in zip(b.G, b.U, strict=True):
        u, s, vt = np.linalg.svd(g, full_matrices=False)
        d = -np.einsum("ik,ij,kj->k", u, step, vt)
        size = float(np.linalg.norm(step))
        stray.append(float(np.linalg.norm(step + (u * d) @ vt)) / max(size, 1e-300))
        inputs.append(s)
        outputs.append(d)
    if np.median(stray) > OWN_VECTORS:
        return None
    x, y = np.array(inputs), np.array(outputs)
    law = _power(x, y)
    if law is not None and abs(law.power) > SAME_POWER:
        return _power_finding(b, "singular values", law, abs(law.power), "the polar factor")
    fit = fitted(x, y)
    scale = fit.scale if fit is not None else float(np.median(y))
    low, high = float(np.quantile(y, 0.01)) / scale, float(np.quantile(y, 0.99)) / scale
    if low > 0 and high <= POLAR_RANGE * low:
        return None
    form = "the step on {block} has singular values {low:.2f} … {high:.2f} instead of 1"
    facts: dict[str, Any] = {"low": low, "high": high}
    if fit is not None:
        form += f": about {{steps}} Newton–Schulz step{'s' * (fit.steps > 1)} ({{iteration}})"
        facts |= {"steps": fit.steps, "iteration": fit.name}
    return Finding.of(Kind.NEWTON_SCHULZ, b.name, 1.0 - b.own, form, **facts)


def entry_power(b: BlockSteps) -> Finding | None:
    """Entries that enter with a power other than the norm's: a missing square root, a root too many."""
    if b.own > 1 - IMPERFECT:
        return None
    own, law = _power(b.G, -b.E), _power(b.G, -b.U)
    wanted = None if own is None else own.power
    if law is None or (wanted is not None and abs(law.power - wanted) <= SAME_POWER):
        return None
    return _power_finding(b, "entries", law, abs(law.power - (wanted or 0.0)), "the sign")


def _power_finding(b: BlockSteps, what: str, law: PowerLaw, size: float, zero: str) -> Finding:
    """A power that is not the norm's; where it is another norm's own, that norm is named."""
    if abs(law.power + 1) <= SAME_POWER:
        means = ": like 1/g, as if {zero} were divided by the gradient once more (a missing square root)"
    else:
        means = " ({zero} is power 0, gradient descent 1)"
        if law.power <= 0:
            means += ", as no norm's do"
        elif b.reading.power is not None:
            means += ": they follow {seen}, not {norm}"
        elif law.power < 1 - SAME_POWER:
            means += ": a root too many or too few"
    form = "the {what} of {block}'s gradient enter with power {power:.2f}" + means
    facts = {"what": what, "power": law.power, "zero": zero, "seen": b.reading.norm, "norm": b.norm.name}
    return Finding.of(Kind.POWER, b.name, size, form, **facts)


def fixed_factors(b: BlockSteps) -> Finding | None:
    """Rows, columns or entries that move by fixed factors whatever the gradient: a preconditioner."""
    if b.own > 1 - IMPERFECT:
        return None
    rules = {b.norm.name: -b.E, "l2": b.G, "linf": np.sign(b.G)}
    for name, wanted in rules.items():
        if (wanted * b.U >= 0).any():
            continue
        ratio = np.log(-b.U / wanted)
        ratio -= ratio.mean(tuple(range(1, ratio.ndim)), keepdims=True)
        factors = ratio.mean(0)
        if np.std(ratio - factors) > FIXED_FACTOR or np.std(factors) <= FIXED_FACTOR:
            continue
        usual, size = np.median(factors), float(np.ptp(factors))
        odd = np.abs(factors - usual) > FIXED_FACTOR
        if odd.mean() <= 0.5 and np.ptp(factors[odd]) <= FIXED_FACTOR:
            place, factor = Place.of(odd), float(np.exp(factors[odd].mean() - usual))
            form = (
                f"{{place:{{block}}}} move{'' if place.plural else 's'} {{factor:.3g}} times as far as {{rule}}'s rule "
                "says, beside the rest"
            )
            return Finding.of(Kind.PRECONDITIONED, b.name, size, form, place=place, factor=factor, rule=name)
        low, high = float(np.exp(factors.min() - usual)), float(np.exp(factors.max() - usual))
        form = (
            "entries of {block} move by fixed factors {low:.2g} … {high:.2g} of the median entry's, beside {rule}'s "
            "rule: a fixed preconditioner"
        )
        return Finding.of(Kind.PRECONDITIONED, b.name, size, form, low=low, high=high, rule=name)
    return None


def _power(x: np.ndarray, y: np.ndarray) -> PowerLaw | None:
    """The power of y in x, with a factor of its own for each draw; None if they follow no power."""
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    law = power_law(np.abs(x), np.sign(x) * y)
    return law if law is not None and law.residual <= POWER_LAW_RESIDUAL * max(1.0, abs(law.power)) else None


def relative_reach(blocks: Sequence[BlockSteps]) -> list[Finding]:
    """Blocks that move further than the norm says, beside the others."""
    reach = {}
    for b in blocks:
        axes = tuple(range(1, b.G.ndim))
        moved, wanted = -(b.G * b.U).sum(axes), -(b.G * b.E).sum(axes)
        if min(moved.min(), wanted.min()) > 0:  # under a sum one block moves alone, and nothing can be compared
            reach[b.name] = np.log(moved / wanted)
    if len(reach) < 2:
        return []
    found = levels(reach, {b.name: 1.0 - b.own for b in blocks if b.name in reach})
    usual = sorted(found.values(), key=lambda level: level.log)[(len(found) - 1) // 2]
    out = []
    for name, level in found.items():
        apart = level.log - usual.log
        if abs(apart) > min(level.error, max(WEIGHT_TIE, level.worst)):
            form = "{block} moves {factor:.{digits}g} times as far as the norm says, beside the other blocks"
            digits = max(3, 2 + ceil(-log10(abs(apart))))  # those that tell it from 1
            facts = {"factor": float(np.exp(apart)), "digits": digits}
            out.append(Finding.of(Kind.WEIGHT, name, abs(apart), form, **facts))
    return out
