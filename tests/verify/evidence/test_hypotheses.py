"""Hypotheses measured on trajectories made by hand, whose exponents, turns and dead coordinates are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import log_spaced
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.hypotheses import Known, hypotheses_of

LINEAR, CUBIC, KINKED = "multiclass@linear", "binary@relu2:h=4", "binary@relu:h=4"
STEPS = np.array([0, *log_spaced(100_000, 40)])
LINF = get_norm("linf")


def _trajectory(length, turn=None, runs=2, steps=STEPS, **changes):
    """Steps of ℓ∞ length ``length(t)`` and a direction at the angle ``turn(t)``."""
    t = np.maximum(steps, 1.0)
    angle = np.zeros_like(t) if turn is None else turn(t)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None, :] * np.ones((1, runs, 1))
    ones = np.ones((len(steps), runs))
    nu = length(t)[:, None] * ones
    path = np.concatenate([[0.0], np.cumsum(np.diff(steps) * (length(t)[1:] + length(t)[:-1]) / 2)])
    size = np.maximum(path, 1e-3)[:, None, None]
    fields = {
        "problem": "p",
        "optimizer": "o",
        "steps": steps,
        "theta": {"w": size * unit},
        "gradient": {"w": np.ones((len(steps), runs, 2))},
        "update": {"w": nu[:, :, None] * np.array([1.0, -0.5])},
        "log_scale": 0 * ones,
        "margin": ones.copy(),
        "eta": 2 * nu,
        "travelled": ones,
        "separated_at": np.zeros(runs, dtype=int),
    }
    return Trajectory(**(fields | changes))


def _measured(trajectory, spec=LINEAR, **options):
    return hypotheses_of(problems.get(spec), trajectory, LINF, Known(**options))


def _power(a):
    return lambda t: 0.1 * t**-a


def test_a_run_that_broke_off_is_a_hypothesis_unmet_though_others_went_on():
    found = _measured(_trajectory(_power(0.0), broken=np.array([0, 700]), alive=np.array([True, False])))
    assert (found["finite steps"].met, found["finite steps"].value) == (False, 700)
    assert "finite steps" not in _measured(_trajectory(_power(0.0), broken=np.array([0, 0])))


# -- The schedule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "a", "met"),
    [
        (LINEAR, 0.0, True),
        (LINEAR, 0.5, True),
        (LINEAR, 1.0, True),
        (LINEAR, -0.2, False),  # growing steps
        (LINEAR, 1.3, False),  # ∫η is finite
        (CUBIC, 0.8, True),
        (CUBIC, 0.5, False),  # L = 3 asks more than 1 − 1/3
        (KINKED, 0.6, True),  # L = 2
        (KINKED, 0.3, False),
    ],
)
def test_the_exponent_of_the_steps(spec, a, met):
    found = _measured(_trajectory(_power(a)), spec)["schedule"]
    assert found.value == pytest.approx(a, abs=1e-9)
    assert found.met is met


def test_the_length_of_the_steps_counts_not_the_learning_rate():
    """Gradient descent at a constant rate: η stands still while its steps shrink."""
    trajectory = _trajectory(_power(0.9), eta=np.ones((len(STEPS), 2)))
    assert _measured(trajectory, CUBIC)["schedule"].value == pytest.approx(0.9, abs=1e-9)


def test_only_the_last_decade_counts():
    early = _trajectory(lambda t: np.where(t < 5000, 0.1, 0.1 * (t / 5000) ** -0.8))
    assert _measured(early, CUBIC)["schedule"].value == pytest.approx(0.8, abs=1e-9)


def test_a_schedule_cannot_be_read_off_two_checkpoints_or_off_no_steps():
    short = _trajectory(_power(0.5), steps=np.array([0, 8, 16]))
    assert _measured(short)["schedule"].met is None
    still = _trajectory(_power(0.5), update={"w": np.zeros((len(STEPS), 2, 2))})
    assert _measured(still)["schedule"].met is None


# -- The direction ------------------------------------------------------------------------------------------------


def test_a_direction_that_stands_still_has_settled():
    found = _measured(_trajectory(_power(0.2)))["direction settles"]
    assert found.met is True
    assert found.value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("turn", "met"),
    [
        (lambda t: t**-0.3, True),
        (lambda t: 0.2 * np.log(t), False),  # turns on by 0.23 every half decade
        (lambda t: 0.07 * np.log(t), None),  # slowly, but it does not slow down: not known
        (lambda t: 3 * t**-0.1, True),  # slowing down
    ],
)
def test_a_direction_that_turns(turn, met):
    assert _measured(_trajectory(_power(0.2), turn))["direction settles"].met is met


@pytest.mark.parametrize(
    ("rate", "left", "met"),
    [
        (0.07, 0.07, True),  # of 0.08 in the last half decade less is left
        (0.07, 0.09, None),
        (0.07, None, None),
        (0.2, 0.01, False),  # too restless to be said to arrive
    ],
)
def test_a_direction_that_is_about_to_arrive_settles(rate, left, met):
    trajectory = _trajectory(_power(0.2), lambda t: rate * np.log(t), runs=1)
    found = hypotheses_of(problems.get(LINEAR), trajectory, LINF, None, None if left is None else {0: left})
    assert found["direction settles"].met is met


def test_the_movement_is_measured_over_the_last_half_decade():
    found = _measured(_trajectory(_power(0.2), lambda t: 0.2 * np.log(t)))["direction settles"]
    # a chord of the angle 0.2 · ln √10, up to where the nearest checkpoints lie
    assert found.value == pytest.approx(2 * np.sin(0.1 * np.log(10) / 2), rel=0.1)


def test_the_worst_run_decides():
    trajectory = _trajectory(_power(0.2))
    other = _trajectory(_power(0.2), lambda t: 0.3 * np.log(t))
    trajectory.theta["w"][:, 1] = other.theta["w"][:, 0]
    assert _measured(trajectory)["direction settles"].met is False
    trajectory.margin[-1, 1] = -1.0  # unless it never separated
    assert _measured(trajectory)["direction settles"].met is True


@pytest.mark.parametrize("steps", [[0, 8], [0, 8, 16], [0, 96, 104]])
def test_too_few_checkpoints_show_no_settling(steps):
    """Where the marks coincide nothing seems to move: that is not knowledge."""
    trajectory = _trajectory(_power(0.0), lambda t: 0.5 * t, steps=np.array(steps))
    assert _measured(trajectory)["direction settles"].met is not True


# -- Separation, smoothness, κ, R, A1 -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "lost", "met"),
    [
        (4, 0, True),
        (4, 2, True),
        (4, 3, None),
        (2, 1, None),
        (3, 1, True),
        (6, 4, None),
        (6, 3, True),
        (1, 0, True),
        (1, 1, False),
    ],
)
def test_separation_is_the_share_of_runs_and_a_run_left_alone_is_little(runs, lost, met):
    trajectory = _trajectory(_power(0.2), runs=runs)
    trajectory.margin[-1, :lost] = -1.0
    found = _measured(trajectory)
    assert found["separated"].met is met
    assert found["separated"].value == pytest.approx(1 - lost / runs)


def test_where_nothing_separates_nothing_more_is_said():
    trajectory = _trajectory(_power(0.2))
    trajectory.margin[-1] = -1.0
    found = _measured(trajectory, family="adam")
    assert found["separated"].met is False
    assert set(found) == {"separated", "smooth"}


@pytest.mark.parametrize(("spec", "smooth"), [(LINEAR, True), (CUBIC, True), (KINKED, False)])
def test_smoothness_is_the_models(spec, smooth):
    assert _measured(_trajectory(_power(0.2)), spec)["smooth"].met is smooth


def test_kappa_is_the_step_over_the_learning_rate():
    """The steps above have half the learning rate's length in ℓ∞."""
    found = _measured(_trajectory(_power(0.2)))["kappa"]
    assert found.met is None
    assert found.value == pytest.approx(0.5)


