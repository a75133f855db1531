"""Exponential-tailed losses, through the logarithm of each margin's weight.

∇loss = −Σ_i w_i g_i with w_i = −∂loss/∂m_i > 0. Only log w_i is ever formed, so margins of 10⁶ are as good as 1.
A loss is a row of :data:`LOSSES`: a function of margins (samples, contrasts) that returns log w of that shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType

import torch
from torch import Tensor

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem
from maxmargin.verify.optimizers.core.logscale import Scaled


def exponential(margins: Tensor) -> Tensor:
    """Log-weights of Σ e^{−m}."""
    return -margins


def cross_entropy(margins: Tensor) -> Tensor:
    """Log-weights of Σ_samples log(1 + Σ_contrasts e^{−m}); with one contrast a sample it is the logistic loss."""
    if margins.shape[-1] == 1:
        # logsigmoid(-m), which torch's own operator would compute in an order of memory of its own.
        return torch.clamp(-margins, max=0.0) - torch.log1p(torch.exp(-torch.abs(margins)))
    top = torch.clamp((-margins).amax(-1, keepdim=True), min=0.0)
    total = torch.exp(-top) + torch.exp(-margins - top).sum(-1, keepdim=True)
    return -margins - top - torch.log(total)


WITHIN = 700.0  # of a logarithm, within float64's range
WIDEST, NARROWEST = 230.0, 40.0  # gaps; e^−40 is 4e-18, a fiftieth of what rounding leaves
GRADED_LARGE = 512
GRADED = 32  # margins, whose number squared it costs: a third of a microsecond for 16

LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"exponential": exponential, "logistic": cross_entropy, "cross-entropy": cross_entropy}
)


def graded(log_weights: Callable[[Tensor], Tensor], most: int = GRADED) -> Callable[[Tensor], Tensor]:
    """Return a loss's log-weights with the wide gaps between successive ones closed, so far that none is lost.

    A weight that is e^−745 of the largest is 0 in float64, and with it every entry of the gradient to which only such
    samples contribute: a unit that answers to one class alone stands still while the other class is the nearer one.
    What moves entries as far however small they are (a sign, Adam without eps) does not let them stand. An entry's
    sign depends on the nearest of its own samples; a next one that is e^−40 of it is lost in rounding, and so may be
    any further one: gaps are left as wide as all have room, 230 where there are three. What is not kept is how fast
    such an entry falls, to which Adam's averages lag. The weights of more than ``most`` margins stay as they are.
    """

    def closed(margins: Tensor) -> Tensor:
        logw = log_weights(margins)
        flat = logw.reshape(-1)
        count = flat.shape[0]
        if not 1 < count <= most:
            return logw
        up = flat - flat.unsqueeze(-1)  # from each weight to each other one
        places = torch.arange(count, device=flat.device)
        above = (up > 0) | ((up == 0) & (places < places.unsqueeze(-1)))
        nearest = torch.where(above, up, torch.full_like(up, torch.inf)).amin(-1)
        wide = (nearest > NARROWEST) & (nearest < torch.inf)
        room = torch.clamp(WITHIN / torch.clamp(wide.to(flat.dtype).sum(), min=1.0), NARROWEST, WIDEST)
        excess = torch.where(wide, torch.clamp(nearest - room, min=0.0), torch.zeros_like(nearest))
        over = above | (places == places.unsqueeze(-1))
        return logw + torch.where(over, excess, torch.zeros_like(excess)).sum(-1).reshape(logw.shape)

    return closed


def graded_at_most(problem: Problem) -> int:
    """How many margins are graded: few, or as many as cost less than the model itself."""
    return max(GRADED, min(GRADED_LARGE, sum(prod(shape) for shape in problem.shapes.values()) // 8))


def margins_of(model: HomogeneousModel, theta: Mapping[str, Tensor], X: Tensor, contrasts: Tensor) -> Tensor:
    """Margins (samples, contrasts) of one run, as a pure function of the data (so that data may be batched too)."""
    scores = model.scores(theta, X)
    if contrasts.shape[-1] == 1:
        return contrasts[..., 0] * scores
    return (contrasts @ scores.unsqueeze(-1)).squeeze(-1)


def scaled_gradient(
    model: HomogeneousModel,
    log_weights: Callable[[Tensor], Tensor],
    theta: Mapping[str, Tensor],
    X: Tensor,
    contrasts: Tensor,
) -> Scaled:
    """The loss's gradient, divided by its largest weight: mantissa −Σ (w_i / w_max) g_i, log-scale log w_max."""
    logw = log_weights(margins_of(model, theta, X, contrasts))
    s = logw.amax()
    w = torch.exp(logw - s)
    c = -w * contrasts[..., 0] if contrasts.shape[-1] == 1 else -(w.unsqueeze(-2) @ contrasts).squeeze(-2)
    return Scaled(model.pullback(theta, X, c), s)
