"""Equations are dropped only where an identity makes them redundant, and the number it divides by is handed on."""

from __future__ import annotations

import numpy as np
from flint import fmpq

from maxmargin.solvers.exact.kkt_systems import Frame, System
from maxmargin.solvers.exact.polynomials import Polynomial
from maxmargin.solvers.exact.redundancy import fix_faces, fix_rotations, fix_spectral_faces


def v(i: int) -> Polynomial:
    return Polynomial.variable(i)


def c(value: float) -> Polynomial:
    return Polynomial.constant(fmpq(*float(value).as_integer_ratio()))


def test_of_two_factors_one_equation_is_kept_with_its_divisor() -> None:
    # m_i = x_i u w, h_u = w (λ·x), h_w = u (λ·x); variables u, w, λ_1, λ_2
    x = (1.0, -2.0)
    margins = [c(xi) * v(0) * v(1) for xi in x]
    pull = c(x[0]) * v(2) + c(x[1]) * v(3)
    system = System([0.5, 0.8, 2 / 3, 1 / 3], free={0: v(1) * pull, 1: v(0) * pull})
    fix_faces(system, margins)
    assert list(system.free) == [0]  # ∂m/∂u = x w is the larger: u speaks for both
    assert system.held == {1: fmpq(*(0.8).as_integer_ratio())}
    ((words, [[divisor]]),) = system.regular
    assert "depends on parameter 0" in words
    assert divisor.terms == (c(-2.0) * v(1)).terms  # before w was held; it vanishes where the conclusion would fail
    assert divisor.value([fmpq(1), fmpq(0)]) == 0


def test_different_slopes_keep_both_equations() -> None:
    margins = [v(0) + v(1), v(0) - v(1)]
    system = System([0.1, 0.2, 0.5, 0.5], free={0: v(2) + v(3), 1: v(2) - v(3)})
    fix_faces(system, margins)
    assert list(system.free) == [0, 1]
    assert not system.held


def test_a_constant_dependence_drops_one_equation_and_no_more() -> None:
    # three rows whose sum never changes a margin
    slopes = [(2.0, -1.0), (-1.0, 2.0), (-1.0, -1.0)]
    margins = [sum((c(s[i]) * v(j) for j, s in enumerate(slopes)), start=c(0)) for i in (0, 1)]
    free = {j: c(s[0]) * v(3) + c(s[1]) * v(4) for j, s in enumerate(slopes)}
    system = System([0.1, 0.2, 0.3, 0.5, 0.5], free=free)
    fix_faces(system, margins)
    assert list(system.free) == [0, 1]
    assert list(system.held) == [2]


def test_a_rotation_that_is_no_symmetry_drops_nothing() -> None:
    # F = ∇(m) − 2θ for m = θ_0² + θ_1² (a symmetry) and m = θ_0² + 2 θ_1² (none), one block of two rows
    for factor, dropped in ((1.0, 1), (2.0, 0)):
        pulled = {0: c(2) * v(0) - c(2) * v(0), 1: c(2 * factor) * v(1) - c(2) * v(1)}
        pulled[0] = pulled[0] + v(2) * v(0)
        pulled[1] = pulled[1] + v(2) * v(1)
        system = System([0.6, 0.8, 1.0], pulled=pulled)
        fix_rotations(system, {"W": (2, 1)})
        assert 2 - len(system.pulled) == dropped
        assert len(system.regular) == dropped


def test_a_spectral_block_of_full_identical_rank_keeps_its_equations() -> None:
    order = np.array([[0, 1], [2, 3]])
    low = [[v(4) * v(5), v(4) * v(6)], [v(7) * v(5), v(7) * v(6)]]  # rank one identically
    full = [[v(4), v(5)], [v(6), v(7)]]
    values = np.array([[1.0, 0.5], [0.4, 0.2]])
    for gradient, dropped in ((low, 1), (full, 0)):
        system = System([1.0, 0.5, 0.4, 0.2, 1.0, 1.0, 0.5, 0.4], framed={j: v(j) for j in range(4)})
        system.frames.append(Frame("W", order, gradient, values, 1))
        fix_spectral_faces(system)
        assert 4 - len(system.framed) == dropped
        assert list(system.held) == [3][:dropped]
        assert len(system.regular) == dropped
