"""A plugin as a stranger would write it: a norm, a model, data, an optimizer and a claim, in one file of their own."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cvxpy as cp
import numpy as np
import torch
from array_api_compat import array_namespace
from torch import Tensor

from maxmargin.models.blocks import Array
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, dataset, family
from maxmargin.solvers.norms import GaugeNorm, get_norm, lp, register
from maxmargin.solvers.norms.atoms import lp_atom, vector
from maxmargin.verify.claims import catalogue
from maxmargin.verify.lab.faults import diagnosis
from maxmargin.verify.lab.faults.case import Case
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.optimizers.core import base
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent
from maxmargin.verify.thresholds.judging import CLAIM_LINEAR


@register
@dataclass(frozen=True)
class Modulus(GaugeNorm):
    """ℓ_P of the entries' moduli, taken two by two as complex numbers."""

    family: ClassVar[str] = "modulus"
    members: ClassVar[Mapping[str, float]] = {"maxmodulus": math.inf}

    def magnitudes(self, x: Array) -> Array:
        return self.split(x)[0]

    def split(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        xp, shape, size = array_namespace(x), tuple(x.shape), math.prod(x.shape)
        flat = xp.reshape(x, (-1,))
        pairs = xp.reshape(xp.concat([flat, xp.zeros_like(flat[: size % 2])]), (-1, 2))
        v = xp.sqrt(xp.sum(pairs**2, axis=1))
        unit = pairs / xp.where(v > 0, v, xp.ones_like(v))[:, None]
        return v, lambda t: xp.reshape(xp.reshape(unit * t[:, None], (-1,))[:size], shape)

    def lmo(self, G: Array) -> Array:
        v, rebuild = self.split(G)
        return -rebuild(lp.maximiser(v, self.p))

    def atom(self, x: Any) -> Any:
        even = cp.hstack([vector(x), 0.0]) if x.size % 2 else vector(x)
        return lp_atom(cp.norm(cp.reshape(even, (-1, 2), order="C"), 2, axis=1), self.p)


@base.register("modulus-descent", "momentum steepest descent under maxmodulus (beta=0.9)")
def modulus_descent(beta: float = 0.9) -> base.Optimizer:
    return MomentumSteepestDescent(get_norm("maxmodulus"), beta)


class ModulusDescent(torch.optim.Optimizer):
    """The same, as anybody's optimizer."""

    def __init__(self, params: Any, lr: float = 0.02) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(0.9).add_(p.grad, alpha=0.1)
                p.add_(Modulus(math.inf).lmo(m), alpha=group["lr"])


@dataclass(frozen=True)
class QuadraticUnits(HomogeneousModel):
    """Binary, f(θ; x) = Σ_j a_j (w_j·x)², L = 3."""

    inputs: int
    hidden: int
    name: ClassVar[str] = "quadratic-units"
    degree: ClassVar[int] = 3
    outputs: ClassVar[int] = 1
    block_degrees: ClassVar[Mapping[str, int]] = {"W": 2, "a": 1}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.hidden, self.inputs), "a": (self.hidden,)}

    @property
    def features(self) -> int:
        return self.inputs

    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return ((X @ theta["W"].T) ** 2 @ theta["a"]).unsqueeze(-1)


@family("quadratic-units", "f = Σ a_j (w_j·x)² (L = 3), two classes")
def quadratic_units(data: Data, *, h: int = 4) -> HomogeneousModel:
    return QuadraticUnits(data.features, h)


@dataset("corners", "two classes at the corners of a square, told apart by a quadratic", listed=("@quadratic-units",))
def corners() -> Data:
    return Data(np.array([[1.0, 0.9], [-0.8, -1.0], [1.0, -0.7], [-0.9, 1.1]]), np.array([1, 1, -1, -1]))


catalogue.register(
    catalogue.Claim(
        "modulus",
        "modulus-descent",
        "maxmodulus",
        "Momentum steepest descent under the largest modulus maximizes its margin.",
        "Gronich & Vardi 2602.16340, theorem on momentum steepest descent",
        (catalogue.Plan("multiclass", {"quick": 60_000}, CLAIM_LINEAR, {"quick": 1}, 0.01),),
    )
)


@diagnosis.register
def paired(case: Case) -> Iterator[Finding]:
    """Entries that move in pairs of one modulus."""
    for block in case.blocks:
        moduli = Modulus(math.inf).magnitudes(block.U[0])[: block.U[0].size // 2]
        if (spread := float(np.ptp(moduli) / moduli.max())) < 1e-9:
            yield Finding.of(Kind.OTHER, block.name, spread, "the entries of {block} move in pairs of one modulus")
