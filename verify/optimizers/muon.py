"""Muon: the polar factor of the momentum, exact or by Newton–Schulz steps, with a factor that depends on the shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite, log
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers.core.base import (
    Facts,
    Optimizer,
    OptimizerError,
    State,
    check_betas,
    check_eps,
    register,
)
from maxmargin.verify.optimizers.core.logscale import Scaled, combine
from maxmargin.verify.optimizers.core.moments import LARGEST, OneMoment
from maxmargin.verify.optimizers.steepest import Kind, MomentumSteepestDescent

Factor = Literal["none", "original", "match_rms_adamw"]
Dtype = Literal["float64", "float32", "bfloat16"]

SHAPE_NORMS: Mapping[str, str] = {
    "none": "spectral",
    "original": "spectral-original:1",
    "match_rms_adamw": "spectral-match-rms:0.2",
}
"""The norm that each factor on the learning rate makes of the spectral norm."""

DTYPES: Mapping[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


@register("muon", "exact pseudo-polar factor of the momentum: spectral, weighted by factor (beta=0.9, factor=none)")
def muon(beta: float = 0.9, kind: Kind = "ema", factor: Factor = "none") -> Optimizer:
    """Muon with the polar factor from a float64 SVD; null directions do not move."""
    check_factor(factor)
    return MomentumSteepestDescent(get_norm(SHAPE_NORMS[factor]), beta, kind)


@register(
    "muon-ns",
    "Muon by Newton-Schulz as in torch.optim, eps=0 unless given: nearly spectral "
    "(beta=0.95, nesterov=true, steps=5, a=3.4445, b=-4.775, c=2.0315, dtype=bfloat16, factor=original)",
)
@dataclass(frozen=True)
class NewtonSchulzMuon(OneMoment):
    """Step along −factor · NS(m), where NS applies x ← a x + b x³ + c x⁵ to the singular values of m / ‖m‖_F.

    m ← β m + (1−β) g, with ``nesterov`` NS(β m + (1−β) g); factor 1, √max(1, rows/columns) or 0.2 √max(rows, columns).
    These are the semantics of ``torch.optim.Muon`` (2.13) with eps = 0: m / max(‖m‖_F, eps), transposed where rows
    exceed columns, all in ``dtype``. A vector, which torch refuses, counts as one row.

    Coefficients for which 1 is an attracting fixed point (3/2, −1/2, 0 or 15/8, −10/8, 3/8) approach the polar factor
    as steps grow: the spectral norm. Jordan's (3.4445, −4.775, 2.0315) leave singular values between 0.68 and 1.13
    however many the steps, which is no norm's steepest descent: no norm is claimed (its margin stays some per cent
    short of the spectral one). With an eps, steps shrink with the gradient once it is below eps: no norm either.
    """

    beta: float = 0.95
    nesterov: bool = True
    steps: int = 5
    a: float = 3.4445
    b: float = -4.7750
    c: float = 2.0315
    dtype: Dtype = "bfloat16"
    factor: Factor = "original"
    eps: float = 0.0

    def __post_init__(self) -> None:
        check_betas(beta=self.beta)
        check_eps(self.eps)
        check_factor(self.factor)
        if self.dtype not in DTYPES:
            raise OptimizerError(f"dtype is {self.dtype!r}; it must be one of {', '.join(DTYPES)}")
        if not 1 <= self.steps < 100:
            raise OptimizerError(f"steps is {self.steps}; it must be 1 to 99 Newton–Schulz steps")
        if not all(isfinite(x) for x in (self.a, self.b, self.c)) or self.reach > 10:
            raise OptimizerError(
                f"coefficients {self.a:g}, {self.b:g}, {self.c:g}: {self.steps} steps take singular values in [0, 1] "
                f"up to {self.reach:.3g}; they must stay near 1"
            )

    @cached_property
    def reach(self) -> float:
        """The largest singular value that the iteration makes of one in [0, 1]."""
        x = np.linspace(0.0, 1.0, 20_001)
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(self.steps):
                x = x * (self.a + self.b * x**2 + self.c * x**4)
        return float(np.nan_to_num(np.abs(x), nan=inf).max())

    @property
    def attracts(self) -> bool:
        """Whether singular values tend to 1 as steps grow."""
        return abs(self.a + self.b + self.c - 1) < 1e-9 and abs(self.a + 3 * self.b + 5 * self.c) < 1

    @override
    def facts(self) -> Facts:
        along = f"{self.beta:g} m + {1 - self.beta:.3g} g" if self.nesterov else "m"
        return Facts(
            norm=SHAPE_NORMS[self.factor] if self.attracts and self.eps == 0 else None,
            pace_norm=SHAPE_NORMS[self.factor],
            step_norm=self.reach,
            recursion=(
                f"m ← {self.beta:g} m + {1 - self.beta:.3g} g;  θ ← θ − η c NS({along}), {self.steps} steps of "
                f"{self.a:g} x + {self.b:g} x³ + {self.c:g} x⁵ in {self.dtype}, "
                f"factor c {self.factor}, eps {self.eps:g}"
            ),
            source="Jordan 2024; factors: Liu et al. 2502.16982; the exact polar factor: Gronich & Vardi 2602.16340",
            memory=1.0 / (1.0 - self.beta),
            lag_limit=1.0 - self.beta,
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        moment = combine(state, self.beta, gradient, 1.0 - self.beta)
        ahead = combine(moment, self.beta, gradient, 1.0 - self.beta) if self.nesterov else moment
        # By a power of two away from true units, so that rounding to ``dtype`` is what it is there.
        power = torch.floor(ahead.log_scale / log(2.0))
        near = torch.exp(ahead.log_scale - power * log(2.0))
        floor = self.eps * torch.exp2(torch.clamp(-power, max=LARGEST))
        out = {}
        for k, m in ahead.blocks.items():
            x = near * (m if m.ndim == 2 else m.unsqueeze(0))
            o = newton_schulz(x, floor, self.steps, (self.a, self.b, self.c), DTYPES[self.dtype])
            out[k] = -shape_factor(self.factor, tuple(x.shape)) * o.reshape(m.shape)
        return out, moment


def newton_schulz(
    m: Tensor, floor: Tensor, steps: int, coefficients: tuple[float, float, float], dtype: torch.dtype
) -> Tensor:
    """The odd polynomial x ← a x + b x³ + c x⁵, ``steps`` times, on the singular values of m / max(‖m‖_F, floor).

    Args:
        m: A matrix.
        floor: A scalar tensor, the least divisor.
        steps: How many times.
        coefficients: a, b, c.
        dtype: In which all of it is computed.

    Returns:
        A matrix of m's shape and dtype; 0 for 0.
    """
    a, b, c = coefficients
    tall = m.shape[0] > m.shape[1]
    x = m.to(dtype)
    x = x.mT if tall else x
    least = torch.clamp(floor, min=torch.finfo(dtype).tiny, max=torch.finfo(dtype).max).to(dtype)
    x = x / torch.maximum(torch.linalg.vector_norm(x), least)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # rounded once each, as torch's
    return (x.mT if tall else x).to(m.dtype)


def shape_factor(factor: str, shape: tuple[int, ...]) -> float:
    """What a factor on the learning rate is for a matrix of this shape."""
    block, weight = get_norm(SHAPE_NORMS[factor]).block("", shape)
    unit = np.zeros(shape)
    unit[0, 0] = 1.0
    return 1.0 / (weight * float(block.value(unit)))


def check_factor(factor: str) -> None:
    """Raise unless the factor is known.

    Raises:
        OptimizerError: saying what came.
    """
    if factor not in SHAPE_NORMS:
        raise OptimizerError(f"factor is {factor!r}; it must be one of {', '.join(SHAPE_NORMS)}")
