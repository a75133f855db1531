"""What steps under constant gradients show about one block, when they should follow a known norm.

Each function looks for one defect in the block's steps (U), their gradients (G), and the steps of steepest descent
under the norm (E), all of shape (draws, *shape), and returns a finding or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maxmargin.solvers.norms import BlockNorm, get_block_norm
from maxmargin.verify.lab.faults.finding import Finding
from maxmargin.verify.lab.norm.fingerprint import BlockReading
from maxmargin.verify.lab.norm.newton_schulz import ITERATIONS, fitted

STILL = 1e-12  # of a block's largest entry: rounding of θ − θ' at most
DESCENDS = 0.2  # cosine with −gradient, mean over the draws, of a row or entry that plainly should descend
ASCENDS = 0.6  # of that cosine; a row or entry that ascends by as much has the wrong sign
SURE = 0.5  # and at least this: the mean of 20 random signs has standard deviation 0.2
FOLLOWS = 0.995  # alignment of a block that follows a norm
BETTER = 0.01  # by which another norm's alignment must exceed the suspected one's
IMPERFECT = 1e-4  # deficit of alignment that is worth explaining
POWER_LAW = 0.05  # residual of log |step| around its line, standard deviation
POWER = 0.03  # difference of exponents that is one
OWN_VECTORS = 0.15  # part of a step outside the gradient's singular pairs; Newton–Schulz in bf16 leaves 0.06
FIXED = 0.02  # log of a factor: spread of one that is fixed, and least size of one that is not 1
RANGE = 1.02  # largest over smallest singular value of a polar factor


@dataclass(frozen=True)
class BlockSteps:
    """One block's steps under constant gradients, beside those of the norm it should follow.

    Attributes:
        name: The block's.
        norm: The norm it should follow.
        reading: Its alignments with all norms.
        own: Its alignment with ``norm``.
        G: Gradients (draws, *shape).
        U: Updates (draws, *shape).
        E: ``lmo`` of the whole parameter's norm (draws, *shape).
    """

    name: str
    norm: BlockNorm
    reading: BlockReading
    own: float
    G: np.ndarray
    U: np.ndarray
    E: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The block's shape."""
        return self.G.shape[1:]


def frozen(name: str, U: np.ndarray, E: np.ndarray) -> Finding | None:
    """Entries, rows, columns or all of a block that no gradient moves."""
    still = (np.abs(U) <= STILL * np.abs(U).max()).all(0)
    dead = still & (np.abs(E) > STILL * np.abs(E).max()).any(0)
    if not dead.any():
        return None
    if dead.all():
        return Finding(name, "frozen", f"{name} never moves", 1.0)
    which, plural = _parts(name, dead)
    return Finding(name, "frozen", f"{which} never move{'' if plural else 's'}", float(dead.mean()))


def ascent(b: BlockSteps) -> Finding | None:
    """Rows, columns, entries, or all of a block on which steps go uphill."""
    everything = tuple(range(1, b.U.ndim))
    if _uphill(b, everything).all():
        size = float(-(b.G * b.U).sum() / np.abs(b.G * b.U).sum())
        return Finding(b.name, "ascent", f"it ascends on {b.name}: the step has the wrong sign", -size)
    for axes in [(2,), (1,), ()] if b.U.ndim == 3 else [()]:
        wrong = _uphill(b, axes)
        if wrong.any():
            mask = np.broadcast_to(wrong, b.shape)
            which, plural = _parts(b.name, mask)
            return Finding(b.name, "ascent", f"{which} ascend{'' if plural else 's'}", float(mask.mean()))
    return None


def _uphill(b: BlockSteps, axes: tuple[int, ...]) -> np.ndarray:
    """For each share of the block that ``axes`` leave (kept as ones), whether it ascends where it should descend."""

    def share(U: np.ndarray) -> np.ndarray:
        product = (b.G * U).sum(axes, keepdims=True)
        sizes = np.sqrt((b.G**2).sum(axes, keepdims=True) * (U**2).sum(axes, keepdims=True))
        return -product.sum(0) / np.maximum(sizes.sum(0), 1e-300)

    measured, wanted = share(b.U), share(b.E)
    return (wanted > DESCENDS) & (measured < -np.maximum(ASCENDS * wanted, SURE))


def _parts(name: str, mask: np.ndarray) -> tuple[str, bool]:
    """Words for the marked entries: whole rows or columns where they are that; and whether they are several."""
    if mask.ndim == 2:
        for axis, word, pattern in ((1, "row", "{}[{}, :]"), (0, "column", "{}[:, {}]")):
            full = np.flatnonzero(mask.all(axis))
            if len(full) and mask.sum() == len(full) * mask.shape[axis]:
                return _listed(word, [str(i) for i in full], name, [pattern.format(name, i) for i in full])
    entries = [", ".join(map(str, i)) for i in np.argwhere(mask)]
    return _listed("entry", [f"({e})" for e in entries], name, [f"{name}[{e}]" for e in entries])