def test_a_known_schedule_decides_where_the_fit_does_not():
    """η(t) of degree 1 at a^0.5 is admissible; the steps' exponent of 3 checkpoints is not known."""
    short = _trajectory(_power(0.5), steps=np.array([0, 8, 16]))
    found = _measured(short, schedule=PowerLaw(eta=0.1, a=0.5))
    assert (found["schedule"].met, found["schedule"].kind) == (None, "number")
    assert found["schedule, symbolic"].met is True
    against = _measured(_trajectory(_power(1.3)), schedule=PowerLaw(eta=0.1, a=0.5))["schedule"]
    assert (against.met, against.kind) == (False, "theorem")  # a fit that contradicts is not put aside


def test_numbers_are_told_from_hypotheses():
    found = _measured(_trajectory(_power(0.2)), CUBIC, family="adam")
    numbers = {name for name, h in found.items() if h.kind == "number"}
    judged = {"smooth", "separated", "direction settles", "schedule", "A1", "R"}
    assert not numbers & judged
    assert judged <= set(found)
    assert all(found[name].met is None for name in numbers)


@pytest.mark.parametrize(("path", "met"), [(1.0, True), (0.97, True), (0.9, False)])
def test_the_radius_of_adam_is_the_weights_over_its_learning_rates_and_is_judged(path, met):
    """C.17 asks ‖θ‖ ≤ N = Σ η in the limit; steps longer than the learning rate break it."""
    trajectory = _trajectory(_power(0.5))
    length = np.abs(trajectory.theta["w"]).max(axis=-1)
    trajectory = dataclasses.replace(trajectory, travelled=path * length)
    found = _measured(trajectory, family="adam")["R"]
    assert found.value == pytest.approx(1 / path, rel=1e-2)
    assert found.met is met
    assert _measured(trajectory)["R"].kind == "number"


