"""ℓ_p of cvxpy expressions. cvxpy loads at the first atom, not with the norms: the engine does not need it.

``cp.norm(W, "inf")`` of a matrix is the largest row sum and ``cp.norm(W, 2)`` its largest singular value: neither
is used here, every matrix is flattened first (row-major, as everywhere in this project; cvxpy's own order is
column-major).
"""

from __future__ import annotations

import math
from typing import Any

from maxmargin.models.blocks import Shapes


def vector(x: Any) -> Any:
    """All entries of a cvxpy expression as a vector, row-major."""
    import cvxpy as cp

    return x if x.ndim == 1 else cp.vec(x, order="C")


def reshaped(v: Any, shapes: Shapes) -> dict[str, Any]:
    """The blocks of a cvxpy vector, row-major."""
    import cvxpy as cp

    blocks, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        blocks[name] = v[start:stop] if len(shape) == 1 else cp.reshape(v[start:stop], shape, order="C")
        start = stop
    return blocks


def lp_atom(v: Any, p: float) -> Any:
    """Return ‖v‖_p of a cvxpy vector, convex, and nondecreasing where v ≥ 0.

    Exponents other than 1, 2 and inf become power cones (exact; Clarabel and SCS solve them), not the
    approximation by second-order cones that is cvxpy's default.
    """
    import cvxpy as cp

    if math.isinf(p):
        return cp.max(cp.abs(v))
    if p == 1:
        return cp.norm1(v)
    if p == 2:
        return cp.norm(v, 2)
    return cp.pnorm(v, p, approx=False)  # type: ignore[arg-type]  # annotated int, takes float