def _listed(word: str, which: list[str], name: str, code: list[str]) -> tuple[str, bool]:
    if len(which) == 1:
        return f"{word} {which[0]} of {name} ({code[0]})", False
    shown = ", ".join(which[:4]) + (", …" if len(which) > 4 else "")
    return (
        f"{len(which)} {word.removesuffix('y') + 'ies' if word.endswith('y') else word + 's'} of {name} ({shown})",
        True,
    )


def rule(b: BlockSteps, others: Sequence[tuple[str, str]]) -> Finding | None:
    """Another norm's rule on this block; ``others`` are (block, norm) of the rest, for a rule that is theirs."""
    best = b.reading.alignments[b.reading.norm]
    if best < FOLLOWS or b.own >= best - BETTER:
        return None
    theirs = [name for name, norm in others if norm == b.reading.norm]
    whose = f", the rule meant for {', '.join(theirs)}" if theirs else ""
    return Finding(
        b.name,
        "rule",
        f"the step on {b.name} follows {b.reading.norm} (alignment {best:.3f}){whose}, not {b.norm.name} ({b.own:.3f})",
        best - b.own,
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
    power = _power(x, y)
    if power is not None and abs(power) > POWER:
        return Finding(
            b.name,
            "power",
            f"the singular values of {b.name}'s gradient enter with power {power:.2f}"
            f"{_instead(power, 'the polar factor')}",
            abs(power),
        )
    fit = fitted(x, y)
    scale = fit.scale if fit is not None else float(np.median(y))
    low, high = float(np.quantile(y, 0.01)) / scale, float(np.quantile(y, 0.99)) / scale
    if low > 0 and high <= RANGE * low:
        return None
    how = (
        "" if fit is None else f": about {fit.steps} Newton–Schulz step{'s' * (fit.steps > 1)} ({ITERATIONS[fit.name]})"
    )
    return Finding(
        b.name,
        "newton-schulz",
        f"the step on {b.name} has singular values {low:.2f} … {high:.2f} instead of 1{how}",
        1.0 - b.own,
    )


def entry_power(b: BlockSteps) -> Finding | None:
    """Entries that enter with a power other than the norm's: a missing square root, a root too many."""
    if b.own > 1 - IMPERFECT:
        return None
    wanted, power = _power(b.G, -b.E), _power(b.G, -b.U)
    if power is None or (wanted is not None and abs(power - wanted) <= POWER):
        return None
    return Finding(
        b.name,
        "power",
        f"the entries of {b.name}'s gradient enter with power {power:.2f}{_instead(power, 'the sign')}",
        abs(power - (wanted or 0.0)),
    )


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
        if np.std(ratio - factors) > FIXED or np.std(factors) <= FIXED:
            continue
        usual = np.median(factors)
        odd = np.abs(factors - usual) > FIXED
        low, high = float(np.exp(factors.min() - usual)), float(np.exp(factors.max() - usual))
        what = f"{b.name} move by fixed factors {low:.2g} … {high:.2g} of the median entry's, beside {name}'s rule"
        text = f"entries of {what}: a fixed preconditioner"
        if odd.mean() <= 0.5 and np.ptp(factors[odd]) <= FIXED:
            which, plural = _parts(b.name, odd)
            factor = float(np.exp(factors[odd].mean() - usual))
            text = (
                f"{which} move{'' if plural else 's'} {factor:.3g} times as far as {name}'s rule says, beside the rest"
            )
        return Finding(b.name, "preconditioned", text, float(np.ptp(factors)))
    return None


def _instead(power: float, zero: str) -> str:
    if abs(power + 1) <= POWER:
        return f": like 1/g, as if {zero} were divided by the gradient once more (a missing square root)"
    if 0 < power < 1 - POWER:
        return f" ({zero} is power 0, gradient descent 1): a root too many or too few"
    return f" ({zero} is power 0, gradient descent 1)"


def _power(x: np.ndarray, y: np.ndarray) -> float | None:
    """p if y = c_draw · sign(x) |x|^p, with a factor of its own for each draw; None if it is no such law."""
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    if x.shape[1] < 2 or (x * y <= 0).any():
        return None
    a, b = np.log(np.abs(x)), np.log(np.abs(y))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    p = float((a * b).sum() / (a * a).sum())
    return p if float(np.std(b - p * a)) <= POWER_LAW * max(1.0, abs(p)) else None


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
    level = {name: float(np.median(r - np.mean(list(reach.values()), axis=0))) for name, r in reach.items()}
    usual = sorted(level.values())[(len(level) - 1) // 2]
    slack = max(0.05, 1.0 - min(b.own for b in blocks))
    out = []
    for name, at in level.items():
        factor = float(np.exp(at - usual))
        if abs(at - usual) > slack:
            text = f"{name} moves {factor:.3g} times as far as the norm says, beside the other blocks"
            out.append(Finding(name, "weight", text, abs(at - usual)))
    return out
