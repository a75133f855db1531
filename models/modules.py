"""Any ``torch.nn.Module`` as a homogeneous model: its degree found, its laws checked, or refused with the reason.

What is trained are its parameters with ``requires_grad``, each a block under the parameter's own name; a kernel of more
than two axes is the matrix (first axis, all others), a number a vector of length 1. Everything runs in float64.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from threading import RLock
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap
from typing_extensions import override

from maxmargin.models.checks import EXACT, JUMP, HomogeneityError, additivity, check_homogeneity
from maxmargin.models.errors import InputError
from maxmargin.models.importing import where
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem
from maxmargin.models.registry import Data
from maxmargin.models.scaling import Blamed, blame, power_of

DRAWS = 3
"""Random parameters at which the degree is read."""

SEGMENTS = 3
"""Random pairs of parameters between which a kink of the gradient is looked for."""

_SWAPPED = RLock()  # functional_call puts parameters into the module for the length of a call


class ModuleError(InputError):
    """A module that cannot be used as a homogeneous model, with the reason."""


@final
@dataclass(frozen=True)
class ModuleModel(HomogeneousModel):
    """f(θ; x) of a ``torch.nn.Module`` with parameters θ.

    Attributes:
        called: What messages call it.
        digest: Of its code and constants: what tells it from others.
        blocks: Name and shape of each trained parameter.
        classes: Scores a sample.
        inputs: Length of one input, flattened.
        module: The module; a copy, in float64.
        of: Shape of one input as the module takes it.
        scalar: Whether the module returns one score a sample as (n,).
        power: L, as found.
        powers: Degree by block; None where the blocks add.
        kinked: Whether a kink of the gradient was found.
        additive: Whether scores add with parameters.
    """

    called: str
    digest: str
    blocks: tuple[tuple[str, tuple[int, ...]], ...]
    classes: int
    inputs: int
    module: torch.nn.Module = field(repr=False, compare=False)
    of: tuple[int, ...] = ()
    scalar: bool = False
    power: int = 1
    powers: tuple[tuple[str, int], ...] | None = None
    kinked: bool = True
    additive: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.called

    @property
    def smooth(self) -> bool:
        """Whether no kink was found."""
        return not self.kinked

    @property
    def linear(self) -> bool:  # type: ignore[override] # found by trying, not declared of a class
        """Whether scores add with parameters."""
        return self.additive

    @property
    @override
    def degree(self) -> int:
        return self.power

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.blocks)

    @property
    @override
    def block_degrees(self) -> Mapping[str, int] | None:
        return None if self.powers is None else dict(self.powers)

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        own = dict(self.module.named_parameters())
        with _SWAPPED:
            found = functional_call(
                self.module,
                {name: block.reshape(own[name].shape) for name, block in theta.items()},
                (X.reshape(X.shape[0], *self.of),),
            )
        return found.unsqueeze(-1) if self.scalar else found

    @property
    def findings(self) -> str:
        """What was found of it, in a sentence."""
        by_block = "" if self.powers is None else f" ({', '.join(f'{n}: {d}' for n, d in self.powers)})"
        smooth = "C¹ as far as was seen" if self.smooth else "not C¹: its gradient jumps"
        kind = ", linear in its parameters" if self.linear else ""
        return f"{self.name}: homogeneous of degree {self.degree}{by_block}{kind}; {smooth}"


def problem_of(module: Any, data: Data, source: str, name: str = "") -> Problem:
    """The problem of a module and data.

    Args:
        module: The module, or a function without arguments that returns one. It is copied.
        data: Inputs, and labels of as many classes as the module has outputs (two for one output).
        source: What the data are called.
        name: What the module is called; its class by default.

    Returns:
        The problem, ``SOURCE@NAME``; its note says what was found of the module.

    Raises:
        ModuleError: it is no module, or not homogeneous: what breaks that is named.
        DataError: the classes are not as many as its scores.
    """
    built = _built(module)
    name = name or type(built).__name__
    shape = data.shape or (data.features,)
    X = torch.as_tensor(np.asarray(data.X, dtype=np.float64))
    model = _unchecked(built, name, shape, X)
    problem = Problem.of(f"{source}@{name}", model, X, data.y, classes=data.labels)
    draws = [model.init(seed) for seed in range(DRAWS)]
    _each_sample_alone(model, draws[0], X)
    model = replace(model, power=_degree(model, draws, X))
    model = replace(model, powers=_block_degrees(model, draws, X))
    if model.degree == 1 and additivity(replace(problem, model=model), draws[0], draws[1]) <= EXACT:
        model = replace(model, additive=True)
    try:
        kink = max(check_homogeneity(replace(problem, model=model), seed).kink for seed in range(SEGMENTS))
    except HomogeneityError as broken:
        raise ModuleError(str(broken)) from broken
    except RuntimeError as broken:
        raise ModuleError(f"{name}: cannot be differentiated or batched: {_line(broken)}{where(broken)}") from broken
    model = replace(model, kinked=kink > JUMP)
    return replace(problem, model=model, note="; ".join(filter(None, (model.findings, data.note))))


def _built(module: Any) -> torch.nn.Module:
    if not isinstance(module, torch.nn.Module):
        if not callable(module):
            raise ModuleError(f"{module!r} is no torch.nn.Module, nor a function that returns one")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # what is drawn and not trained must be the same in every process
                module = module()
        except Exception as error:  # the user's own code may raise anything
            raise ModuleError(
                f"{getattr(module, '__name__', module)}() failed: {_line(error)}{where(error)}; needed is a module, or "
                "a class or function that is called without arguments (on the command line FILE.py:NAME:option=value)"
            ) from error
    if not isinstance(module, torch.nn.Module):
        raise ModuleError(f"a {type(module).__name__} was built; needed is a torch.nn.Module")
    return copy.deepcopy(module).double().cpu()


def _unchecked(module: torch.nn.Module, name: str, of: tuple[int, ...], X: Tensor) -> ModuleModel:
    """The model with its scores called once, before any law is checked."""
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    if not trained:
        raise ModuleError(f"{name}: has no parameter that requires a gradient, so nothing could be trained")
    blocks = tuple((n, (1,) if p.ndim == 0 else tuple(p.shape) if p.ndim < 3 else _as_matrix(p)) for n, p in trained)
    try:
        with torch.no_grad():
            found = module(X.reshape(len(X), *of))
    except Exception as error:  # likewise
        raise ModuleError(
            f"{name}: its forward failed on float64 inputs of shape {(len(X), *of)}: {_line(error)}{where(error)}"
        ) from error
    if not isinstance(found, Tensor) or found.ndim not in (1, 2) or len(found) != len(X):
        what = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ModuleError(f"{name}: returned {what} for {len(X)} samples; needed is (samples, scores) or (samples,)")
    if found.dtype != torch.float64:
        raise ModuleError(f"{name}: computes in {found.dtype}; margins are measured in float64, take the cast out")
    constants = [*module.buffers(), *(p.detach() for p in module.parameters() if not p.requires_grad)]
    digest = hashlib.sha256(repr(module).encode())
    for value in constants:
        digest.update(value.cpu().numpy().tobytes())
    classes = 1 if found.ndim == 1 else found.shape[1]
    return ModuleModel(name, digest.hexdigest()[:12], blocks, classes, prod(of), module, of, scalar=found.ndim == 1)


def _as_matrix(p: Tensor) -> tuple[int, int]:
    return p.shape[0], prod(p.shape[1:])


def _each_sample_alone(model: ModuleModel, theta: Mapping[str, Tensor], X: Tensor) -> None:
    """Refuse scores that are random, or depend on the other samples."""
    mode = "hand it over in evaluation mode: .eval()"
    with torch.no_grad():
        first, again = model.scores(theta, X), model.scores(theta, X)
        if not torch.equal(first, again):
            raise ModuleError(f"{model.name}: its scores are random (dropout?); {mode}")
        try:
            alone = torch.cat([model.scores(theta, x.unsqueeze(0)) for x in X])
        except Exception as error:  # likewise
            raise ModuleError(
                f"{model.name}: fails on a single sample: {_line(error)}{where(error)}; {mode}"
            ) from error
        size = first.abs().amax().clamp_min(1e-300)
        if not float((alone - first).abs().amax() / size) <= EXACT:
            raise ModuleError(
                f"{model.name}: a sample's scores depend on the other samples (batch normalization?); {mode}"
            )
        try:
            vmap(model.scores, in_dims=(0, None))({n: torch.stack([b, b]) for n, b in theta.items()}, X)
        except Exception as error:  # likewise; vmap has errors of many classes
            raise ModuleError(
                f"{model.name}: torch.func.vmap cannot batch its forward: {_line(error)}{where(error)}"
            ) from error


def _degree(model: ModuleModel, draws: list[dict[str, Tensor]], X: Tensor) -> int:
    """L, from f(2θ) and others at random parameters."""

    def scores(theta: Mapping[str, Tensor]) -> Tensor:
        return model.scores(theta, X)

    found = power_of(scores, draws)
    if found is None:
        raise ModuleError(f"{model.name} is not homogeneous in its parameters: {_why(model, draws, X, scores)}")
    if found != int(found):
        raise ModuleError(f"{model.name} is homogeneous of degree {found:.4g}; the theory here is of whole degrees")
    if found < 1:
        raise ModuleError(
            f"{model.name} is homogeneous of degree {found:g}: its scores do not grow with its parameters (a "
            "normalization at the end?), so it has no margin to maximize"
        )
    return int(found)


def _why(
    model: ModuleModel, draws: list[dict[str, Tensor]], X: Tensor, scores: Callable[[Mapping[str, Tensor]], Tensor]
) -> str:
    found: Blamed = blame(model.module, dict(model.blocks), draws, X.reshape(len(X), *model.of), scores)
    if found.parameters:
        names, one = " and ".join(found.parameters), len(found.parameters) == 1
        rest = "" if found.rest is None else f"; without {'it' if one else 'them'} its degree is {found.rest:g}"
        more = "" if found.part is None else f"; {found.part} is no power of their scale besides"
        return f"{names} {'is' if one else 'are'} added to terms of another degree (a bias: bias=False){rest}{more}"
    if found.part is not None:
        return (
            f"{found.part} is no power of the parameters' scale; needed is σ(cz) = c^k σ(z) for c > 0, "
            "as of ReLU, leaky and squared ReLU, and no eps in a normalization"
        )
    return "none of its parts shows why; look for a constant or a function in its own forward that is not homogeneous"


def _block_degrees(model: ModuleModel, draws: list[dict[str, Tensor]], X: Tensor) -> tuple[tuple[str, int], ...] | None:
    """The degree in each block alone; None unless each has one and they add up to L."""
    degrees = []
    for name, _ in model.blocks:

        def alone(theta: Mapping[str, Tensor], factor: float = 1.0, name: str = name) -> Tensor:
            return model.scores({**theta, name: factor * theta[name]}, X)

        found = power_of(alone, draws, block=name)
        if found is None or found != int(found):
            return None
        degrees.append((name, int(found)))
    return tuple(degrees) if sum(d for _, d in degrees) == model.degree else None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]
