"""Shampoo: the gradient between fractional powers of its own second-moment matrices."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.verify.optimizers.core.base import (
    Facts,
    Optimizer,
    OptimizerError,
    State,
    check_betas,
    check_eps,
    register,
)
from maxmargin.verify.optimizers.core.logscale import Scaled
from maxmargin.verify.optimizers.core.moments import LARGEST, direction_of

Vectors = Literal["diagonal", "full"]


class Statistics(NamedTuple):
    """Roots e^{log_scale} · (A, B) of the second moments L = A Aᵀ and R = B Bᵀ of each block.

    A vector has one: (n,) roots of mean squares, or with ``full`` (n, n); the other is empty. Roots, and the singular
    values of roots, keep twice the digits that eigenvalues of L and R would.
    """

    left: dict[str, Tensor]
    right: dict[str, Tensor]
    log_scale: Tensor


@dataclass(frozen=True)
class Shampoo(Optimizer):
    """L ← β L + (1−β) G Gᵀ,  R ← β R + (1−β) Gᵀ G,  step (L̂ + eps)^(−p) G (R̂ + eps)^(−p), p = ``exponent``.

    With ``accumulate`` the moments are sums, L ← L + G Gᵀ, and nothing is corrected; averages are divided by
    1 − βᵗ. ``eps`` is in units of G Gᵀ. A vector's moment is g² entry by entry (``diagonal``: Adam's and Adagrad's) or
    g gᵀ (``full``), with exponent 2p. With eps = 0 powers are of the pseudo-inverse: null directions do not move.

    With β = 0 and p = 1/4 the step is the polar factor: steepest descent in the spectral norm (Bernstein & Newhouse
    2409.20325). With averages that is the limit of settled moments, as for Adam, the case of diagonal matrices; no
    theorem is known to us, and the norm is a prediction that is measured. Diagonal vectors move by signs: the hybrid
    norm. Sums of falling gradients converge: gradient descent with a frozen conditioner, no fixed norm. ``normalized``
    divides steps by their ℓ2 length, needed where they shrink with the loss (sums; p other than 1/4).
    """

    beta: float = 0.9
    exponent: float = 0.25
    eps: float = 0.0
    vectors: Vectors = "diagonal"
    accumulate: bool = False
    normalized: bool = False

    def __post_init__(self) -> None:
        check_betas(beta=self.beta)
        check_eps(self.eps)
        if not (isfinite(self.exponent) and 0 < self.exponent <= 1):
            raise OptimizerError(f"exponent is {self.exponent}; it must be a number in (0, 1], Shampoo's is 0.25")
        if self.vectors not in ("diagonal", "full"):
            raise OptimizerError(f"vectors is {self.vectors!r}; it must be 'diagonal' or 'full'")

    @property
    def scale_free(self) -> bool:
        """Whether a settled step is the polar factor, whatever the gradient's size."""
        return not self.accumulate and self.exponent == 0.25 and self.eps == 0

    @override
    def facts(self) -> Facts:
        polar = "hybrid" if self.vectors == "diagonal" else "spectral"
        keep, take = ("L", "") if self.accumulate else (f"{self.beta:g} L", f"{1 - self.beta:.3g} ")
        return Facts(
            norm=polar if self.scale_free and not self.normalized else None,
            pace_norm="l2" if self.normalized else polar,
            recursion=(
                f"L ← {keep} + {take}G Gᵀ,  R likewise with Gᵀ G;  θ ← θ − η (L + {self.eps:g})^−{self.exponent:g} G "
                f"(R + {self.eps:g})^−{self.exponent:g}, vectors {self.vectors}"
                f"{', normalized' if self.normalized else ''}"
            ),
            source="Gupta, Koren & Singer 1802.09568; without averages spectral: Bernstein & Newhouse 2409.20325",
            memory=float("inf") if self.accumulate else 1.0 / (1.0 - self.beta),
            lag_limit=1.0 if self.accumulate else (1.0 - self.beta) / 2,
        )

    @override
    def init(self, theta: Blocks) -> State:
        left = {k: self._empty(b, 0) for k, b in theta.items()}
        right = {k: self._empty(b, 1) for k, b in theta.items()}
        first = next(iter(theta.values()))
        return Statistics(left, right, first.new_full((), -torch.inf))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        keep, take = (1.0, 1.0) if self.accumulate else (self.beta, 1.0 - self.beta)
        # One scale for all blocks, at which neither the kept roots nor the new ones exceed order one.
        tops = torch.stack([m.abs().amax() for m in state.left.values()]).amax()
        old = state.log_scale + torch.log(keep**0.5 * tops)
        s = torch.maximum(old, gradient.log_scale)
        fade = torch.where(old == -torch.inf, torch.zeros_like(s), keep**0.5 * torch.exp(state.log_scale - s))
        new = take**0.5 * torch.exp(gradient.log_scale - s)
        fixed = torch.ones_like(step) if self.accumulate else 1.0 - torch.pow(self.beta, step)
        floor = self.eps * torch.exp(torch.clamp(-2 * s, max=LARGEST))
        moved, left, right = {}, {}, {}
        for k, g in gradient.blocks.items():
            right[k] = state.right[k]
            if g.ndim == 1 and self.vectors == "diagonal":
                left[k] = torch.hypot(fade * state.left[k], new * g)
                moved[k] = inverse_power(left[k] / fixed.sqrt(), 2 * self.exponent, floor) * g
            elif g.ndim == 1:
                U, left[k] = grown(fade * state.left[k], new * g.unsqueeze(1))
                moved[k] = conditioned(U, left[k], fixed, 2 * self.exponent, floor) @ g
            else:
                U, left[k] = grown(fade * state.left[k], new * g)
                V, right[k] = grown(fade * state.right[k], new * g.mT)
                moved[k] = (
                    conditioned(U, left[k], fixed, self.exponent, floor)
                    @ g
                    @ conditioned(V, right[k], fixed, self.exponent, floor)
                )
        # In units e^{log-scale of g} · (e^{2 s})^{−2 p}.
        units = gradient.log_scale - 4 * self.exponent * s
        return direction_of(Scaled(moved, units), self.normalized), Statistics(left, right, s)

    def _empty(self, block: Tensor, side: int) -> Tensor:
        if block.ndim == 2:
            return block.new_zeros(block.shape[side], block.shape[side])
        if side == 1:
            return block.new_zeros(0)
        return torch.zeros_like(block) if self.vectors == "diagonal" else block.new_zeros(len(block), len(block))


