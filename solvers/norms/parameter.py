"""Norms of the whole parameter: a norm a block, a weight a block, joined by ℓ_p."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from array_api_compat import array_namespace
from typing_extensions import override

from maxmargin.models.blocks import Array, Blocks, flatten, inner, shapes_of, unflatten
from maxmargin.models.errors import NormError
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.aggregation import project_blocks
from maxmargin.solvers.norms.atoms import lp_atom
from maxmargin.solvers.norms.block import BlockNorm, cone_residual, number
from maxmargin.solvers.norms.entrywise import Entrywise
from maxmargin.solvers.norms.families import get_block_norm


class Norm(ABC):
    """A norm of the whole parameter θ, a mapping of blocks (numpy or torch, one run); ⟨A, B⟩ = Σ A·B.

    ``value``, ``dual``, ``lmo``, ``project`` answer in the kind of their input, never branch on data, and can be
    traced (``make_fx``) and vmapped. The laws are those of :class:`BlockNorm`, for mappings.

    Attributes:
        name: What tables and the command line call it.
        aggregation: The exponent p that joins the blocks: 1 (sum), 2, inf (max), or another.
    """

    name: str
    aggregation: float

    @property
    @abstractmethod
    def dual_norm(self) -> Norm:
        """The norm ‖G‖_* = max ⟨G, S⟩ over ‖S‖ ≤ 1."""

    @abstractmethod
    def block(self, name: str, shape: tuple[int, ...]) -> tuple[BlockNorm, float]:
        """The norm and the weight of one block.

        Raises:
            NormError: this norm says nothing about such a block.
        """

    @abstractmethod
    def value(self, theta: Blocks) -> Array:
        """‖θ‖."""

    @abstractmethod
    def dual(self, G: Blocks) -> Array:
        """The dual norm ‖G‖_*."""

    @abstractmethod
    def lmo(self, G: Blocks) -> dict[str, Array]:
        """A minimiser of ⟨G, ·⟩ over the unit ball, where it is −‖G‖_*; zero for G = 0."""

    @abstractmethod
    def project(self, theta: Blocks, radius: float = 1.0) -> dict[str, Array]:
        """The nearest point to θ (Euclidean, all blocks together) with ‖·‖ ≤ radius."""

    @abstractmethod
    def atom(self, variables: Mapping[str, Any]) -> Any:
        """The norm as a convex cvxpy expression of cvxpy expressions of the blocks' shapes."""

    def normal_cone_residual(self, theta: Blocks, H: Blocks) -> Array:
        """1 − ⟨H, θ⟩ / (‖H‖_* ‖θ‖), zero iff H lies in the ball's normal cone at θ; see :func:`cone_residual`."""
        norm, dual = self.value(theta), self.dual(H)
        unit = {name: block / lp.nonzero(norm) for name, block in theta.items()}
        cosine = inner({name: block / lp.nonzero(dual) for name, block in H.items()}, unit)
        return cone_residual(cosine, dual)


@final
@dataclass(frozen=True)
class Rule:
    """Which blocks (by name, ``@matrix``, ``@vector`` or ``*``, the most specific wins) have which norm and weight."""

    selector: str
    norm: BlockNorm
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.selector or (self.selector != "*" and set(self.selector) & set(",;=*")):
            raise NormError(
                f"block name {self.selector!r} is empty or has one of , ; = * in it, which a norm's text form "
                "cannot carry; rename the block"
            )
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise NormError(
                f"block {self.selector!r}: the weight is {self.weight:g}; it must be a positive finite number"
            )

    def __str__(self) -> str:
        weight = "" if self.weight == 1 else f"{number(self.weight)}*"
        return f"{self.selector}={weight}{self.norm.name}"


