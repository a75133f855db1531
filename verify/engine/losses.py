"""Exponential-tailed losses, through the logarithm of each margin's weight.

∇loss = −Σ_i w_i g_i with w_i = −∂loss/∂m_i > 0. Only log w_i is ever formed, so margins of 10⁶ are as good as 1.
A loss is a row of :data:`LOSSES`: a function of margins (samples, contrasts) that returns log w of that shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from maxmargin.models.model import HomogeneousModel
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


LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"exponential": exponential, "logistic": cross_entropy, "cross-entropy": cross_entropy}
)


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