def grown(root: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors U of [root, columns], and the root U Σ of root rootᵀ + columns columnsᵀ.

    A NaN or an infinity makes the root NaN, and leaves the other runs of a vmapped batch alone (LAPACK refuses them).

    Args:
        root: (n, n).
        columns: (n, m).

    Returns:
        Two of (n, n).
    """
    both = torch.cat([root, columns], dim=1)
    top = both.abs().amax()
    U, sigma, _ = torch.linalg.svd(torch.where(torch.isfinite(top), both, torch.zeros_like(both)), full_matrices=False)
    # Singular vectors are known up to their signs; one of the two, so that every library keeps the same root.
    mostly = U.T @ torch.arange(2.0, 2.0 + len(U), dtype=U.dtype, device=U.device).sqrt()
    U = torch.where(mostly < 0, -U, U)
    return U, U * (sigma + (top - top))


def conditioned(U: Tensor, root: Tensor, fixed: Tensor, exponent: float, floor: Tensor) -> Tensor:
    """U (Σ²/fixed + floor)^(−exponent) Uᵀ of a root U Σ.

    Returns:
        (n, n).
    """
    sigma = (U * root).sum(0)
    cut = len(sigma) * torch.finfo(sigma.dtype).eps * sigma[0]
    kept = torch.where(sigma > cut, sigma, torch.zeros_like(sigma)) + (sigma[0] - sigma[0])
    return (U * inverse_power(kept / fixed.sqrt(), exponent, floor)) @ U.mT


def inverse_power(root: Tensor, exponent: float, floor: Tensor) -> Tensor:
    """(root² + floor)^(−exponent) entry by entry, 0 where that is 0; without squaring if there is no floor.

    Returns:
        Of the root's shape.
    """
    whole = torch.hypot(root, floor.sqrt())
    return torch.where(whole == 0, torch.zeros_like(whole), torch.where(whole == 0, 1.0, whole) ** (-2 * exponent))


@register("shampoo", "Shampoo with averages: spectral on matrices, linf on vectors (beta=0.9, exponent=0.25, eps=0)")
def shampoo(
    beta: float = 0.9, exponent: float = 0.25, eps: float = 0.0, vectors: Vectors = "diagonal", normalized: bool = False
) -> Optimizer:
    """Shampoo with exponential averages."""
    return Shampoo(beta, exponent, eps, vectors, normalized=normalized)


@register("shampoo-sum", "Shampoo with sums, as first published: no fixed norm (exponent=0.25, eps=0, normalized=true)")
def shampoo_sum(
    exponent: float = 0.25, eps: float = 0.0, vectors: Vectors = "diagonal", normalized: bool = True
) -> Optimizer:
    """Shampoo with sums; its steps normalized unless told otherwise."""
    return Shampoo(0.0, exponent, eps, vectors, accumulate=True, normalized=normalized)
