"""Correct optimizers, each written in another way than ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mutants_base import ADAM, GD, HYBRID, LAYERS, POLAR, Gradient, Momentum, Polar, Sign, correct, polar
from mutants_states import ShapeFactor
from torch import Tensor


def converged(m: Tensor, coefficients: tuple[float, float, float], goal: float = 1.0) -> Tensor:
    """Odd quintic iterations, in numpy, until every singular value is ``goal`` or nothing."""
    a, b, c = coefficients
    x = np.atleast_2d(m.numpy())
    x = x / np.sqrt((x * x).sum())
    for _ in range(60):
        gram = x @ x.T
        following = gram @ x
        if np.abs(following - goal**2 * x).max() < 1e-12:
            break
        x = a * x + b * following + c * (gram @ following)
    return torch.from_numpy(x).reshape(m.shape)


@correct("sign by comparison, in numpy", "rewritten", "linf", ("signum", {"kind": "heavy-ball"}))
class NumpySign(torch.optim.Optimizer):
    """Signum as a heavy ball, computed in numpy on a buffer that is a view of the state."""

    def __init__(self, params: Any, lr: float = 1e-3, mu: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "mu": mu})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("velocity", torch.zeros_like(p)).numpy()
                m *= group["mu"]
                m += p.grad.numpy()
                p += torch.from_numpy(group["lr"] * ((m < 0).astype(float) - (m > 0).astype(float)))


@correct("sign, row by row", "rewritten", "linf", ("sign-gd", {}))
class RowwiseSign(torch.optim.Optimizer):
    """Sign descent without state, one row at a time, by x / |x|."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                for row, g in zip(torch.atleast_2d(p), torch.atleast_2d(p.grad), strict=True):
                    row -= group["lr"] * g / g.abs()