@final
@dataclass(frozen=True)
class ParameterNorm(Norm):
    """‖θ‖ = ‖ (w_k ‖θ_k‖_k)_k ‖_p over the blocks k.

    Equality ignores the name; ``get_norm(norm.spec) == norm``.

    Raises:
        NormError: an aggregation exponent outside [1, inf], or two rules for the same blocks.

    Example:
        >>> norm = ParameterNorm.of({"W1": ("spectral", 2.0), "a": "linf"})
        >>> norm.name
        'blocks:W1=2*spectral,a=linf;max'
        >>> norm.dual_norm.spec
        'blocks:W1=0.5*nuclear,a=l1;sum'
    """

    rules: tuple[Rule, ...]
    aggregation: float
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.aggregation >= 1:
            raise NormError(f"aggregation {self.aggregation:g}: it must be max, sum, l2 or 1 <= P <= inf")
        object.__setattr__(self, "rules", tuple(sorted(self.rules, key=lambda rule: rule.selector)))
        selectors = [rule.selector for rule in self.rules]
        if not selectors or len(set(selectors)) < len(selectors):
            raise NormError(f"a norm needs one rule a block; the rules are for {selectors}")
        if not self.name:
            object.__setattr__(self, "name", self.spec)

    @classmethod
    def of(
        cls,
        blocks: Mapping[str, str | BlockNorm | tuple[str | BlockNorm, float]],
        aggregation: float = math.inf,
        name: str | None = None,
    ) -> ParameterNorm:
        """Build from a choice for each block: a norm, or (norm, weight). Keys ``@matrix``, ``@vector``, ``*`` too.

        Returns:
            The norm, called ``name`` or by its text form.
        """
        rules = []
        for selector, choice in blocks.items():
            norm, weight = choice if isinstance(choice, tuple) else (choice, 1.0)
            rules.append(Rule(selector, get_block_norm(norm), float(weight)))
        return cls(tuple(rules), aggregation, name or "")

    @classmethod
    def uniform(cls, norm: BlockNorm, aggregation: float | None = None, name: str = "") -> ParameterNorm:
        """The same norm for every block, joined by its own exponent unless another is given, and called like it."""
        return cls((Rule("*", norm),), norm.aggregation if aggregation is None else aggregation, name)

    @property
    def spec(self) -> str:
        """The text form, which :func:`get_norm` reads back as an equal norm."""
        join = _JOINS.get(self.aggregation, number(self.aggregation))
        first = self.rules[0]
        if len(self.rules) == 1 and first.selector == "*" and first.weight == 1:
            natural = first.norm.aggregation == self.aggregation
            return first.norm.name if natural else f"{first.norm.name};{join}"
        return f"blocks:{','.join(map(str, self.rules))};{join}"

    @property
    @override
    def dual_norm(self) -> ParameterNorm:
        rules = tuple(Rule(r.selector, r.norm.dual_norm, 1 / r.weight) for r in self.rules)
        if self.name == self.spec:
            name = ""
        else:
            name = self.name.removeprefix("dual:") if self.name.startswith("dual:") else f"dual:{self.name}"
        return ParameterNorm(rules, lp.conjugate(self.aggregation), name)

    @override
    def block(self, name: str, shape: tuple[int, ...]) -> tuple[BlockNorm, float]:
        kind = {1: "@vector", 2: "@matrix"}.get(len(shape), "")
        for wanted in (name, kind, "*"):
            for rule in self.rules:
                if rule.selector == wanted:
                    return rule.norm, rule.weight
        raise NormError(
            f"norm {self.name!r} says nothing about block {name!r} of shape {tuple(shape)}, only about "
            f"{', '.join(rule.selector for rule in self.rules)}; add a rule for it"
        )

    @override
    def value(self, theta: Blocks) -> Array:
        return self._join(theta, dual=False)

    @override
    def dual(self, G: Blocks) -> Array:
        return self._join(G, dual=True)

    @override
    def lmo(self, G: Blocks) -> dict[str, Array]:
        if len(G) > 1 and self._joint(G):
            shapes = shapes_of(G)
            return unflatten(Entrywise(self.aggregation).lmo(flatten(G, shapes)), shapes)
        rows = {name: self.block(name, tuple(g.shape)) for name, g in G.items()}
        steps = {name: _times(1 / weight, norm.lmo(G[name])) for name, (norm, weight) in rows.items()}
        if math.isinf(self.aggregation) or len(steps) == 1:
            return steps
        # ⟨G_k, lmo(G_k)⟩ / w_k = −‖G_k‖_* / w_k: how much each block has to offer.
        xp = array_namespace(*G.values())
        offers = xp.stack([-xp.sum(G[name] * step) for name, step in steps.items()])
        share = lp.maximiser(offers, self.aggregation)
        return {name: share[i] * step for i, (name, step) in enumerate(steps.items())}

    @override
    def project(self, theta: Blocks, radius: float = 1.0) -> dict[str, Array]:
        if not (radius > 0 and math.isfinite(radius)):
            raise NormError(f"the radius of a ball is {radius}; it must be a positive finite number")
        rows = {name: (*self.block(name, tuple(x.shape)), x) for name, x in theta.items()}
        return project_blocks(rows, self.aggregation, float(radius))

    @override
    def atom(self, variables: Mapping[str, Any]) -> Any:
        import cvxpy as cp

        parts = []
        for name, x in variables.items():
            norm, weight = self.block(name, x.shape)
            parts.append(_times(weight, norm.atom(x)))
        return parts[0] if len(parts) == 1 else lp_atom(cp.hstack(parts), self.aggregation)

    def _join(self, blocks: Blocks, dual: bool) -> Array:
        if self._joint(blocks):
            whole = Entrywise(self.aggregation)
            vector = flatten(blocks, shapes_of(blocks))
            return whole.dual(vector) if dual else whole.value(vector)
        parts = []
        for name, x in blocks.items():
            norm, weight = self.block(name, tuple(x.shape))
            parts.append(_times(1 / weight, norm.dual(x)) if dual else _times(weight, norm.value(x)))
        if len(parts) == 1:
            return parts[0]
        exponent = lp.conjugate(self.aggregation) if dual else self.aggregation
        return lp.value(array_namespace(*blocks.values()).stack(parts), exponent)

    def _joint(self, blocks: Blocks) -> bool:
        """Whether all blocks together are one vector under one entrywise ℓ_p, p < inf: fewer operations."""
        if math.isinf(self.aggregation):
            return False  # block by block is as few, and needs no copy
        wanted = Entrywise(self.aggregation)
        return all(self.block(name, tuple(x.shape)) == (wanted, 1.0) for name, x in blocks.items())


_JOINS = {math.inf: "max", 1.0: "sum", 2.0: "l2"}


def _times(factor: float, x: Any) -> Any:
    return x if factor == 1 else factor * x
