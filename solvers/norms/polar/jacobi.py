"""Polar factors of many small matrices at once, by one-sided Jacobi rotations: no branch on values, for GPUs.

LAPACK's and cuSOLVER's decompositions report failure through the host, which stops the GPU's queue and cannot be
captured in a CUDA graph. Here the number of sweeps is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-300


def sweeps_for(columns: int) -> int:
    """Sweeps after which columns are orthogonal to rounding: measured to need 6 of 3, 8 of 5 and 12 of 10 columns.

    Returns:
        The number of sweeps, with two to spare.
    """
    return 1 if columns < 2 else 6 + columns


def jacobi_polar(A: Tensor, sweeps: int | None = None) -> Tensor:
    """Return Pseudo-polar factors U Vᵀ over σ > max(m, n) eps σ_1, by Hestenes' one-sided Jacobi method.

    Rotations of column pairs make the columns orthogonal (round robin, every pair once a sweep; the longer column
    goes first, as de Rijk 1989, so that graded matrices converge); then A V = U Σ. Backward stable, whatever the rank.

    Args:
        A: (rows, columns, batch), rows ≥ columns, largest entry about 1.
        sweeps: How many, by default :func:`sweeps_for`.
    """
    rows, columns, batch = A.shape
    eye = torch.eye(columns, dtype=A.dtype, device=A.device).unsqueeze(-1).expand(columns, columns, batch)
    Z = torch.cat([A.transpose(0, 1), eye], dim=1)  # (columns, rows + columns, batch): column j of A, and of V
    for _ in range(sweeps_for(columns) if sweeps is None else sweeps):
        for left, right in _rounds(columns):
            Z = _rotate(Z, left, right, rows)
    sigma = (Z[:, :rows] ** 2).sum(1).sqrt()
    kept = sigma > max(rows, columns) * torch.finfo(A.dtype).eps * sigma.amax(0)
    U = Z[:, :rows] * (kept / sigma.clamp(min=TINY)).unsqueeze(1)
    return torch.einsum("jmb,jnb->mnb", U, Z[:, rows:])


def _rounds(columns: int) -> list[tuple[list[int], list[int]]]:
    """Disjoint pairs (smaller, larger index), round by round, by the circle method: every pair of columns once."""
    ring: list[int] = list(range(columns + columns % 2))
    rounds = []
    for _ in range(len(ring) - 1):
        pairs = [sorted((ring[i], ring[-1 - i])) for i in range(len(ring) // 2)]
        real = [pair for pair in pairs if pair[1] < columns]
        rounds.append(([i for i, _ in real], [j for _, j in real]))
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return rounds


def _rotate(Z: Tensor, left: list[int], right: list[int], rows: int) -> Tensor:
    # Stacks of views, not index tensors: those would have to be copied to the device each time.
    p, q = torch.stack([Z[i] for i in left]), torch.stack([Z[j] for j in right])
    a, b = (p[:, :rows] ** 2).sum(1), (q[:, :rows] ** 2).sum(1)
    c = (p[:, :rows] * q[:, :rows]).sum(1)
    gap, twice = b - a, 2.0 * c
    t = twice / torch.copysign(((gap * gap + twice * twice).sqrt() + gap.abs()).clamp(min=TINY), gap)
    cos = (1.0 + t * t).rsqrt()
    sin = cos * t
    swap = a - t * c < b + t * c
    first, second = torch.where(swap, sin, cos).unsqueeze(1), torch.where(swap, cos, -sin).unsqueeze(1)
    # The second new column is the first one turned by a right angle, up to its sign, which no factor sees.
    moved = dict(zip(left, first * p + second * q, strict=True)) | dict(zip(right, first * q - second * p, strict=True))
    return torch.stack([moved.get(i, Z[i]) for i in range(Z.shape[0])])