@correct("Lion, as a pair of functions", "rewritten", "linf", ("signum", {"kind": "nesterov"}))
class Lion(torch.optim.Optimizer):
    """Lion with betas (0.81, 0.9), which is the sign of Nesterov's EMA with 0.9."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.81, 0.9)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

        def blend(beta: float) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda m, g: beta * m + (1 - beta) * g

        self.ahead, self.keep = blend(betas[0]), blend(betas[1])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].get("exp_avg", torch.zeros_like(p))
                p.add_(torch.sign(self.ahead(m, p.grad)), alpha=-group["lr"])
                self.state[p]["exp_avg"] = self.keep(m, p.grad)


@correct("polar factor by the Gram matrix", "rewritten", "spectral", POLAR)
class GramPolar(Momentum):
    """M (MᵀM)^(-1/2), the inverse root by eigh over the eigenvalues that are not rounding; vectors as one row."""

    def direction(self, m: Tensor) -> Tensor:
        x = torch.atleast_2d(m)
        x = x if x.shape[0] >= x.shape[1] else x.T
        values, vectors = torch.linalg.eigh(x.T @ x)
        root = torch.where(values > 1e-14 * values[-1], values.clamp(min=1e-300).rsqrt(), 0.0)
        u = x @ (vectors * root) @ vectors.T
        return u.reshape(m.shape) if u.shape == torch.atleast_2d(m).shape else u.T.reshape(m.shape)


@correct("polar factor by numpy's SVD", "rewritten", "spectral", ("muon", {"kind": "heavy-ball"}))
class NumpyPolar(torch.optim.Optimizer):
    """A heavy ball kept in the parameter group instead of the state; numpy's SVD, null directions dropped."""

    def __init__(self, params: Any, lr: float = 1e-3, mu: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "mu": mu})
        for group in self.param_groups:
            group["velocity"] = [torch.zeros_like(p) for p in group["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p, m in zip(group["params"], group["velocity"], strict=True):
                m.mul_(group["mu"]).add_(p.grad)
                w, s, vh = np.linalg.svd(np.atleast_2d(m.numpy()), full_matrices=False)
                rank = int((s > 1e-11 * s[0]).sum())
                p -= group["lr"] * torch.from_numpy(w[:, :rank] @ vh[:rank]).reshape(p.shape)


@correct("polar factor by Newton-Schulz, converged", "rewritten", "spectral", POLAR)
class ConvergedIteration(Momentum):
    """The quintic iteration in float64, as often as it takes: every singular value that is not rounding reaches 1."""

    def direction(self, m: Tensor) -> Tensor:
        return converged(m, (15 / 8, -10 / 8, 3 / 8))


@correct("Newton-Schulz to a wrong fixed point", "rewritten", "spectral", POLAR)
class OtherFixedPoint(Momentum):
    """Wrong coefficients, iterated to convergence: all singular values end at 1.05, which is a learning rate."""

    def direction(self, m: Tensor) -> Tensor:
        return converged(m, (1.5, -0.5 / 1.05**2, 0.0), 1.05)


@correct("Muon with Nesterov, foreach", "rewritten", "spectral", ("muon", {"kind": "nesterov"}))
class ForeachMuon(torch.optim.Optimizer):
    """Lists of tensors throughout; Nesterov's EMA."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            beta, params = group["beta"], group["params"]
            gradients = [p.grad for p in params]
            buffers = [self.state[p].setdefault("buf", torch.zeros_like(p)) for p in params]
            torch._foreach_lerp_(buffers, gradients, 1 - beta)
            ahead = torch._foreach_lerp(gradients, buffers, beta)
            torch._foreach_add_(params, [polar(m) for m in ahead], alpha=-group["lr"])


@correct(
    "Muon with a shape factor",
    "rewritten",
    "weighted spectral",
    ("momentum-steepest", {"norm": "blocks:tall=0.7071067811865476*spectral,wide=spectral,square=spectral,vector=l2"}),
    told=False,
)
class DeclaredShapeFactor(ShapeFactor):
    """√max(1, rows/columns) on the polar factor; nobody claims the plain norm, and ``check`` finds the weighted one."""


@correct("Adam with the fraction in its step size", "rewritten", "linf", ADAM)
class StepSizeAdam(torch.optim.Optimizer):
    """Bias corrections folded into the learning rate; hypot and addcdiv; no eps."""

    def __init__(self, params: Any, lr: float = 1e-3, b1: float = 0.9, b2: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "b1": b1, "b2": b2})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            b1, b2 = group["b1"], group["b2"]
            for p in group["params"]:
                s = self.state[p]
                if not s:
                    s |= {"t": 0, "m": torch.zeros_like(p), "r": torch.zeros_like(p)}
                s["t"] += 1
                s["m"].add_(p.grad - s["m"], alpha=1 - b1)
                s["r"] = torch.hypot(b2**0.5 * s["r"], (1 - b2) ** 0.5 * p.grad)
                p.addcdiv_(s["m"], s["r"], value=-group["lr"] * (1 - b2 ** s["t"]) ** 0.5 / (1 - b1 ** s["t"]))


@correct("Adam with logarithmic moments", "rewritten", "linf", ("adam", {"beta1": 0.0, "bias_correction": False}))
class LogAdam(torch.optim.Optimizer):
    """RMSprop whose log v is what is kept, as logaddexp; scaling the gradient adds to the state."""

    def __init__(self, params: Any, lr: float = 1e-3, alpha: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            a = torch.tensor(group["alpha"], dtype=torch.float64)
            for p in group["params"]:
                log_g = p.grad.abs().log()
                old = self.state[p].get("log_v", torch.full_like(p, -torch.inf))
                self.state[p]["log_v"] = torch.logaddexp(old + a.log(), 2 * log_g + (1 - a).log())
                p.sub_(group["lr"] * p.grad.sign() * (log_g - self.state[p]["log_v"] / 2).exp())


@correct(
    "RMSprop, never corrected",
    "rewritten",
    "linf",
    ("adam", {"beta1": 0.0, "bias_correction": False}),
    kwargs={"lr": 1e-3, "alpha": 0.95, "eps": 0.0},
)
class RMSprop(torch.optim.RMSprop):
    """Without bias correction the first steps are too long, which no limit remembers."""


@correct(
    "Adam with beta1 > beta2",
    "rewritten",
    "linf",
    ("adam", {"beta1": 0.9, "beta2": 0.85}),
    kwargs={"lr": 1e-3, "betas": (0.9, 0.85), "eps": 0.0},
)
class ReversedBetas(torch.optim.Adam):
    """Outside the theorem (beta1 <= beta2), but with beta1² < beta2, and at a pace that both follow: still the sign."""


@correct(
    "plain GD with a heavy ball",
    "rewritten",
    "l2",
    ("momentum-gd", {"kind": "heavy-ball"}),
    kwargs={"lr": 1e-3, "momentum": 0.9, "foreach": True},
)
class PlainGD(torch.optim.SGD):
    """Not normalized at all: the step shrinks with the gradient, and the learning rate makes up for it."""


@correct("GD over one flat vector", "rewritten", "l2", GD)
class FlatGD(torch.optim.Optimizer):
    """All blocks in one vector, whose EMA is the only state, kept with the first parameter."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        params = group["params"]
        flat = torch.nn.utils.parameters_to_vector([p.grad for p in params])
        m = self.state[params[0]].setdefault("flat", torch.zeros_like(flat)).lerp_(flat, 1 - group["beta"])
        after = torch.nn.utils.parameters_to_vector(params) - group["lr"] * m / torch.linalg.vector_norm(m)
        torch.nn.utils.vector_to_parameters(after, params)


@correct("GD normalized by its first block", "rewritten", "l2", GD)
class FirstBlockNorm(Gradient):
    """All blocks are divided by the first one's norm: one factor for all, hence only a learning-rate schedule."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [m / moments[0].norm() for m in moments]


@correct("layer-normalized GD", "rewritten", "l2;max", LAYERS)
class LayerwiseGD(torch.optim.Optimizer):
    """Each block by einsum and rsqrt, the EMA without its factor 1 - beta."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__([{"params": [p]} for p in params], {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            (p,) = group["params"]
            self.state[p]["m"] = group["beta"] * self.state[p].get("m", 0.0) + p.grad
            m = self.state[p]["m"].reshape(-1)
            p.sub_((group["lr"] * m * torch.einsum("i,i->", m, m).rsqrt()).reshape(p.shape))


@correct("row-normalized GD", "rewritten", "maxrow", ("momentum-steepest", {"norm": "maxrow"}))
class RowGD(Momentum):
    """A loop over rows; a vector is one row."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm() if m.ndim == 1 else torch.stack([row / (row @ row) ** 0.5 for row in m])


@correct("greedy coordinate descent", "rewritten", "l1", ("momentum-steepest", {"norm": "l1"}))
class Greedy(torch.optim.Optimizer):
    """One coordinate a step, found block by block with argmax."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        best, where = -1.0, (group["params"][0], 0)
        for p in group["params"]:
            m = self.state[p].setdefault("m", torch.zeros_like(p)).lerp_(p.grad, 1 - group["beta"])
            i = int(m.abs().argmax())
            if float(m.view(-1)[i].abs()) > best:
                best, where = float(m.view(-1)[i].abs()), (p, i)
        p, i = where
        p.view(-1)[i] -= group["lr"] * self.state[p]["m"].view(-1)[i].sign()


@correct("two groups: polar factor and sign", "rewritten", "hybrid", HYBRID)
class TwoGroups(torch.optim.Optimizer):
    """Matrices and the rest in groups of their own, told apart by a flag, with a learning rate each."""

    def __init__(self, params: Any, lr: float = 1e-3, ratio: float = 1.0) -> None:
        params = list(params)
        matrices = {"params": [p for p in params if p.ndim == 2], "orthogonalize": True, "lr": lr}
        rest = {"params": [p for p in params if p.ndim != 2], "orthogonalize": False, "lr": ratio * lr}
        super().__init__([g for g in (matrices, rest) if g["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p)).mul_(0.9).add_(p.grad)
                p.sub_(group["lr"] * (polar(m) if group["orthogonalize"] else torch.copysign(torch.ones_like(m), m)))


@correct("two groups, ratio 2", "rewritten", "hybrid:2", ("muon-signum", {"ratio": 2.0}), kwargs={"ratio": 2.0})
class TwoRates(TwoGroups):
    """Vectors at twice the matrices' learning rate: the hybrid norm with that weight."""


@correct("momentum dropped every ten steps", "harmless", "linf", None)
class Forgetful(Sign):
    """A fresh start is a shorter memory, and no limit depends on its length."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        state["steps"] = state.get("steps", 0) + 1
        if "m" not in state or state["steps"] % 10 == 1:
            state["m"] = torch.zeros_like(p)
        return state["m"].lerp_(p.grad, 1 - beta)


@correct("gradient of the step before", "harmless", "spectral", None)
class OneStepLate(Polar):
    """A delay of one step vanishes against the length of the weights."""

    def seen(self, p: Tensor) -> Tensor:
        last = self.state[p].get("last", p.grad)
        self.state[p]["last"] = p.grad.clone()
        return last


@correct("signs averaged", "harmless", "linf", None)
class AveragedSigns(Momentum):
    """The sign is taken before the average: up to a bounded lag the weights are sign descent's."""

    def seen(self, p: Tensor) -> Tensor:
        return p.grad.sign()

    def direction(self, m: Tensor) -> Tensor:
        return m
