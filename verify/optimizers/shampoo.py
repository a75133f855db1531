"""Shampoo: the gradient between fractional powers of its own second-moment matrices."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.logscale import Scaled
from maxmargin.verify.optimizers.base import Optimizer, OptimizerError, State, check_beta, check_eps, register
from maxmargin.verify.optimizers.moments import LARGEST, direction_of

Vectors = Literal["diagonal", "full"]


class Statistics(NamedTuple):
    """Second moments e^{2 log_scale} · (L, R) of each block.

    A vector has one: (n,) squares, or with ``full`` (n, n); the other is empty.
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
        check_beta(self.beta)
        check_eps(self.eps)
        if not (isfinite(self.exponent) and 0 < self.exponent <= 1):
            raise OptimizerError(f"exponent is {self.exponent}; needed is a number in (0, 1], Shampoo's is 0.25")
        if self.vectors not in ("diagonal", "full"):
            raise OptimizerError(f"vectors is {self.vectors!r}; needed is 'diagonal' or 'full'")

    @property
    def scale_free(self) -> bool:
        """Whether a settled step is the polar factor, whatever the gradient's size."""
        return not self.accumulate and self.exponent == 0.25 and self.eps == 0

    @property
    @override
    def norm(self) -> Norm | None:
        return self.pace_norm if self.scale_free and not self.normalized else None

    @property
    @override
    def pace_norm(self) -> Norm:
        if self.normalized:
            return get_norm("l2")
        return get_norm("hybrid" if self.vectors == "diagonal" else "spectral")

    @property
    @override
    def recursion(self) -> str:
        keep, take = ("L", "") if self.accumulate else (f"{self.beta:g} L", f"{1 - self.beta:.3g} ")
        return (
            f"L ← {keep} + {take}G Gᵀ,  R likewise with Gᵀ G;  θ ← θ − η (L + {self.eps:g})^−{self.exponent:g} G "
            f"(R + {self.eps:g})^−{self.exponent:g}, vectors {self.vectors}{', normalized' if self.normalized else ''}"
        )

    @property
    @override
    def source(self) -> str:
        return "Gupta, Koren & Singer 1802.09568; without averages spectral: Bernstein & Newhouse 2409.20325"

    @property
    @override
    def memory(self) -> float:
        return float("inf") if self.accumulate else 1.0 / (1.0 - self.beta)

    @property
    @override
    def lag_limit(self) -> float:
        return 1.0 if self.accumulate else (1.0 - self.beta) / 2

    @override
    def init(self, theta: Blocks) -> State:
        left, right = {}, {}
        for k, b in theta.items():
            left[k], right[k] = (torch.zeros_like(x) for x in self._moments(b))
        first = next(iter(theta.values()))
        return Statistics(left, right, first.new_full((), -torch.inf))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        keep, take = (1.0, 1.0) if self.accumulate else (self.beta, 1.0 - self.beta)
        # One scale for all blocks, at which neither the kept moments nor the new ones exceed order one.
        tops = torch.stack([m.abs().amax() for m in state.left.values()]).amax()
        old = state.log_scale + 0.5 * torch.log(keep * tops)
        s = torch.maximum(old, gradient.log_scale)
        fade = torch.where(old == -torch.inf, torch.zeros_like(s), keep * torch.exp(2 * (state.log_scale - s)))
        new = torch.exp(gradient.log_scale - s)
        grown = {k: self._moments(new * g) for k, g in gradient.blocks.items()}
        left = {k: fade * state.left[k] + take * grown[k][0] for k in grown}
        right = {k: fade * state.right[k] + take * grown[k][1] for k in grown}
        fixed = torch.ones_like(step) if self.accumulate else 1.0 - torch.pow(self.beta, step)
        floor = self.eps * torch.exp(torch.clamp(-2 * s, max=LARGEST))
        blocks = {
            k: self._step(left[k] / fixed, right[k] / fixed, floor, g) for k, g in gradient.blocks.items()
        }  # in units e^{log-scale of g − 4 p s}
        moved = Scaled(blocks, gradient.log_scale - 4 * self.exponent * s)
        return direction_of(moved, self.normalized), Statistics(left, right, s)

    def _moments(self, g: Tensor) -> tuple[Tensor, Tensor]:
        if g.ndim == 2:
            return g @ g.mT, g.mT @ g
        return (g * g if self.vectors == "diagonal" else g.unsqueeze(1) * g), g.new_zeros(0)

    def _step(self, left: Tensor, right: Tensor, floor: Tensor, g: Tensor) -> Tensor:
        if g.ndim == 2:
            return power(left, self.exponent, floor) @ g @ power(right, self.exponent, floor)
        if self.vectors == "full":
            return power(left, 2 * self.exponent, floor) @ g
        d = left + floor
        return torch.where(d > 0, g * torch.where(d > 0, d, torch.ones_like(d)) ** (-2 * self.exponent), 0.0)


def power(moment: Tensor, exponent: float, floor: Tensor) -> Tensor:
    """(M + floor)^(−exponent) of a positive semidefinite M, of the pseudo-inverse where that is singular.

    Eigenvalues below n · 2⁻⁵² of the largest are rounding's and count as 0. A matrix with a NaN or an infinity gives
    NaN, and leaves the other runs of a vmapped batch alone.

    Args:
        moment: (n, n), symmetric.
        exponent: Positive.
        floor: A scalar tensor ≥ 0.

    Returns:
        (n, n).
    """
    n = moment.shape[0]
    top = moment.abs().amax()
    fine = torch.isfinite(top)
    w, Q = torch.linalg.eigh(torch.where(fine, moment, torch.zeros_like(moment)))
    w = torch.where(w > n * torch.finfo(w.dtype).eps * w[-1], w, torch.zeros_like(w)) + floor
    root = torch.where(w > 0, torch.where(w > 0, w, torch.ones_like(w)) ** -exponent, torch.zeros_like(w))
    return (Q * (root + (top - top))) @ Q.mT


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
