"""Two sides' steps compared: every way to differ counts, and rounding does not."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from maxmargin.verify.lab.rehearsal import KINDS, Move, Play
from maxmargin.verify.lab.side_by_side import Beside, alike, lay


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def beside(*pairs, rounding=0.0, tolerance=1e-10):
    found = Beside(tolerance)
    for a, b in pairs:
        found.take(vector(*a), vector(*b), rounding)
    return found


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        ((1.0, 0.0), (1.0, 0.0), 0.0),
        ((1.0, nan), (1.0, nan), 0.0),
        ((1.0, inf), (1.0, inf), 0.0),
        ((3.0, 4.0), (3.0, 4.5), 0.5 / (9 + 4.5**2) ** 0.5),
        ((1.0, 0.0), (0.0, 0.0), 1.0),
        ((1.0, nan), (1.0, 0.0), inf),
        ((1.0, inf), (1.0, -inf), inf),
        ((1.0, 0.0), (1.0, inf), inf),
    ],
)
def test_a_difference_is_relative_to_the_longer_step(a, b, difference):
    for pair in ((a, b), (b, a)):
        found = beside(((1.0, 1.0), (1.0, 1.0)), pair)
        assert found.largest == pytest.approx(difference)
        assert found.first == (2 if difference else None)
        assert found.broken == (2 if {nan, inf, -inf} & {*a, *b} else None)


def test_rounding_of_the_weights_is_no_difference():
    pair = (1.0, 0.0), (1.0, 1e-6)
    assert beside(pair, rounding=2e-6).first is None
    assert beside(pair, rounding=0.5e-6).first == 1


def test_factors():
    double = beside(((1.0, 2.0), (2.0, 4.0)), ((0.5, -1.0), (1.0, -2.0)))
    assert double.parallel
    assert double.factor == pytest.approx(2.0)
    varied = beside(((1.0, 2.0), (2.0, 4.0)), ((0.5, -1.0), (1.5, -3.0)))
    assert varied.parallel
    assert varied.factor is None
    for other in ((-2.0, -4.0), (2.0, 4.1), (0.0, 0.0), (inf, 4.0)):
        assert not beside(((1.0, 2.0), (2.0, 4.0)), ((1.0, 2.0), other)).parallel
    assert beside(((0.0, 0.0), (0.0, 0.0)), ((1.0, 0.0), (3.0, 0.0))).factor == pytest.approx(3.0)


def test_what_is_left_in_the_gradient_counts():
    step = [vector(1.0)]
    assert alike(Move(step, [0.0], [vector(nan)]), Move(step, [0.0], [vector(nan)]))
    assert not alike(Move(step, [0.0], [vector(1.0)]), Move(step, [0.0], [vector(2.0)]))
    assert not alike(Move(step, [0.0], [None]), Move(step, [0.0], [vector(2.0)]))


def test_plays_of_unequal_length_are_not_compared():
    move = Move([vector(1.0)], [0.0], [None])
    with pytest.raises(ValueError, match="zip"):
        lay([move, move], [move], 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_play_is_always_alike_and_its_touch_is_a_last_digit(kind):
    shapes = {"W": (4, 3), "K": (4, 3, 2, 2), "a": (5,)}
    one, again, touched = Play(kind, shapes, 6, 3), Play(kind, shapes, 6, 3), Play(kind, shapes, 6, 3).touched()
    for a, b, t in zip(one.cues, again.cues, touched.cues, strict=True):
        assert a.rate == b.rate == t.rate
        assert all(torch.equal(x, y) for x, y in zip(a.gradient, b.gradient, strict=True))
        assert [tuple(g.shape) for g in a.gradient] == list(shapes.values())
        for x, y in zip(a.gradient, t.gradient, strict=True):
            assert not torch.equal(x, y)
            torch.testing.assert_close(x, y, rtol=1e-13, atol=0.0)
        assert (a.weights is None) == (kind == "late drift")
    if kind == "gradients of low rank":
        assert all(torch.linalg.matrix_rank(c.gradient[1].reshape(4, -1)) == 2 for c in one.cues)
