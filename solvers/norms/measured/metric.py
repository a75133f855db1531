"""ℓ2 in a metric: ‖θ‖ = √(θᵀ P θ) for a symmetric positive definite P over all parameters together.

The norm of steepest descent with a frozen preconditioner, whose step is −P⁻¹g: diagonal for Adagrad, Kronecker
products for Shampoo. P comes from measurement, so such a norm has no text form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from array_api_compat import array_namespace
from typing_extensions import override

from maxmargin.models.blocks import Array, Blocks, Shapes, flatten, size, unflatten
from maxmargin.models.errors import NormError
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.atoms import vector
from maxmargin.solvers.norms.block import BlockNorm
from maxmargin.solvers.norms.parameter import Norm

_SYMMETRIC = 1e-9  # of P's largest entry


@final
class Metric(Norm):
    """‖θ‖ = √(θᵀ P θ), θ's blocks one after the other, each row-major.

    Kept as P = Q diag(w²) Qᵀ. Two metrics are equal where name, shapes, Q and w are.

    Attributes:
        shapes: Block name and shape, in the order of P's rows.
        basis: Q (p, p), orthogonal.
        lengths: w (p,), positive: ‖θ‖ of each column of Q.

    Example:
        >>> norm = Metric.of("metric", np.diag([4.0, 1.0]), {"a": (2,)})
        >>> float(norm.value({"a": np.array([3.0, 8.0])})), float(norm.dual({"a": np.array([6.0, 4.0])}))
        (10.0, 5.0)
    """

    aggregation = 2.0

    def __init__(self, name: str, shapes: Shapes, basis: np.ndarray, lengths: np.ndarray) -> None:
        self.name = name
        self.shapes = {block: tuple(shape) for block, shape in shapes.items()}
        self.basis, self.lengths = basis, lengths
        self._key = (name, tuple(self.shapes.items()), basis.tobytes(), lengths.tobytes())

    @classmethod
    def of(cls, name: str, P: np.ndarray, shapes: Shapes) -> Metric:
        """Return the metric of a matrix (p, p).

        Raises:
            NormError: P is of another size, not finite, not symmetric, or not positive definite.
        """
        P, p = np.asarray(P, dtype=np.float64), size(shapes)
        if P.shape != (p, p) or not np.isfinite(P).all():
            raise NormError(f"{name}: a metric of {p} parameters is a finite ({p}, {p}) matrix, not {P.shape}")
        if not np.abs(P - P.T).max() <= _SYMMETRIC * np.abs(P).max():
            raise NormError(f"{name}: the matrix of a metric is symmetric, this one is not")
        eigenvalues, basis = np.linalg.eigh((P + P.T) / 2)
        if not eigenvalues[0] > p * np.finfo(np.float64).eps * eigenvalues[-1]:
            raise NormError(f"{name}: the matrix of a metric is positive definite; this one has {eigenvalues[0]:.1e}")
        return cls(name, shapes, basis, np.sqrt(eigenvalues))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metric) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Metric({self.name!r}, {len(self.lengths)} parameters)"

    @property
    def matrix(self) -> np.ndarray:
        """P (p, p)."""
        return (self.basis * self.lengths**2) @ self.basis.T

    @property
    @override
    def dual_norm(self) -> Metric:
        name = self.name.removeprefix("dual:") if self.name.startswith("dual:") else f"dual:{self.name}"
        return Metric(name, self.shapes, self.basis, 1.0 / self.lengths)

    @override
    def block(self, name: str, shape: tuple[int, ...]) -> tuple[BlockNorm, float]:
        raise NormError(f"norm {self.name!r} is one of the whole parameter, no choice block by block")

    @override
    def value(self, theta: Blocks) -> Array:
        y, _, lengths = self._coordinates(theta)
        return lp.value(y * lengths, 2.0)

    @override
    def dual(self, G: Blocks) -> Array:
        y, _, lengths = self._coordinates(G)
        return lp.value(y / lengths, 2.0)

    @override
    def lmo(self, G: Blocks) -> dict[str, Array]:
        y, basis, lengths = self._coordinates(G)
        return unflatten(basis @ (-lp.unit(y / lengths) / lengths), self.shapes)

    @override
    def project(self, theta: Blocks, radius: float = 1.0) -> dict[str, Array]:
        y, basis, lengths = self._coordinates(theta)
        near = lp.project(abs(y), 2.0, radius, lengths)
        xp = array_namespace(y)
        inside = lp.value(y * lengths, 2.0) <= radius
        found = unflatten(basis @ (lp.sign(y) * near), self.shapes)
        return {name: xp.where(inside, theta[name], block) for name, block in found.items()}

    @override
    def atom(self, variables: Mapping[str, Any]) -> Any:
        import cvxpy as cp

        whole = cp.hstack([vector(variables[name]) for name in self.shapes])
        return cp.norm((self.basis * self.lengths).T @ whole, 2)

    def _coordinates(self, blocks: Blocks) -> tuple[Array, Array, Array]:
        """The blocks in the basis Q, with Q and w of their kind."""
        if blocks.keys() != self.shapes.keys():
            raise NormError(f"norm {self.name!r} is one of the blocks {', '.join(self.shapes)}")
        whole = flatten(blocks, self.shapes)
        xp = array_namespace(whole)
        basis = xp.asarray(self.basis, dtype=whole.dtype, device=whole.device)
        return basis.T @ whole, basis, xp.asarray(self.lengths, dtype=whole.dtype, device=whole.device)
