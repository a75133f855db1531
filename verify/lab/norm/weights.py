"""How far blocks move beside each other, as exactly as the steps say: the weights of a norm of the whole parameter.

Where ℓ_p joins blocks of weights w_k, steepest descent moves block k by ‖Δ_k‖_k ∝ ‖g_k‖_{k*}^c w_k^{−(1+c)} with
c = 1/(p−1): whatever its gradient under a maximum (c = 0), by ‖g_k‖_{k*}/w_k² under ℓ2 (c = 1). What is common to all
blocks (a learning rate, the length of the whole step) drops out of the weights' ratios, step by step. An exact lmo
gives them to rounding; their scatter over the gradients and the deficit of alignment say how far they can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, log10

import numpy as np

from maxmargin.models.blocks import inner
from maxmargin.solvers.norms import Norm, NormError, get_norm
from maxmargin.verify.lab.norm.reading import Step
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.thresholds.faults import FOLLOWS_NORM
from maxmargin.verify.thresholds.norm import (
    LENGTH_DEFICIT,
    ROUNDED,
    SPARE_DIGITS,
    WEIGHT_BLUR,
    WEIGHT_DIGITS,
    WEIGHT_ERRORS,
    WEIGHT_TIE,
)


@dataclass(frozen=True)
class Level:
    """How far one block moves beside the others.

    Attributes:
        log: Logarithm of the ratio to the mean over the blocks, mean over the steps.
        spread: Its standard deviation over the steps.
        steps: How many.
        deficit: 1 − the block's alignment.
        worst: The largest deficit of the blocks that it is compared with.
    """

    log: float
    spread: float
    steps: int
    deficit: float
    worst: float

    @property
    def scatter(self) -> float:
        """What its scatter over the steps leaves unknown of the mean."""
        return WEIGHT_ERRORS * self.spread / self.steps**0.5

    @property
    def error(self) -> float:
        """By how much it may differ from the mean where it is equal to the others."""
        return self.scatter + LENGTH_DEFICIT * (self.deficit + self.worst) + ROUNDED

    @property
    def surely_apart(self) -> bool:
        """Whether it differs, and by one factor: a ratio that changes with the gradients is another join's."""
        return abs(self.log) > max(self.error, WEIGHT_ERRORS * self.spread)

    @property
    def tie(self) -> float:
        """The same, where steps that only nearly follow their norm blur lengths by less than they blur alignments."""
        return self._blurred(self.error)

    def tie_with(self, other: Level) -> float:
        """By how much this one and another may differ where they are equal."""
        deficit = LENGTH_DEFICIT * (self.deficit + other.deficit)
        return self._blurred(self.scatter + other.scatter + deficit + ROUNDED)

    def _blurred(self, error: float) -> float:
        return min(error, max(WEIGHT_TIE, WEIGHT_BLUR * self.worst))


def levels(logs: Mapping[str, np.ndarray], deficits: Mapping[str, float]) -> dict[str, Level]:
    """Return block → its level: lengths compared with their mean over the blocks, step by step.

    Args:
        logs: Block → logarithm of a length at each step.
        deficits: Block → 1 − its alignment.
    """
    middle = np.mean(list(logs.values()), axis=0)
    worst = max(0.0, *deficits.values())

    def level(name: str, values: np.ndarray) -> Level:
        apart = values - middle
        return Level(float(np.mean(apart)), float(np.std(apart)), len(apart), max(0.0, deficits[name]), worst)

    return {name: level(name, values) for name, values in logs.items()}


def weights(
    steps: Sequence[Step], norms: Mapping[str, str], deficits: Mapping[str, float], coupling: float
) -> dict[str, float]:
    """The blocks' weights under a join.

    Args:
        steps: Gradients and updates.
        norms: Block → its norm.
        deficits: Block → 1 − its alignment.
        coupling: c = 1/(p−1) of the join, finite.

    Returns:
        block → weight, the smallest 1, with as many digits as are known; all 1 where some block did not move along its
        gradient, as under a sum.
    """
    logs = {}
    for name, block in norms.items():
        norm, lengths = get_norm(block), []
        for step in steps:
            g = {name: step.gradient[name]}
            dual, downhill = float(norm.dual(g)), -float(inner(g, {name: step.update[name]}))
            if not downhill > 0:
                return dict.fromkeys(norms, 1.0)
            lengths.append((coupling * np.log(dual) - np.log(downhill / dual)) / (1.0 + coupling))
        logs[name] = np.array(lengths)
    seen = levels(logs, deficits)
    lowest = min(seen.values(), key=lambda level: level.log)
    return {
        name: rounded(float(np.exp(level.log - lowest.log)), level.tie_with(lowest)) for name, level in seen.items()
    }


def rounded(weight: float, tie: float) -> float:
    """Equal weights stay equal: 1 within the tie, otherwise as many digits as are known."""
    if abs(np.log(weight)) <= tie:
        return 1.0
    fewest, most = WEIGHT_DIGITS
    return float(f"{weight:.{min(most, max(fewest, SPARE_DIGITS + ceil(-log10(tie))))}g}")


def misweighted(steps: Sequence[Step], norm: Norm) -> dict[str, float]:
    """Blocks that surely move further, or less far, beside the others than steepest descent under a norm does.

    Args:
        steps: Under constant gradients.
        norm: Of the whole parameter.

    Returns:
        Block → factor, beside the mean over the blocks that follow the norm's rule; none where fewer than two do.
    """
    found = beside(steps, norm)
    return {name: float(np.exp(level.log)) for name, level in found.items() if level.surely_apart}


def told_by_weights(steps: Sequence[Step], norm: Norm, others: Mapping[str, Norm]) -> frozenset[str]:
    """Return norms that differ from one in the blocks' weights alone, and that the steps surely do not follow.

    Their points may lie so near to each other that no trajectory tells them apart; the steps' lengths do.

    Args:
        steps: Under constant gradients.
        norm: The norm that is judged.
        others: The norms that are to be told from it, by name.
    """
    shapes = {name: block.shape for name, block in steps[0].update.items()} if steps else {}

    def rules(of: Norm) -> tuple[object, ...]:
        return (of.aggregation, *(of.block(name, shape)[0] for name, shape in shapes.items()))

    if len(beside(steps, norm)) < len(shapes) or misweighted(steps, norm):
        return frozenset()
    found = set()
    for name, other in others.items():
        with suppress(NormError):  # written for another problem's blocks
            if rules(other) == rules(norm) and misweighted(steps, other):
                found.add(name)
    return frozenset(found)


def beside(steps: Sequence[Step], norm: Norm) -> dict[str, Level]:
    """How far the blocks that follow a norm's rule move beside each other, over what the norm says."""
    if not steps:
        return {}
    ideal = [norm.lmo(step.gradient) for step in steps]
    logs, deficits = {}, {}
    for name in steps[0].update:
        own = [alignment(norm, {name: step.gradient[name]}, {name: step.update[name]}) for step in steps]
        moved = np.array([-float((s.gradient[name] * s.update[name]).sum()) for s in steps])
        wanted = np.array([-float((s.gradient[name] * e[name]).sum()) for s, e in zip(steps, ideal, strict=True)])
        if min(moved.min(), wanted.min()) > 0 and np.mean(own) >= FOLLOWS_NORM:
            logs[name], deficits[name] = np.log(moved / wanted), 1.0 - float(np.mean(own))
    return levels(logs, deficits) if len(logs) > 1 else {}
