"""Rules that read their matrix transposed or reshaped: the right polar factor, of the wrong matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from maxmargin.solvers.norms import BlockNorm, get_block_norm
from maxmargin.verify.lab.faults.case import BlockSteps
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.thresholds.faults import BETTER_NORM, FOLLOWS_NORM, SAME_LAYOUT

RULES = {
    "spectral": "polar factor",
    "maxrow": "maxrow step",
    "maxcolumn": "maxcolumn step",
    "linf": "sign",
    "l2": "normalized matrix",
}
"""Block norms whose steps show a layout, beside the block's own, and what these steps are."""

Map = Callable[[np.ndarray], np.ndarray]
_same: Map = np.asarray
_transpose: Map = np.transpose


def layout(b: BlockSteps) -> Finding | None:
    """A rule that reads its matrix transposed or reshaped: the lmo of other rows and columns, put back."""
    if len(b.shape) != 2 or b.own >= FOLLOWS_NORM:
        return None
    rules = [b.norm, *(get_block_norm(r) for r in RULES if r != b.norm.name)]
    plain = max(_cosine(b, rule, _same, _same) for rule in rules)
    best, found = plain + 2 * BETTER_NORM, None
    for text, there, back in _layouts(b.shape):
        for rule in rules:
            fit = _cosine(b, rule, there, back)
            if fit > max(best, SAME_LAYOUT):
                best, found = fit, {"step": RULES.get(rule.name, f"{rule.name} step"), "layout": text}
    if found is None:
        return None
    form = "the step on {block} is the {step} of the {layout}, not of the gradient"
    return Finding.of(Kind.LAYOUT, b.name, best - b.own, form, **found)


def _layouts(shape: tuple[int, ...]) -> Iterator[tuple[str, Map, Map]]:
    """(words, gradient -> what the rule reads, its answer -> step)."""
    r, c = shape
    back = _to(r, c)
    yield f"gradient, transposed and laid out as ({r}, {c})", _same, _after(_transpose, back)
    yield f"transposed gradient laid out as ({r}, {c})", _after(_transpose, back), _same
    for rows in range(1, r * c + 1):
        if (r * c) % rows:
            continue
        to = rows, r * c // rows
        laid, columns = _to(*to), _to(c, r)
        if to != shape:
            yield f"reshaped matrix {to}", laid, back
        if to != (c, r):
            yield f"matrix reshaped column by column to {to}", _after(_transpose, laid), _after(columns, _transpose)


def _to(*shape: int) -> Map:
    return lambda x: x.reshape(shape)


def _after(first: Map, second: Map) -> Map:
    return lambda x: second(first(x))


def _cosine(b: BlockSteps, rule: BlockNorm, there: Map, back: Map) -> float:
    """Mean cosine of the steps with what the rule answers to the rearranged gradients, put back."""
    fits = []
    for g, u in zip(b.G[:8], b.U[:8], strict=True):
        e = back(rule.lmo(there(g)))
        fits.append(float((e * u).sum() / max(float(np.linalg.norm(e) * np.linalg.norm(u)), 1e-300)))
    return float(np.mean(fits))
