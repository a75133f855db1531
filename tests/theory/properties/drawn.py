"""What the properties are drawn from, how many examples of each, and how a failing one is run again.

A property is a plain function of one case, a frozen dataclass that ``repr`` writes as it is made; :func:`over` makes a
test of it. What hypothesis shrinks a failure to ends in one line that runs it again. ``MAXMARGIN_EXAMPLES=10`` draws
ten times as many examples, other ones each time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from maxmargin.models.datasets import synthetic
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problem import Problem

FACTOR = float(os.environ.get("MAXMARGIN_EXAMPLES", "1"))
PROFILE = "maxmargin-gate" if FACTOR <= 1 else "maxmargin-explore"  # registered in tests/theory/conftest.py


def again(statement, case):
    """The line that runs a property on one case."""
    file = Path(statement.__code__.co_filename).stem
    return f'PYTHONPATH=tests python -m theory.properties {file} "{statement.__name__}({case!r})"'


def over(cases, count):
    """A test that a property holds on ``count`` drawn cases."""

    def test_of(statement):
        @pytest.mark.theory("properties", verdict=False)  # plain assertions, no claim of the registry
        @settings(settings.get_profile(PROFILE), max_examples=max(1, round(count * FACTOR)))
        @given(case=cases)
        def test(case):
            note(again(statement, case))
            statement(case)

        return test

    return test_of


def refused(statement, cases):
    """How many of the cases a property refuses."""
    count = 0
    for case in cases:
        try:
            statement(case)
        except AssertionError:
            count += 1
    return count


@dataclass(frozen=True)
class Data:
    """Separable data for a linear model: ``classes`` by ``shapes``' one matrix, or two classes and any blocks.

    ``decades``: over which the features' sizes spread. ``easy``: samples near their classes' own directions, whose
    margin is at least 0.6 in ℓ2, so that a few thousand steps come near the optimum.
    """

    n: int
    shapes: tuple[tuple[int, ...], ...]
    classes: int = 2
    decades: float = 0.0
    seed: int = 0
    easy: bool = False

    def problem(self, offset=0):
        seed = self.seed + offset
        width = sum(int(np.prod(shape)) for shape in self.shapes) if self.classes == 2 else self.shapes[0][1]
        if self.easy:
            rng = np.random.default_rng(seed)
            y = np.arange(self.n) % self.classes
            noise = rng.uniform(-0.2, 0.2, (self.n, width))
            X = rng.uniform(1.0, 2.0, self.n)[:, None] * np.eye(self.classes, width)[y] + noise
        elif self.classes == 2:
            made = synthetic.binary(n=self.n, d=width, seed=seed)
            X, y = made.X, made.y
        else:
            made = synthetic.multiclass(n=self.n, d=width, k=self.classes, seed=seed)
            X, y = made.X, made.y
        X = X * 10.0 ** -np.linspace(0, self.decades, width)
        names = tuple((f"b{i}", shape) for i, shape in enumerate(self.shapes))
        model = BlockLinear(names) if self.classes == 2 else MulticlassLinear(self.classes, width)
        return Problem.of(f"drawn, {self!r}, {offset}", model, X, y)


SEEDS = st.integers(0, 10_000)
EXPONENTS = st.one_of(st.sampled_from([1.1, 1.25, 1.5, 2.0, 3.0, 4.0]), st.floats(1.05, 8).map(lambda p: round(p, 2)))
NAMED = ("l2", "linf", "spectral", "l1", "nuclear", "maxrow", "sumrow", "maxcolumn", "sumcolumn")
SMOOTH = st.builds(
    lambda family, p: f"{family}:{p}", st.sampled_from(["entrywise", "schatten", "rows", "columns"]), EXPONENTS
)
BLOCK = st.one_of(st.sampled_from(NAMED), SMOOTH)
JOINED = st.builds(lambda norm, join: f"{norm};{join}", BLOCK, st.sampled_from(["max", "sum", "l2", "1.5", "3"]))
NORMS = st.one_of(
    BLOCK, JOINED, st.sampled_from(["hybrid", "hybrid:0.5", "hybrid:3", "blocks:@matrix=schatten:3,@vector=0.7*l2;max"])
)


@st.composite
def data(draw, decades=2.0, easy=False):
    """Three classes and more under one matrix, or two under a matrix and a vector, or under either."""
    seed, classes = draw(SEEDS), draw(st.integers(2, 4))
    spread = draw(st.floats(0, decades).map(lambda x: round(x, 1)))
    if easy or classes > 2:
        classes = max(classes, 3)
        n, width = classes + draw(st.integers(0, 5)), classes + draw(st.integers(0, 3))
        return Data(n, ((classes, width),), classes, spread, seed, easy)
    matrix = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    vector = (draw(st.integers(1, 4)),)
    shapes = draw(st.sampled_from([(matrix, vector), (matrix,), (vector, matrix, vector[:1])]))
    return Data(2 + draw(st.integers(0, 6)), shapes, 2, spread, seed)
