"""Proved upper bounds of a whole parameter's norm in ball arithmetic, from those that each block's norm knows."""

from __future__ import annotations

from collections.abc import Mapping

from flint import arb, arb_mat

from maxmargin.models.errors import InputError
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.norms.exact.balls import join


class CertifyError(InputError):
    """Nothing can be enclosed: bad θ or λ, or a norm or a model without a proved bound."""


def upper_norm(norm: Norm, shapes: Mapping[str, tuple[int, ...]], blocks: Mapping[str, arb_mat]) -> arb:
    """Return a ball whose upper end is at least ‖blocks‖.

    Args:
        norm: The norm.
        shapes: The blocks' shapes.
        blocks: The blocks; a vector is a matrix of one row.

    Raises:
        CertifyError: a block norm without a proved bound.
    """
    parts = []
    for name, shape in shapes.items():
        block, weight = norm.block(name, shape)
        bound = block.upper_bound(blocks[name])
        if bound is None:
            raise CertifyError(
                f"norm {block.name!r} ({type(block).__name__}): no proved upper bound is known; "
                "write its method upper_bound"
            )
        parts.append(arb(weight) * bound)
    return join(parts, norm.aggregation)
