"""Margins as exact polynomials of the parameters, inside one activation pattern.

The variables are numbered: the parameters in the order of the blocks, each row-major (what ``flatten`` gives), and
after them whatever unknowns a caller adds. Coefficients are exact rationals; values may be of any kind that can be
added and multiplied: floats, rationals, balls, algebraic numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, final

from flint import fmpq

from maxmargin.models import blocks as blk
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.interpreter import Ring, filled, margins

Monomial = tuple[int, ...]
"""Variable numbers in ascending order, repeated for powers: (0, 0, 3) is v₀²v₃."""


@final
class Polynomial:
    """A sparse polynomial with rational coefficients.

    Example:
        >>> v0, v1 = Polynomial.variable(0), Polynomial.variable(1)
        >>> p = (v0 + v1) * (v0 - v1)
        >>> p.value([3, 2]), p.derivative(0).value([3, 2])
        (5, 6)
    """

    __slots__ = ("__dict__", "terms")

    def __init__(self, terms: Mapping[Monomial, fmpq]) -> None:
        self.terms = {monomial: c for monomial, c in terms.items() if c != 0}

    @classmethod
    def variable(cls, index: int) -> Polynomial:
        """The polynomial v_index."""
        return cls({(index,): fmpq(1)})

    @classmethod
    def constant(cls, value: Fraction | fmpq | int) -> Polynomial:
        """A constant."""
        q = fmpq(value.numerator, value.denominator) if isinstance(value, Fraction) else fmpq(value)
        return cls({(): q})

    @property
    def zero(self) -> bool:
        """Whether it is the zero polynomial."""
        return not self.terms

    @property
    def variables(self) -> set[int]:
        """The variables that occur."""
        return {v for monomial in self.terms for v in monomial}

    def __add__(self, other: Polynomial) -> Polynomial:
        if not isinstance(other, Polynomial):
            return NotImplemented
        terms = dict(self.terms)
        for monomial, c in other.terms.items():
            terms[monomial] = terms.get(monomial, 0) + c
        return Polynomial(terms)

    def __neg__(self) -> Polynomial:
        return Polynomial({monomial: -c for monomial, c in self.terms.items()})

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + (-other) if isinstance(other, Polynomial) else NotImplemented

    def __mul__(self, other: Polynomial) -> Polynomial:
        if not isinstance(other, Polynomial):
            return NotImplemented
        terms: dict[Monomial, fmpq] = {}
        for a, c in self.terms.items():
            for b, d in other.terms.items():
                monomial = tuple(sorted(a + b)) if a and b else a or b
                terms[monomial] = terms.get(monomial, 0) + c * d
        return Polynomial(terms)

    def __repr__(self) -> str:
        return f"Polynomial({len(self.terms)} terms in {len(self.variables)} variables)"

    def derivative(self, variable: int) -> Polynomial:
        """∂/∂v of one variable."""
        return self.gradient.get(variable, Polynomial({}))

    @cached_property
    def gradient(self) -> dict[int, Polynomial]:
        """Variable → derivative, for the variables that occur."""
        parts: dict[int, dict[Monomial, fmpq]] = {}
        for monomial, c in self.terms.items():
            for variable, power in Counter(monomial).items():
                at = monomial.index(variable)
                parts.setdefault(variable, {})[monomial[:at] + monomial[at + 1 :]] = c * power
        return {variable: Polynomial(terms) for variable, terms in parts.items()}

    def substitute(self, known: Mapping[int, fmpq]) -> Polynomial:
        """The polynomial in the other variables once some have values."""
        terms: dict[Monomial, fmpq] = {}
        for monomial, c in self.terms.items():
            rest = []
            for variable in monomial:
                if variable in known:
                    c = c * known[variable]
                else:
                    rest.append(variable)
            terms[tuple(rest)] = terms.get(tuple(rest), 0) + c
        return Polynomial(terms)

    def number(self, at: Sequence[float] | Mapping[int, float]) -> float:
        """The value at a point of floats."""
        return float(self.value(at, as_float))

    def value(self, at: Sequence[Any] | Mapping[int, Any], number: Callable[[fmpq], Any] = lambda c: c) -> Any:
        """The value at a point, one entry a variable; ``number`` brings a coefficient into the kind of the entries."""
        total = number(fmpq(0))
        for monomial, c in self.terms.items():
            term = number(c)
            for variable in monomial:
                term = term * at[variable]
            total = total + term
        return total


@final
@dataclass(frozen=True, eq=False)
class Margins:
    """The margins of a problem inside one activation pattern.

    Attributes:
        margins: One polynomial a margin.
        preactivations: What each relu of the code is applied to, in the order of the code.
        pattern: Whether each of them is taken as positive.
    """

    margins: list[Polynomial]
    preactivations: list[Polynomial]
    pattern: tuple[bool, ...]


def margin_polynomials(problem: Problem, pattern: Sequence[bool] = ()) -> Margins:
    """Return the margins as polynomials, by running the model's own code.

    Args:
        problem: The problem; the data are taken as the exact rationals that their floats are.
        pattern: For every relu entry in the order in which the code meets them (:func:`activation_signs`), whether
            it is open.

    Raises:
        ValueError: a pattern of the wrong length.
        Untranslatable: where the model's code cannot be run on polynomials.
    """
    met: list[Polynomial] = []
    gates = iter(pattern)

    def gate(z: Polynomial) -> Polynomial:
        met.append(z)
        return Polynomial.constant(int(next(gates, False)))

    variables = [Polynomial.variable(i) for i in range(blk.size(problem.shapes))]
    theta = blk.unflatten(filled(variables, (len(variables),)), problem.shapes)
    found = margins(problem, theta, Ring(Polynomial.constant, gate))
    if len(met) != len(pattern):
        raise ValueError(f"the pattern has {len(pattern)} entries, the model's code has {len(met)} relu entries")
    return Margins(list(found), met, tuple(bool(open_) for open_ in pattern))


def activation_signs(
    problem: Problem,
    theta: Sequence[Any],
    number: Callable[[Fraction], Any] = lambda q: fmpq(q.numerator, q.denominator),
    sign: Callable[[Any], int] = lambda z: (z > 0) - (z < 0),
) -> tuple[int, ...]:
    """The exact sign (−1, 0, 1) of every preactivation at an exact point.

    Args:
        problem: The problem.
        theta: The point, flat, entries of an exact kind.
        number: Brings a rational into that kind.
        sign: The sign of such a number.

    Returns:
        One sign for each relu entry in the order of the code; empty for a model without relu.

    Raises:
        Untranslatable: where the model's code cannot be run on exact numbers.
    """
    signs: list[int] = []

    def gate(z: Any) -> Any:
        signs.append(sign(z))
        return number(Fraction(int(signs[-1] > 0)))

    margins(problem, blk.unflatten(filled(theta, (len(theta),)), problem.shapes), Ring(number, gate))
    return tuple(signs)


def as_float(c: fmpq) -> float:
    """The nearest float."""
    return int(c.p) / int(c.q)


def from_float(value: float) -> fmpq:
    """The rational that a float is."""
    return fmpq(*float(value).as_integer_ratio())


def exact(theta: blk.Blocks, shapes: blk.Shapes) -> list[fmpq]:
    """The rationals that the floats of a point are, flat."""
    return [from_float(v) for v in blk.flatten(blk.as_numpy(theta), shapes)]
