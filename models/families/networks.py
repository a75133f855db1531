"""Networks of units σ(z) = max(z, 0)^q or z^q, of any depth: ReLU and its powers, and quadratic activation.

Of degree q + 1 with one hidden layer, 1 + q + q² with two (7 for squared ReLU). C¹ for q > 1; plain ReLU, q = 1, is
homogeneous but not C¹ (hypothesis M1 of Gronich & Vardi 2602.16340): at its kink the subgradient is torch's, 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, ProblemError, at_least, family, two_classes


@final
@dataclass(frozen=True)
class Unit:
    """The activation σ(z) = z₊^q with z₊ = max(z, 0), or z itself where it is not rectified.

    Attributes:
        power: q, at least 1; 2 where it is not rectified.
        rectified: Whether negative z count as 0.
    """

    power: float = 2
    rectified: bool = True

    @property
    def name(self) -> str:
        """What a family of such units is called."""
        if not self.rectified:
            return "quadratic"
        return "relu" if self.power == 1 else "relu2" if self.power == 2 else "relu-power"

    def base(self, z: Tensor) -> Tensor:
        """z₊, or z."""
        return torch.relu(z) if self.rectified else z

    def value(self, r: Tensor) -> Tensor:
        """σ from the base r."""
        if self.power == 1:
            return r
        return r * r if self.power == 2 else r**self.power

    def lower(self, r: Tensor) -> Tensor:
        """r^(q−1), which is σ′/q."""
        if self.power == 1:
            return (r > 0).to(r.dtype)
        if self.power < 2:  # its own slope is infinite at 0, and autograd would make a NaN of 0 · inf
            return torch.where(r > 0, r, 1.0) ** (self.power - 1) * (r > 0)
        return r if self.power == 2 else r ** (self.power - 1)


RELU, RELU2, SQUARE = Unit(1), Unit(2), Unit(2, rectified=False)


class OfUnits(HomogeneousModel):
    """A model of units σ; where it has layers, f = ⟨a, h⟩ or V h of the last one's h = σ(W h) from x on."""

    unit: Unit

    @property
    def layers(self) -> tuple[str, ...]:
        """The matrices' names, from the input on."""
        return ("W",)

    @property
    @override
    def smooth(self) -> bool:
        return self.unit.power > 1

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        h = X
        for name in self.layers:
            h = self.unit.value(self.unit.base(h @ theta[name].T))
        return (h @ theta["a"]).unsqueeze(-1) if self.outputs == 1 else h @ theta["V"].T


@final
@dataclass(frozen=True)
class Network(OfUnits):
    """f(θ; x) = ⟨a, σ(W_K ⋯ σ(W_1 x))⟩ for two classes, V σ(W_K ⋯ σ(W_1 x)) for more: no biases.

    Blocks ``W`` (hidden, inputs) and ``a`` (hidden,), or ``V`` (classes, hidden); ``W1``, ``W2``, … with more layers.

    Attributes:
        inputs: Features d.
        widths: Hidden widths, one a hidden layer.
        unit: σ.
        classes: Outputs; 1 for two classes.
    """

    inputs: int
    widths: tuple[int, ...]
    unit: Unit = RELU2
    classes: int = 1

    @property
    @override
    def name(self) -> str:
        return self.unit.name if len(self.widths) == 1 else "deep-relu"

    @property
    def hidden(self) -> int:
        """Neurons of the last hidden layer."""
        return self.widths[-1]

    @property
    @override
    def layers(self) -> tuple[str, ...]:
        count = len(self.widths)
        return ("W",) if count == 1 else tuple(f"W{i + 1}" for i in range(count))

    @property
    def head(self) -> str:
        """The last block's name."""
        return "a" if self.classes == 1 else "V"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        sizes = (self.inputs, *self.widths)
        matrices = {name: (sizes[i + 1], sizes[i]) for i, name in enumerate(self.layers)}
        return {**matrices, self.head: (self.hidden,) if self.classes == 1 else (self.classes, self.hidden)}

    @property
    @override
    def block_degrees(self) -> Mapping[str, float]:
        q, above = self.unit.power, len(self.widths)
        return {**{name: q ** (above - i) for i, name in enumerate(self.layers)}, self.head: 1}

    @override
    def init(self, seed: int, scale: float = 1.0) -> dict[str, Tensor]:
        """As every model's, but above the first layer without signs: at random signs some neuron is mostly dead."""
        theta = super().init(seed, scale)
        return {name: block.abs() if name in self.layers[1:] else block for name, block in theta.items()}

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        unit, q, into, bases = self.unit, self.unit.power, [X], []
        for name in self.layers:
            bases.append(unit.base(into[-1] @ theta[name].T))
            into.append(unit.value(bases[-1]))
        low = unit.lower(bases[-1])
        gradient = {}
        if self.classes == 1:
            below = c * low
            gradient["a"] = (below * bases[-1]).sum(0)
            back = q * theta["a"] * below
        else:
            gradient["V"] = c.T @ into[-1]
            back = q * low * (c @ theta["V"])
        for i in reversed(range(len(self.layers))):
            gradient[self.layers[i]] = back.T @ into[i]
            if i:
                back = q * unit.lower(bases[i - 1]) * (back @ theta[self.layers[i]])
        return {name: gradient[name] for name in self.shapes}


