"""The pseudo-polar factor of a matrix, or of a batch of them: what an exact Muon steps along.

LAPACK's singular value decomposition on a CPU, Jacobi rotations on a GPU. The choice lives in an operator of its own,
``torch.ops.maxmargin.polar``, which whoever records operators sees as one; the engine's native steps have a kernel of
their own for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms.polar.jacobi import jacobi_polar


def polar(G: Array) -> Array:
    """Return u Vᵀ over the singular values σ_i > max(m, n)·eps·σ_1 of each matrix; 0 of a zero matrix.

    A matrix with a NaN or an infinity gives NaN and leaves the others alone. On a GPU there is no host synchronization.

    Args:
        G: (…, m, n), numpy or torch.

    Example:
        >>> polar(np.array([[0.0, 2.0], [0.0, 0.0]])) + 0.0
        array([[0., 1.],
               [0., 0.]])
    """
    if isinstance(G, torch.Tensor):
        return _Polar.apply(G)
    return _Polar.apply(torch.as_tensor(np.ascontiguousarray(G))).numpy()


def svd_polar(A: Tensor) -> Tensor:
    """The factors of finite matrices (…, m, n) by LAPACK: the reference."""
    U, sigma, Vt = torch.linalg.svd(A, full_matrices=False)
    kept = sigma > max(A.shape[-2:]) * torch.finfo(A.dtype).eps * sigma[..., :1]
    return (U * kept.unsqueeze(-2)) @ Vt


_whole: ContextVar[bool] = ContextVar("_whole", default=False)


@contextmanager
def as_one_operator() -> Iterator[None]:
    """Within it every factor is ``torch.ops.maxmargin.polar``, for whoever records operators."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


class _Polar(torch.autograd.Function):
    """The choice by device, made where the whole batch is seen: below every vmap."""

    @staticmethod
    def forward(G: Tensor) -> Tensor:
        return torch.ops.maxmargin.polar(G) if _whole.get() or G.device.type != "cpu" else _svd_polar(G)

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
    if G.device.type == "cpu":
        return _svd_polar(G)
    return _without_host(G.reshape(-1, *G.shape[-2:])).reshape(G.shape)


# As a plain definition: the decorator ``torch.library.custom_op`` imports torch's compiler at the first call, for 2 s.
_library = torch.library.Library("maxmargin", "DEF")
_library.define("polar(Tensor G) -> Tensor")
_library.impl("polar", _polar, "CompositeExplicitAutograd")


def _svd_polar(A: Tensor) -> Tensor:
    """As :func:`svd_polar`, for matrices of any scale, NaN in some."""
    scaled, spoilt = _normalized(A, (-2, -1))
    return svd_polar(scaled) + spoilt


def _without_host(A: Tensor) -> Tensor:
    """Of a batch (B, m, n) by operations that a GPU's queue takes without waiting."""
    m, n = A.shape[1:]
    tall, back = ((1, 2, 0), (2, 0, 1)) if m >= n else ((2, 1, 0), (2, 1, 0))
    scaled, spoilt = _normalized(A.permute(tall).contiguous(), (0, 1))
    return (jacobi_polar(scaled) + spoilt).permute(back).contiguous()


def _normalized(A: Tensor, axes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Each matrix over its largest |entry|, or 0 where that is no number; and 0, or NaN there, to be broadcast."""
    top = torch.maximum(A.amax(axes, keepdim=True), -A.amin(axes, keepdim=True))
    top = top.clamp(min=torch.finfo(A.dtype).smallest_normal)
    return torch.where(torch.isfinite(top), A / top, torch.zeros((), dtype=A.dtype, device=A.device)), top - top
