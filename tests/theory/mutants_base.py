"""What broken and correct optimizers are made of: their records, and the intact pieces that each one replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Build = type[torch.optim.Optimizer]


@dataclass(frozen=True)
class Mutant:
    """A broken optimizer.

    ``reference`` is what it should have been, as a name of the engine's registry with arguments; ``honest`` the
    outcomes that would be right ("fails", and "inconclusive" where the fault shows only beyond any run's horizon).
    It leaves the reference within 300 steps after ``late`` ones, on blocks of ``shapes`` if not on every problem's.
    """

    name: str
    kind: str
    claim: str
    build: Build
    reference: tuple[str, Mapping[str, Any]]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    honest: tuple[str, ...] = ("fails",)
    late: int = 0
    shapes: Mapping[str, tuple[int, ...]] | None = None

    @property
    def why(self) -> str:
        return (self.build.__doc__ or "").strip()


@dataclass(frozen=True)
class Correct:
    """A correct optimizer.

    ``reference`` is the engine's recursion that it equals up to a factor a step, or None where its recursion is another
    one with the same limit ("harmless"). Where not ``told``, ``check`` must find ``claim`` by itself. ``answers`` are
    the classes of answer that are right: not every correct optimizer maximizes the margin of one norm everywhere.
    """

    name: str
    kind: str
    claim: str
    build: Build
    reference: tuple[str, Mapping[str, Any]] | None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    told: bool = True
    answers: tuple[str, ...] = ("holds",)

    @property
    def why(self) -> str:
        return (self.build.__doc__ or "").strip()


MUTANTS: list[Mutant] = []
CORRECT: list[Correct] = []
SIGN = ("signum", {})
POLAR = ("muon", {})
ADAM = ("adam", {})
GD = ("momentum-gd", {})
LAYERS = ("momentum-steepest", {"norm": "l2;max"})
HYBRID = ("muon-signum", {})


def broken(name: str, kind: str, claim: str, reference: Any, **kw: Any) -> Callable[[Build], Build]:
    def keep(cls: Build) -> Build:
        MUTANTS.append(Mutant(name, kind, claim, cls, reference, **kw))
        return cls

    return keep


def correct(name: str, kind: str, claim: str, reference: Any, **kw: Any) -> Callable[[Build], Build]:
    def keep(cls: Build) -> Build:
        CORRECT.append(Correct(name, kind, claim, cls, reference, **kw))
        return cls

    return keep


def polar(m: Tensor, power: float = 0.0) -> Tensor:
    """U Σ^power Vᵀ over the singular values that are not rounding (power 0: the polar factor); a vector is one row."""
    if m.ndim == 1:
        return polar(m[None], power)[0]
    u, s, vh = torch.linalg.svd(m, full_matrices=False)
    kept = torch.where(s > 1e-11 * s[0], s**power, torch.zeros_like(s))
    return (u * kept) @ vh


def signed(m: Tensor) -> Tensor:
    return m.sign()


class Momentum(torch.optim.Optimizer):
    """EMA of gradients, then a direction for each block. Intact; each broken class replaces one piece of it."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        if not state:
            state["m"] = torch.zeros_like(p)
        state["m"].mul_(beta).add_(self.seen(p), alpha=1 - beta)
        return state["m"]

    def seen(self, p: Tensor) -> Tensor:
        return p.grad

    def direction(self, m: Tensor) -> Tensor:
        raise NotImplementedError

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [self.direction(m) for m in moments]

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        p.sub_(lr * u)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        moments = [self.average(p, group["momentum"]) for p in group["params"]]
        for p, u in zip(group["params"], self.directions(moments), strict=True):
            self.move(p, u, group["lr"])


class Sign(Momentum):
    def direction(self, m: Tensor) -> Tensor:
        return signed(m)


class Polar(Momentum):
    def direction(self, m: Tensor) -> Tensor:
        return polar(m)


class Gradient(Momentum):
    """Momentum GD, normalized over all blocks."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        size = torch.stack([(m**2).sum() for m in moments]).sum().sqrt()
        return [m / size for m in moments]


def newton_schulz(m: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Odd quintic iterations on m / ‖m‖_F; a vector is one row."""
    if m.ndim == 1:
        return newton_schulz(m[None], coefficients, steps)[0]
    a, b, c = coefficients
    x = m / m.norm()
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Moments(torch.optim.Optimizer):
    """Adam without eps and without bias correction; each broken class replaces one piece of it."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.95)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    def second(self, g: Tensor) -> Tensor:
        return g * g

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        return m / v.sqrt()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        b1, b2 = group["betas"]
        for p in group["params"]:
            state = self.state[p]
            if not state:
                state |= {"m": torch.zeros_like(p), "v": torch.zeros_like(self.second(p))}
            state["m"].lerp_(p.grad, 1 - b1)
            state["v"].lerp_(self.second(p.grad), 1 - b2)
            p.sub_(group["lr"] * self.ratio(state["m"], state["v"]))
