"""Broken steps: entries that are not what they should be, polar factors that are none."""

from __future__ import annotations

import torch
from mutants_base import GD, POLAR, SIGN, Gradient, Momentum, Polar, Sign, broken, newton_schulz, polar, signed
from torch import Tensor

# --- Signs and rows: entries of the step that are not what they should be.


@broken("flipped vectors", "sign", "linf", SIGN)
class FlippedVectors(Sign):
    """Vector blocks climb: on any problem with vectors their margin shrinks all the way."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) if m.ndim == 2 else -signed(m)


@broken("flipped row", "sign", "spectral", POLAR)
class FlippedRow(Polar):
    """The first row of each polar factor has the wrong sign, so that row of W climbs."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        if u.ndim == 2:
            u[0] *= -1
        return u


@broken("frozen row", "frozen", "spectral", POLAR)
class FrozenRow(Polar):
    """The last row of each matrix never moves: the margin is maximized over a subspace, and by another gradient."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        if u.ndim == 2:
            u[-1] = 0
        return u


@broken("frozen column", "frozen", "linf", SIGN)
class FrozenColumn(Sign):
    """The last column of each matrix never moves, so its entries contribute nothing to the margin."""

    def direction(self, m: Tensor) -> Tensor:
        u = signed(m)
        if u.ndim == 2:
            u[:, -1] = 0
        return u


@broken("frozen vector", "frozen", "l2", GD)
class FrozenVector(Gradient):
    """Vector blocks are left out, as biases are that nobody put into a group."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [u if u.ndim == 2 else torch.zeros_like(u) for u in super().directions(moments)]


@broken("sign with a dead zone", "biased", "linf", SIGN)
class DeadZone(Sign):
    """Entries below a tenth of the block's largest do not move; at the optimum those are the ones that decide."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) * (m.abs() >= 0.1 * m.abs().max())


@broken("top-half sign", "biased", "linf", SIGN)
class TopHalf(Sign):
    """Only the larger half of a block's entries move: the dual ball is that of a k-support norm, not of l1."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) * (m.abs() >= m.abs().median())


@broken("soft sign", "biased", "linf", SIGN)
class SoftSign(Sign):
    """m / (|m| + 0.05 max|m|) never reaches ±1: no norm's steepest descent, a blend of linf and l2."""

    def direction(self, m: Tensor) -> Tensor:
        return m / (m.abs() + 0.05 * m.abs().max())


@broken("sign of noisy momentum", "noise", "linf", SIGN)
class NoisySign(Sign):
    """Noise of half the block's mean size is added before the sign: small entries move by less on average."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m + 0.5 * m.abs().mean() * torch.randn_like(m))


@broken("sign of row sums", "reduction", "linf", SIGN)
class RowSumSign(Sign):
    """Matrices move by the sign of each row's sum: only row means are trained."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) if m.ndim == 1 else signed(m.sum(1, keepdim=True)).expand_as(m)


@broken("largest entry without |.|", "sign", "l1", ("momentum-steepest", {"norm": "l1"}))
class SignedGreedy(Momentum):
    """Coordinate descent that takes the largest entry instead of the largest |entry|: weights stay nonpositive."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        top = max(float(m.max()) for m in moments)
        return [torch.where(m == top, m.sign(), 0.0) for m in moments]


# --- Polar factors that are not.


@broken("transposed polar factor of square matrices", "transpose", "spectral", POLAR)
class TransposedSquare(Polar):
    """Square matrices step along V Uᵀ instead of U Vᵀ."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        return u.T.clone() if m.ndim == 2 and m.shape[0] == m.shape[1] else u


@broken("tall matrices reshaped, not transposed", "reshape", "spectral", POLAR)
class ReshapedTall(Polar):
    """To get more columns than rows, tall matrices are reshaped: the polar factor of another matrix's entries."""

    def direction(self, m: Tensor) -> Tensor:
        if m.ndim == 2 and m.shape[0] > m.shape[1]:
            return polar(m.reshape(m.shape[1], m.shape[0])).reshape(m.shape)
        return polar(m)


@broken("column-major reshape", "reshape", "spectral", POLAR)
class ColumnMajor(Polar):
    """Matrices are unrolled column by column, orthogonalized in the flipped shape, and rolled up row by row."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m) if m.ndim == 1 else polar(m.T.reshape(m.shape)).reshape(m.T.shape).T


@broken("flattened polar factor", "reshape", "spectral", POLAR)
class Flattened(Polar):
    """Each matrix is one row when it is orthogonalized: its Frobenius norm is what is normalized."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m.reshape(1, -1)).reshape(m.shape)


@broken("wide matrices not orthogonalized", "transpose", "spectral", POLAR)
class OnlyTall(Polar):
    """Wide matrices fall through to a Frobenius normalization."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm() if m.ndim == 2 and m.shape[0] < m.shape[1] else polar(m)


@broken("divided by the largest singular value", "reduction", "spectral", POLAR)
class SpectrallyNormalized(Polar):
    """Spectral normalization in place of the polar factor: within a block it is gradient descent."""

    def direction(self, m: Tensor) -> Tensor:
        return m / torch.linalg.matrix_norm(m if m.ndim == 2 else m[None], 2)


@broken("leading singular pair only", "reduction", "spectral", POLAR)
class LeadingPair(Polar):
    """u₁v₁ᵀ is the step of the nuclear norm's ball, not of the spectral one's."""

    def direction(self, m: Tensor) -> Tensor:
        if m.ndim == 1:
            return polar(m)
        u, _, vh = torch.linalg.svd(m, full_matrices=False)
        return u[:, :1] @ vh[:1]


@broken("one Newton-Schulz step", "iteration", "spectral", POLAR)
class OneStep(Polar):
    """One cubic iteration: singular values are hardly closer to each other than the gradient's."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (1.5, -0.5, 0.0), 1)


@broken("five steps of a slow iteration", "iteration", "spectral", POLAR)
class FiveSlowSteps(Polar):
    """Five cubic iterations raise a singular value at most 7.6-fold: those below a tenth of the norm stay small."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (1.5, -0.5, 0.0), 5)


@broken("mistyped Newton-Schulz coefficients", "iteration", "spectral", POLAR)
class MistypedCoefficients(Polar):
    """4.7750 became 4.9750 in five quintic steps: singular values end anywhere between 0.43 and 1.18."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (3.4445, -4.9750, 2.0315), 5)


@broken("overshooting Newton-Schulz coefficients", "iteration", "spectral", POLAR)
class Overshooting(Polar):
    """4.7750 became 4.5750: some singular values overshoot 1 and run away, up to 1e19, instead of coming back."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (3.4445, -4.5750, 2.0315), 5)


@broken("half a polar factor", "root", "spectral", POLAR)
class HalfPolar(Polar):
    """U √Σ Vᵀ, an eighth root where Shampoo takes the fourth: steepest descent under Schatten-3."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m, 0.5)
        return u / torch.linalg.matrix_norm(u if u.ndim == 2 else u[None], 2)


@broken("rows normalized", "reduction", "spectral", POLAR)
class RowsNormalized(Polar):
    """Each row divided by its norm: the largest row norm is what is bounded, not the spectral norm."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm(dim=-1, keepdim=True)


@broken("columns for rows", "reduction", "maxrow", ("momentum-steepest", {"norm": "maxrow"}))
class ColumnsNormalized(Polar):
    """Normalized along the wrong axis: columns of matrices, where rows are claimed."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm(dim=0, keepdim=True) if m.ndim == 2 else m / m.norm()
