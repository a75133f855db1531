"""Learning-rate factors that depend on a matrix's shape, recognised by their formula: 0.2 √max(rows, columns), say.

Practical optimizers step further on larger or taller matrices. For the margin such a factor c is a weight 1/c of the
block's norm: two blocks of one network then differ in weight, and the formula says by how much on anyone's network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.norm.reading import read_block, readings
from maxmargin.verify.lab.norm.signature import signature
from maxmargin.verify.thresholds.norm import LAW_CLEAR, LENGTH_BLUR, LENGTH_EXACT, LENGTH_NEAR

LAWS: Mapping[str, Callable[[float, float], float]] = {
    "1": lambda r, c: 1.0,
    "sqrt(max(1, rows/columns))": lambda r, c: max(1.0, r / c) ** 0.5,
    "sqrt(max(1, columns/rows))": lambda r, c: max(1.0, c / r) ** 0.5,
    "sqrt(rows/columns)": lambda r, c: (r / c) ** 0.5,
    "sqrt(columns/rows)": lambda r, c: (c / r) ** 0.5,
    "max(1, rows/columns)": lambda r, c: max(1.0, r / c),
    "rows/columns": lambda r, c: r / c,
    "sqrt(max(rows, columns))": lambda r, c: max(r, c) ** 0.5,
    "sqrt(min(rows, columns))": lambda r, c: min(r, c) ** 0.5,
    "sqrt(rows)": lambda r, c: r**0.5,
    "sqrt(columns)": lambda r, c: c**0.5,
    "1/sqrt(rows)": lambda r, c: r**-0.5,
    "1/sqrt(columns)": lambda r, c: c**-0.5,
    "1/sqrt(max(rows, columns))": lambda r, c: max(r, c) ** -0.5,
    "1/sqrt(min(rows, columns))": lambda r, c: min(r, c) ** -0.5,
    "sqrt(rows columns)": lambda r, c: (r * c) ** 0.5,
    "1/sqrt(rows columns)": lambda r, c: (r * c) ** -0.5,
    "rows": lambda r, c: r,
    "columns": lambda r, c: c,
    "1/rows": lambda r, c: 1 / r,
    "1/columns": lambda r, c: 1 / c,
    "max(rows, columns)": lambda r, c: max(r, c),
    "1/(rows columns)": lambda r, c: 1 / (r * c),
    "sqrt(rows + columns)": lambda r, c: (r + c) ** 0.5,
}
"""Step length per unit of learning rate as a function of (rows, columns), up to a constant; simplest first."""

SHAPES = {"small": (3, 3), "square": (10, 10), "tall": (12, 3), "wide": (3, 12), "taller": (16, 4)}


@dataclass(frozen=True)
class ShapeLaw:
    """How a block's step length depends on its shape.

    Attributes:
        name: The formula, one of LAWS.
        constant: Step length = constant · formula, per unit of learning rate.
        error: Largest relative error over the shapes.
        norm: The block norm in which lengths were measured.
    """

    name: str
    constant: float
    error: float
    norm: str


def weight_law(
    reaches: Mapping[tuple[int, int], float], tolerance: float = LENGTH_EXACT
) -> tuple[str, float, float] | None:
    """Recognise the formula behind step lengths of matrices of several shapes.

    Args:
        reaches: (rows, columns) → step length in the block's norm, per unit of learning rate; positive.
        tolerance: Relative error that a formula may have.

    Returns:
        (name in LAWS, constant, largest relative error) of the best formula; None if it is not within the tolerance,
        or if a second one fits nearly as well: then other shapes are needed to tell them apart.

    Example:
        >>> weight_law({(4, 4): 0.2, (8, 2): 0.4, (2, 8): 0.2, (9, 3): 0.2 * 3**0.5})[0]
        'sqrt(max(1, rows/columns))'
        >>> weight_law({(4, 4): 1.0, (8, 2): 2.0}) is None
        True
    """
    if len(reaches) < 2:
        return None
    fits = []
    for name, law in LAWS.items():
        logs = np.array([np.log(reach / law(*shape)) for shape, reach in reaches.items()])
        middle = (logs.max() + logs.min()) / 2
        fits.append((float(np.expm1(logs.max() - middle)), name, float(np.exp(middle))))
    (error, name, constant), (second, *_) = sorted(fits)[:2]
    if error > tolerance or second <= max(LENGTH_EXACT, LAW_CLEAR * error):
        return None
    return name, constant, error


def shape_law(target: Target, seed: int = 0, draws: int = 12) -> ShapeLaw | None:
    """Measure step lengths on square, tall and wide matrices (SHAPES), and name their law.

    Args:
        target: The optimizer, given matrices alone.
        seed: Of the gradients.
        draws: How many gradients.

    Returns:
        The law, in the norm that is best aligned over all shapes; None if that norm is not near on each, or if the
        lengths follow no formula of LAWS.

    Raises:
        TargetError: when the optimizer cannot be built or stepped on matrices alone.
    """
    steps = signature(target, SHAPES, seed, draws)
    norms = readings((2, 2))
    seen = [read_block(steps, name, norms) for name in SHAPES]
    found = [r for r in seen if r is not None]
    if len(found) < len(SHAPES):
        return None
    norm = max(norms, key=lambda n: np.mean([r.alignments[n] for r in found]))
    alone = {shape: read_block(steps, name, (norm,)) for name, shape in SHAPES.items()}
    reaches = {shape: r.reach for shape, r in alone.items() if r is not None}
    aligned = min(r.alignments[norm] for r in found)
    if min(reaches.values()) <= 0 or aligned < LENGTH_NEAR:
        return None
    law = weight_law(reaches, max(LENGTH_EXACT, LENGTH_BLUR * (1 - aligned)))
    return None if law is None else ShapeLaw(*law, norm=norm)
