"""Learning rates: the formulas, their ranges, and what bad parameters are told."""

from __future__ import annotations

import math

import pytest
import torch

from maxmargin.verify.engine.schedules import Paced, PowerLaw, ScheduleError


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_power_law():
    rate = PowerLaw(0.5, 0.75).rate(16, _tensor(3.0, 9.0), _tensor(1.0, 1.0))
    assert rate.tolist() == [0.5 / 8, 0.5 / 8]
    assert PowerLaw(0.5).rate(10**6, _tensor(1.0), _tensor(1.0)).tolist() == [0.5]
    assert not PowerLaw(0.5).needs_speed


def test_a_power_law_of_exponent_one_sums_like_a_logarithm():
    schedule = PowerLaw(1.0, 1.0)
    total = sum(float(schedule.rate(t, _tensor(1.0), _tensor(1.0))) for t in range(1, 2001))
    assert total == pytest.approx(math.log(2000) + 0.5772156649, abs=1e-3)


def test_paced_moves_the_fastest_margin_by_the_pace():
    schedule = Paced(pace=0.2, decay=0.2, knee=1000, cap=math.inf)
    speed = _tensor(0.1, 5.0)
    moved = schedule.rate(3000, speed, _tensor(1.0, 1.0)) * speed
    assert moved.tolist() == pytest.approx([0.2 * 4**-0.2] * 2, rel=1e-14)
    assert schedule.needs_speed


def test_the_smallest_margin_moves_by_the_pace_over_the_lead():
    schedule = Paced(pace=0.2, decay=0.0, cap=math.inf, lead=2.5)
    speed, growth = _tensor(1.0, 1.0, 1.0, 1.0), _tensor(-5.0, 0.0, 0.4, 0.8)
    rate = schedule.rate(1, speed, _tensor(1.0, 1.0, 1.0, 1.0), growth)
    assert rate.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.1])  # negative growth and a slow one change nothing
    assert float(rate[3] * growth[3]) == pytest.approx(0.2 / 2.5)
    assert schedule.rate(1, speed, speed).tolist() == [0.2] * 4


def test_paced_is_capped_at_a_share_of_the_weights():
    schedule = Paced(pace=0.2, cap=0.02)
    rate = schedule.rate(1, _tensor(1e-6, 1e-6, 1.0), _tensor(0.5, math.inf, 1e9))
    assert rate[0] == pytest.approx(0.01)
    assert torch.isfinite(rate).all()
    assert rate[1] == pytest.approx(0.2 * 1.001**-0.2 / 1e-6)


def test_a_margin_that_cannot_move_leaves_the_cap():
    assert Paced().rate(1, _tensor(0.0), _tensor(2.0)).tolist() == [0.04]


@pytest.mark.parametrize("decay", [0.0, 0.2, 1.0])
def test_the_realized_exponent_is_the_decay(decay):
    schedule = Paced(pace=0.1, decay=decay, knee=10)
    late = [float(schedule.rate(t, _tensor(1.0), _tensor(math.inf))) for t in (10**7, 10**8)]
    assert math.log10(late[0] / late[1]) == pytest.approx(decay, abs=1e-6)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: PowerLaw(0.0), "power law eta=0.0, a=0.0; needed: eta > 0 and 0 <= a <= 1"),
        (lambda: PowerLaw(math.inf), "eta=inf"),
        (lambda: PowerLaw(math.nan), "eta=nan"),
        (lambda: PowerLaw(1.0, 1.5), "a=1.5"),
        (lambda: PowerLaw(1.0, -0.1), "a=-0.1"),
        (lambda: Paced(pace=0.0), "pace, knee and cap must be > 0, lead >= 0"),
        (lambda: Paced(pace=math.nan), "pace=nan"),
        (lambda: Paced(decay=1.1), "decay=1.1"),
        (lambda: Paced(knee=0.0), "knee=0.0"),
        (lambda: Paced(cap=-1.0), "cap=-1.0"),
        (lambda: Paced(lead=-1.0), "lead=-1.0"),
    ],
)
def test_bad_parameters_are_named(build, text):
    with pytest.raises(ScheduleError, match=text.replace("(", r"\(").replace(".", r"\.")):
        build()
