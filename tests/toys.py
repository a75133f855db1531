"""Small optimizers for the tests: sound ones, of which each test makes its odd ones."""

from __future__ import annotations

import torch


class Descent(torch.optim.Optimizer):
    """Plain gradient descent; subclasses change the direction."""

    def __init__(self, params, lr=1e-2, **options):
        super().__init__(params, {"lr": lr} | options)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * self.direction(p, self.state[p]))

    def direction(self, p, state):
        return p.grad


class SignDescent(Descent):
    """Sign descent without memory."""

    def direction(self, p, state):
        return torch.sign(p.grad)


class Momentum(Descent):
    """Along an average of the gradients."""

    def direction(self, p, state):
        m = state.setdefault("m", torch.zeros_like(p))
        m.mul_(0.9).add_(0.1 * p.grad)
        return m


class ErrorFeedback(Descent):
    """Signs times the mean entry; what that rounds away is added to the next gradient, if it is kept (1901.09847)."""

    kept = True

    def direction(self, p, state):
        owed = state.setdefault("owed", torch.zeros_like(p))
        wanted = owed + p.grad
        step = wanted.abs().mean() * wanted.sign()
        if self.kept:
            owed.copy_(wanted - step)
        return step


class OnSphere(Descent):
    """Descent, and back to where every block is as long as it was, or as it has to be."""

    def __init__(self, params, lr=1e-2, radius=None, dtype=torch.float64):
        super().__init__(params, lr)
        self.radius, self.dtype = radius, dtype

    @torch.no_grad()
    def step(self, closure=None):
        before = [self.length(p).clone() for p in self.param_groups[0]["params"]]
        super().step()
        for p, length in zip(self.param_groups[0]["params"], before, strict=True):
            p.mul_((length if self.radius is None else self.radius) / self.length(p))
            p.copy_(p.to(self.dtype))

    def length(self, p):
        return p.norm()


class Tires(torch.optim.Optimizer):
    """Gradient descent that keeps the sum of all squares, and stands still once the gradient is small beside it."""

    def __init__(self, params, lr=0.1, least=1e-9):
        super().__init__(params, {"lr": lr, "least": least})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                total = self.state[p].setdefault("total", torch.zeros((), dtype=torch.float64))
                total += p.grad.square().sum()
                if p.grad.norm() > group["least"] * total.sqrt():
                    p.sub_(group["lr"] * p.grad)


class Rule(torch.optim.Optimizer):
    """A step along ``rule`` of heavy-ball momentum, with two learning rates if asked."""

    def __init__(self, params, rule, lr=1e-2, vectors_lr=None, momentum=0.9, decay=0.0):
        params = list(params)
        if vectors_lr is not None:
            vectors = {"params": [p for p in params if p.ndim == 1], "lr": vectors_lr}
            params = [{"params": [p for p in params if p.ndim == 2]}, vectors]
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})
        self.rule = rule

    def parameters(self):
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                if group["decay"]:
                    p.mul_(1 - group["lr"] * group["decay"])
                p.sub_(group["lr"] * self.rule(m))


def polar(m):
    """The pseudo-polar factor of a matrix, the sign of a vector."""
    if m.ndim == 1:
        return torch.sign(m)
    u, s, vt = torch.linalg.svd(m, full_matrices=False)
    return (u * (s > 1e-9 * s[0])) @ vt


def newton_schulz(m, steps=5, dtype=torch.bfloat16):
    """Five steps in bf16, as practical Muons take them (Jordan 2024); the sign of a vector."""
    if m.ndim == 1:
        return torch.sign(m)
    x = (m / m.norm()).to(dtype)
    x = x.T if m.shape[0] > m.shape[1] else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if m.shape[0] > m.shape[1] else x).double()


class PutAnew(Descent):
    """Dual averaging: each step puts the weights at their start, less the sum of the gradients over √t."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                p.copy_(self.start(p, state, group) - group.get("lr", 1.0) * self.direction(p, state))

    def start(self, p, state, group):
        return state.setdefault("x0", p.clone())

    def direction(self, p, state):
        state["z"] = state.get("z", 0) + p.grad
        state["t"] = state.get("t", 0) + 1
        return state["z"] / state["t"] ** 0.5


class Sums(PutAnew):
    """The same by coordinate, without a learning rate: what is small beside the sums is lost in their digits."""

    def __init__(self, params):
        torch.optim.Optimizer.__init__(self, params, {})

    def direction(self, p, state):
        state["z"] = state.get("z", 0) + p.grad
        state["n"] = state.get("n", 0) + p.grad**2
        return state["z"] / (1 + state["n"].sqrt())


class Lion(Descent):
    """Sign of an average, with a slower one remembered (Chen et al. 2302.06675)."""

    def direction(self, p, state):
        m = state.setdefault("exp_avg", torch.zeros_like(p))
        u = torch.sign(0.9 * m + 0.1 * p.grad)
        m.mul_(0.98).add_(p.grad, alpha=0.02)
        return u


class SharedScale(Descent):
    """A second moment for the whole group, kept in the group."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            square = sum((p.grad**2).sum() for p in group["params"])
            group["v"] = 0.9 * group.get("v", torch.zeros_like(square)) + 0.1 * square
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad / torch.sqrt(group["v"]))
