"""Schedules: sympy's verdicts against the theorem's table, numerical integration, and violated conditions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from maxmargin.solvers.schedules.admissibility import ScheduleError, admissible, admissible_powers, power_law, t

DEGREES = [1, 2, 3, 4, 15]


@pytest.mark.parametrize("degree", DEGREES)
def test_power_laws_are_admissible_from_the_edge_to_one(degree: int) -> None:
    edge = 1 - Fraction(1, degree)
    tiny = Fraction(1, 1000)
    assert admissible(edge + tiny, degree).met is True
    assert admissible(1, degree).met is True
    at_edge = admissible(edge, degree)
    assert at_edge.met is False
    assert at_edge.conditions["o(t^(1/L-1))"] == {"met": False, "value": "1"}
    assert at_edge.conditions["divergent integral"]["met"] is True
    beyond = admissible(1 + tiny, degree)
    assert beyond.met is False
    assert beyond.conditions["divergent integral"]["met"] is False
    assert beyond.conditions["o(t^(1/L-1))"]["met"] is True


@pytest.mark.parametrize("degree", DEGREES)
def test_the_interval_is_what_the_theorem_states(degree: int) -> None:
    assert admissible_powers(degree) == sp.Interval.Lopen(1 - sp.Rational(1, degree), 1)


def test_the_papers_own_schedule_is_outside_the_theorem_for_four_squared_relu_layers() -> None:
    assert admissible(0.8, 3).met is True
    assert admissible(0.8, 4).met is True
    assert admissible(0.8, 15).met is False
    assert admissible(0.8, 5).met is False  # 1 − 1/5 is the edge itself: 0.8 must be read as 4/5, not as its float


@pytest.mark.parametrize(
    ("schedule", "degree", "diverges", "vanishes"),
    [
        ("1/(t*log(t))", 15, True, True),
        ("1/(t*log(t)**2)", 15, False, True),
        ("log(t)/t", 2, True, True),
        ("exp(-t)", 1, False, True),
        ("0.1*t**-0.8", 3, True, True),
        ("3", 1, True, False),
        ("(1 + t/1000)**-0.2", 1, True, True),
        ("(1 + t/1000)**-0.2", 2, True, False),
        ("sqrt(1/t)*log(t)", 2, True, False),
        ("sqrt(1/t)/log(t)", 2, True, True),
    ],
)
def test_other_schedules(schedule: str, degree: int, diverges: bool, vanishes: bool) -> None:
    found = admissible(schedule, degree).conditions
    assert found["divergent integral"]["met"] is diverges
    assert found["o(t^(1/L-1))"]["met"] is vanishes
    # Independent look: ∫ from e over t = e^u, and η·t^(1 − 1/L) far out, in plain floats.
    eta = sp.lambdify(t, sp.sympify(schedule, locals={"t": t}), "numpy")
    near, far = (quad(lambda u: float(eta(np.exp(u))) * np.exp(u), 1, end, limit=400)[0] for end in (100, 600))
    assert (far > near * 1.25) is diverges
    ratio = [float(eta(T)) * T ** (1 - 1 / degree) for T in (1e20, 1e200)]
    assert (ratio[1] <= 0.2 * ratio[0]) is vanishes


def test_steepest_descent_without_momentum_needs_the_integral_alone() -> None:
    assert admissible(0, 3, "steepest descent").met is True
    assert admissible(0, 3, "momentum").met is False
    assert admissible(2, 3, "steepest descent").met is False


def test_adam_needs_a_monotone_schedule_and_ordered_betas() -> None:
    assert admissible(0.8, 3, "adam", b1=0.9, b2=0.999).met is True
    assert admissible(0.8, 3, "adam", b1=0.9, b2=0.9).met is True
    swapped = admissible(0.8, 3, "adam", b1=0.99, b2=0.9)
    assert swapped.met is False
    assert swapped.conditions["b1 <= b2"]["met"] is False
    assert "β₁ = 0.99 > β₂ = 0.9" in swapped.reasons[0]
    warmed = admissible("t*exp(-t/10) + t**-0.8", 3, "adam", b1=0.9, b2=0.999)
    assert warmed.conditions["non-increasing"]["met"] is False
    assert admissible("t*exp(-t/10) + t**-0.8", 3, "momentum").met is True
    unknown = admissible(0.8, 3, "adam")
    assert unknown.met is None
    assert unknown.reasons == ("β₁ and β₂ were not given",)


def test_an_oscillating_schedule_is_undecided_rather_than_guessed() -> None:
    found = admissible("(2 + sin(t))/t**0.6", 2)
    assert found.met is None
    assert len(found.reasons) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schedule": "x**-1", "degree": 1}, "only numbers"),
        ({"schedule": "__import__('os')", "degree": 1}, "only numbers"),
        ({"schedule": "t +", "degree": 1}, "no expression in t"),
        ({"schedule": "-1/t", "degree": 1}, "not positive"),
        ({"schedule": 1 / sp.Symbol("s"), "degree": 1}, "in t alone"),
        ({"schedule": 0.5, "degree": 0}, "degree is 0"),
        ({"schedule": 0.5, "degree": 2, "optimizer": "adamm"}, "unknown optimizer family 'adamm'"),
    ],
)
def test_unusable_input_is_refused_with_its_reason(arguments: dict, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        admissible(**arguments)


def test_power_laws_keep_their_exponent_exact() -> None:
    assert power_law(0.1, 0.3) == sp.Rational(3, 10) * t ** sp.Rational(-1, 10)
    assert power_law(Fraction(2, 3)) == t ** sp.Rational(-2, 3)


def test_a_sympy_number_is_a_constant_schedule_and_a_plain_one_an_exponent() -> None:
    """t^0, as power_law gives it, is the number 1: at the edge for L = 1, where the exponent 1 is admissible."""
    assert admissible(power_law(0), 1).met is False
    assert admissible(power_law(0, 0.1), 1, "steepest descent").met is True
    assert admissible(1, 1).met is True
