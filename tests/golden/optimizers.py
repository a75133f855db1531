"""The README's own optimizers, for golden runs."""

import torch


class Momentum(torch.optim.Optimizer):
    def __init__(self, params, lr=0.02, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                p.sub_(group["lr"] * self.direction(m))


class ShapedMuon(Momentum):
    def direction(self, m):
        u, s, vt = torch.linalg.svd(torch.atleast_2d(m), full_matrices=False)
        polar = (u * (s > 1e-12 * s[0])) @ vt
        rows, columns = polar.shape
        return max(1.0, rows / columns) ** 0.5 * polar.reshape(m.shape)


class LayerNormalizedGD(Momentum):
    def direction(self, m):
        return m / m.norm()