def test_the_radius_is_the_weights_over_the_path():
    found = _measured(_trajectory(_power(0.5)))["R"]
    assert found.met is None
    assert found.value == pytest.approx(1.0, rel=1e-9)
    turned = _measured(_trajectory(_power(0.5), lambda t: np.full_like(t, np.pi / 4)))["R"]
    assert turned.value == pytest.approx(0.5**0.5, rel=1e-9)  # ℓ∞ of a diagonal unit vector


def test_a_dead_coordinate_breaks_a1_where_it_is_asked_for():
    trajectory = _trajectory(_power(0.2), runs=3)
    assert _measured(trajectory, family="adam")["A1"].met is True
    assert "A1" not in _measured(trajectory)
    trajectory.gradient["w"][0, 1, 0] = 0.0
    found = _measured(trajectory, family="adam")["A1"]
    assert found.met is False
    assert found.value == 0.5
    trajectory.margin[-1, 1] = -1.0  # in a run that does not count
    assert _measured(trajectory, family="adam")["A1"].met is True


def test_every_answer_can_be_stored():
    for hypothesis in _measured(_trajectory(_power(0.2)), family="adam").values():
        assert type(hypothesis.met) in (bool, type(None))
        assert type(hypothesis.value) in (float, str, type(None))


# -- What is informative ------------------------------------------------------------------------------------------


def test_the_separation_step_is_the_median_of_the_runs_that_count():
    trajectory = _trajectory(_power(0.2), runs=4, separated_at=np.array([8, 16, 40, -1]))
    trajectory.margin[-1, 3] = -1.0
    assert _measured(trajectory)["separation step"].value == 16.0


def test_a_straight_way_is_as_long_as_its_displacement_and_a_rotating_one_longer():
    straight = _measured(_trajectory(_power(0.2), lambda t: 3 * t**-0.1))
    assert straight["path over displacement"].value == pytest.approx(1.0, abs=0.01)  # an arc of 0.4 over its chord
    assert straight["direction path"].value == pytest.approx(3 * (1e4**-0.1 - 1e5**-0.1), rel=0.2)
    # Half a turn to and fro in ln t: long way, small displacement, although it moves little at the end.
    swings = _measured(_trajectory(_power(0.2), lambda t: 0.3 * np.sin(2 * np.pi * np.log10(t))))
    assert swings["direction path"].value == pytest.approx(4 * 0.3, rel=0.15)
    assert swings["path over displacement"].value >= 5
    still = _measured(_trajectory(_power(0.2)))
    assert still["path over displacement"].value is None
    assert still["direction path"].value == pytest.approx(0.0, abs=1e-12)


def test_only_separated_runs_rotate():
    trajectory = _trajectory(_power(0.2))
    other = _trajectory(_power(0.2), lambda t: 0.3 * np.sin(2 * np.pi * np.log10(t)))
    trajectory.theta["w"][:, 1] = other.theta["w"][:, 0]
    assert _measured(trajectory)["direction path"].value > 1
    trajectory.margin[-1, 1] = -1.0
    assert _measured(trajectory)["direction path"].value < 1e-9


def test_kappa_of_blocks_and_the_weights_that_it_makes():
    found = _measured(_trajectory(_power(0.2)))
    assert found["kappa:w"].value == pytest.approx(0.375)  # entries 1 and -0.5 of half of eta
    assert found["kappa spread"].value == pytest.approx(1 / 3)
    assert "measured weights" not in found  # of a single block


def test_a_known_schedule_is_judged_symbolically():
    trajectory = _trajectory(_power(0.8))
    met = _measured(trajectory, CUBIC, schedule=PowerLaw(0.1, 0.8))["schedule, symbolic"]
    assert met.met is True
    unmet = _measured(trajectory, CUBIC, schedule=PowerLaw(0.1, 0.5))["schedule, symbolic"]
    assert unmet.met is False
    assert "o(t^(1/3" in unmet.value
    free = _measured(trajectory, CUBIC, schedule=PowerLaw(0.1, 0.5), family="steepest descent")["schedule, symbolic"]
    assert free.met is True  # nothing has to track anything
    adam = {"family": "adam", "schedule": PowerLaw(0.1, 0.8)}
    assert _measured(trajectory, CUBIC, **adam)["schedule, symbolic"].met is None  # betas were not given
    assert _measured(trajectory, CUBIC, **adam, betas=(0.9, 0.95))["schedule, symbolic"].met is True
    assert _measured(trajectory, CUBIC, **adam, betas=(0.95, 0.9))["schedule, symbolic"].met is False
    assert "schedule, symbolic" not in _measured(trajectory, CUBIC)


def test_nothing_informative_decides():
    judged = {"smooth", "separated", "direction settles", "schedule", "schedule, symbolic", "A1", "R"}
    found = _measured(_trajectory(_power(0.5)), family="adam", schedule=PowerLaw(0.1, 0.5))
    assert {name for name, h in found.items() if h.met is not None} <= judged
