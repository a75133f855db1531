"""The pseudo-polar factor of a matrix, or of a batch of them: what an exact Muon steps along.

``torch.linalg.svd`` costs one LAPACK call a matrix. A batch of many small ones goes to Newton's iteration over the
whole batch instead, and only what that cannot answer as well goes to LAPACK. This is a choice by value, so it lives
in an operator of its own (``torch.ops.maxmargin.polar``) that make_fx and TorchScript keep as one node.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms.polar.jacobi import jacobi_polar
from maxmargin.solvers.norms.polar.newton import newton_polar

WIDEST = 16
"""Columns beyond which LAPACK's own blocking wins."""
WORKING_SET = 100_000
"""Numbers of a batch worked on at a time: what fits a core's second-level cache with its temporaries."""


def polar(G: Array) -> Array:
    """U Vᵀ over the singular values σ_i > max(m, n)·eps·σ_1 of each matrix; 0 of a zero matrix.

    A matrix with a NaN or an infinity gives NaN and leaves the others alone. float64 on a CPU goes the fast way where
    there are many matrices, on a GPU there is no host synchronization.

    Args:
        G: (…, m, n), numpy or torch.

    Returns:
        The factors, of G's shape and kind.

    Example:
        >>> polar(np.array([[0.0, 2.0], [0.0, 0.0]])) + 0.0
        array([[0., 1.],
               [0., 0.]])
    """
    if isinstance(G, torch.Tensor):
        return _Polar.apply(G)
    return _Polar.apply(torch.as_tensor(np.ascontiguousarray(G))).numpy()


def fewest(columns: int) -> int:
    """Matrices from which Newton's iteration over the batch beats a LAPACK call each.

    Measured: 480 of 3 columns, 390 of 4, 220 of 5 and 140 of 10.

    Returns:
        Their number.
    """
    return 1600 // columns


def svd_polar(A: Tensor) -> Tensor:
    """The factors of finite matrices (…, m, n) by LAPACK: the reference."""
    U, sigma, Vt = torch.linalg.svd(A, full_matrices=False)
    kept = sigma > max(A.shape[-2:]) * torch.finfo(A.dtype).eps * sigma[..., :1]
    return (U * kept.unsqueeze(-2)) @ Vt


@contextmanager
def as_one_operator() -> Iterator[None]:
    """Within it every factor is ``torch.ops.maxmargin.polar``, for whoever records operators."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


_whole: ContextVar[bool] = ContextVar("_whole", default=False)


class _Polar(torch.autograd.Function):
    """The choice by shape and device, made where the whole batch is seen: below every vmap."""

    @staticmethod
    def forward(G: Tensor) -> Tensor:
        m, n = G.shape[-2:]
        small = 2 <= min(m, n) <= WIDEST and G.dtype == torch.float64
        many = small and prod(G.shape[:-2]) >= fewest(min(m, n))
        if many or _whole.get() or G.device.type != "cpu":
            return torch.ops.maxmargin.polar(G)
        return _svd_polar(G)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        del inputs
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], G: Tensor) -> tuple[Tensor, int | None]:
        del info
        (axis,) = in_dims
        return (_Polar.apply(G), None) if axis is None else (_Polar.apply(G.movedim(axis, 0)), 0)


def _polar(G: Tensor) -> Tensor:
    """Factors of (…, m, n)."""
    batch = G.reshape(-1, *G.shape[-2:])
    return (_many(batch) if G.device.type == "cpu" else _without_host(batch)).reshape(G.shape)


# As a plain definition: the decorator ``torch.library.custom_op`` imports torch's compiler at the first call, for 2 s.
_library = torch.library.Library("maxmargin", "DEF")
_library.define("polar(Tensor G) -> Tensor")
_library.impl("polar", _polar, "CompositeExplicitAutograd")


def _svd_polar(A: Tensor) -> Tensor:
    """As :func:`svd_polar`, for matrices of any scale, NaN in some."""
    scaled, spoilt = _normalized(A, (-2, -1))
    return svd_polar(scaled) + spoilt


def _many(A: Tensor) -> Tensor:
    """Of a big batch (B, m, n), block by block."""
    m, n = A.shape[1:]
    tall, back = ((1, 2, 0), (2, 0, 1)) if m >= n else ((2, 1, 0), (2, 1, 0))
    block = 2 ** max(8, (WORKING_SET // (m * n)).bit_length() - 1)
    parts = -(-A.shape[0] // block)
    out = torch.empty(A.shape, dtype=A.dtype)
    for a, o in zip(A.tensor_split(parts), out.tensor_split(parts), strict=True):
        # The batch goes last and stays there: one copy in, one copy out.
        scaled, spoilt = _normalized(a.permute(tall).contiguous(), (0, 1))
        P, good = newton_polar(scaled)
        o.copy_((P + spoilt).permute(back))
        if not bool(good.all()):
            rest = torch.nonzero(~good).squeeze(1)
            o[rest] = _svd_polar(a[rest])
    return out


def _without_host(A: Tensor) -> Tensor:
    """Of a batch (B, m, n) by operations that a GPU's queue takes without waiting."""
    m, n = A.shape[1:]
    tall, back = ((1, 2, 0), (2, 0, 1)) if m >= n else ((2, 1, 0), (2, 1, 0))
    scaled, spoilt = _normalized(A.permute(tall).contiguous(), (0, 1))
    return (jacobi_polar(scaled) + spoilt).permute(back).contiguous()


def _normalized(A: Tensor, axes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Each matrix over its largest |entry|, or 0 where that is no number; and 0, or NaN there.

    Returns:
        Matrices, and one number each, to be broadcast.
    """
    top = torch.maximum(A.amax(axes, keepdim=True), -A.amin(axes, keepdim=True))
    top = top.clamp(min=torch.finfo(A.dtype).smallest_normal)
    return torch.where(torch.isfinite(top), A / top, torch.zeros((), dtype=A.dtype, device=A.device)), top - top