@final
@dataclass(frozen=True)
class FixedHead(OfUnits):
    """Binary, f(W; x) = Σ_{j < p} σ(w_j·x) − Σ_{j >= p} σ(w_j·x): one block ``W`` (hidden, inputs), L = q.

    Attributes:
        inputs: Features d.
        hidden: Neurons h.
        positive: Neurons p with output weight +1; the others have −1.
        unit: σ.
    """

    inputs: int
    hidden: int
    positive: int
    unit: Unit = RELU2

    @property
    @override
    def name(self) -> str:
        return f"{self.unit.name}-fixed"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.hidden, self.inputs)}

    @property
    @override
    def block_degrees(self) -> Mapping[str, float]:
        return {"W": self.unit.power}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        r = self.unit.base(X @ theta["W"].T)
        return self._signed(self.unit.value(r)).sum(-1, keepdim=True)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        r = self.unit.base(X @ theta["W"].T)
        return {"W": (self.unit.power * c * self._signed(self.unit.lower(r))).T @ X}

    def _signed(self, r: Tensor) -> Tensor:
        # Slices, not a vector of signs: no constant tensor to create in a hot loop, or on the wrong device.
        return torch.cat([r[..., : self.positive], -r[..., self.positive :]], dim=-1)


def _trained(data: Data, h: int, unit: Unit, depth: int = 2) -> Network:
    at_least("deep-relu" if depth > 2 else unit.name, 1, h=h)
    return Network(data.features, (h,) * (depth - 1), unit, 1 if data.classes == 2 else data.classes)


def _fixed(data: Data, h: int, unit: Unit) -> FixedHead:
    two_classes(f"{unit.name}-fixed", data)
    at_least(f"{unit.name}-fixed", 2, h=h)
    return FixedHead(data.features, h, (h + 1) // 2, unit)


def rectified(name: str, q: float) -> Unit:
    """The unit z₊^q, q >= 1, a whole number where it is one, so that degrees are."""
    if not 1 <= q < float("inf"):
        raise ProblemError(f"{name}: q={q}; needed is q >= 1")
    return Unit(int(q) if q == int(q) else q)


@family("relu", "two-layer ReLU, both layers trained (L = 2, not smooth); a matrix head V for three classes up")
def relu(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The two-layer ReLU network with h hidden neurons."""
    return _trained(data, h, RELU)


@family("relu2", "two-layer squared ReLU, both layers trained (L = 3); a matrix head V for three classes up")
def relu2(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The two-layer squared ReLU network with h hidden neurons."""
    return _trained(data, h, RELU2)


@family("relu-power", "two-layer network of units max(z, 0)^q, both layers trained (L = q + 1, smooth for q > 1)")
def relu_power(data: Data, *, q: float = 3.0, h: int = 8) -> HomogeneousModel:
    """The two-layer network of q-th powers of ReLU with h hidden neurons; q need not be a whole number."""
    return _trained(data, h, rectified("relu-power", q))


@family("quadratic", "two-layer network of units z², both layers trained (L = 3)")
def quadratic(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The two-layer network with quadratic activation and h hidden neurons."""
    return _trained(data, h, SQUARE)


@family("deep-relu", "depth layers of units max(z, 0)^q, all trained (L = 7 for depth 3, q = 2)")
def deep_relu(data: Data, *, depth: int = 3, h: int = 8, q: float = 2.0) -> HomogeneousModel:
    """The network of depth − 1 hidden layers with h units each; depth 3 at least (``relu-power`` has two layers)."""
    at_least("deep-relu", 3, depth=depth)
    return _trained(data, h, rectified("deep-relu", q), depth)


@family("relu2-fixed", "two-layer squared ReLU, second layer fixed to +-1, half and half (L = 2, two classes)")
def relu2_fixed(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The squared ReLU network with fixed output signs: the first ⌈h/2⌉ neurons +1, the others −1."""
    return _fixed(data, h, RELU2)


@family("quadratic-fixed", "quadratic activation, second layer fixed to +-1: f = xᵀMx (L = 2, two classes)")
def quadratic_fixed(data: Data, *, h: int = 8) -> HomogeneousModel:
    """f = xᵀ M x with M = Σ ± w_j w_jᵀ: the ℓ2 margin of W is the nuclear-norm margin of M, once h >= 2d."""
    return _fixed(data, h, SQUARE)
