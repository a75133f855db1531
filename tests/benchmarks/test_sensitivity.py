"""A threshold is moved where it is used, and a watched one knows which comparisons would come out otherwise."""

import importlib
import json
import math
import operator
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).parent


def script(name):
    sys.path.insert(0, str(HERE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HERE))


WATCHED = script("watched")


@pytest.fixture(autouse=True)
def nothing_seen():
    WATCHED.FLIPPED.clear()
    WATCHED.COMPARED.clear()


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [
        (0.02, 2.0, 0.04),
        (0.95, 2.0, 0.9),
        (0.95, 0.5, 0.975),
        (4, 0.5, 2),
        (1, 0.5, 1),
        ({"quick": 8, "full": 12}, 2.0, {"quick": 16, "full": 24}),
        ((3, 4), 2.0, (3, 4)),
    ],
)
def test_a_threshold_is_moved(value, factor, expected):
    assert WATCHED.other(value, factor) == pytest.approx(expected)


def test_a_variation_reaches_the_code_that_imports_it():
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import bench_sensitivity as b; "
        "b.patch('CHECK_LINEAR.gap*2.0'); import maxmargin.verify.running.trial as c, json; "
        "print(json.dumps([c.CHECK_LINEAR['quick'].gap, c.CHECK_LINEAR['quick'].alignment]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [pytest.approx(4e-2), 0.95]


@pytest.mark.parametrize(
    ("seen", "flips"),
    [
        (lambda t: t > 5.0, {"T*2.0"}),
        (lambda t: operator.lt(1.5, t), set()),
        (lambda t: operator.lt(3.0, t), {"T*0.5"}),
        (lambda t: np.float64(3.0) < t, {"T*0.5"}),
        (lambda t: (np.array([0.5, 9.0]) * 2 < t).any(), set()),
        (lambda t: (np.array([3.0, 9.0]) < t).any(), {"T*0.5"}),
        (lambda t: max(6.0, 1.0 + t) == 6.0, {"T*2.0"}),
        (lambda t: min([3.0, t, 20.0]), {"T*0.5"}),
        (lambda t: np.float64(2.0) * t >= 9.0, {"T*2.0"}),
        (lambda t: t * np.float64(2.0) >= 9.0, {"T*2.0"}),
        (lambda t: -t + 5 < 0, {"T*2.0"}),
        (lambda t: 1 / t < 0.4, {"T*0.5"}),
        (lambda t: t**2 > 50, {"T*2.0"}),
        (lambda t: abs(t - 4.0) < 1e-9, {"T*0.5", "T*2.0"}),
        (lambda t: sorted([3.0, t])[0] == 3.0, {"T*0.5"}),
        (lambda t: t == 4.0, {"T*0.5", "T*2.0"}),
    ],
)
def test_a_comparison_knows_what_would_flip_it(seen, flips):
    plain = seen(4.0)
    assert not WATCHED.FLIPPED
    assert seen(WATCHED.watched("T", 4.0)) == plain
    assert set(WATCHED.FLIPPED) == flips


def test_two_thresholds_are_kept_apart():
    a, b = WATCHED.watched("A", 1e-3), WATCHED.watched("B", 0.9)
    assert not (a < 1e-3 * b)
    assert set(WATCHED.FLIPPED) == {"A*0.5"}  # 0.9 is moved to 0.95 and 0.8
    assert set(WATCHED.COMPARED) == {"A", "B"}


def test_bounds_and_tiers_are_watched_part_by_part():
    from maxmargin.verify.thresholds.table import Bounds

    bounds = WATCHED.watched("C", {"quick": Bounds(gap=1e-2, alignment=0.9)})["quick"]
    assert not bounds.gap > 1.5e-2
    assert set(WATCHED.FLIPPED) == {"C.gap*2.0"}


def test_what_travels_to_another_process_is_plain():
    for value in (4.0, 7):
        back = pickle.loads(pickle.dumps(WATCHED.watched("T", value)))
        assert (type(back), back) == (type(value), value)
        assert {WATCHED.watched("T", value): 1}[value] == 1
    assert math.log(WATCHED.watched("T", 4.0)) == math.log(4.0)
    assert list(range(WATCHED.watched("T", 3))) == [0, 1, 2]


OPERATIONS = (operator.add, operator.sub, operator.mul, operator.truediv, max, min)


@given(
    st.sampled_from([0.01, 0.3, 0.9, 4.0, 50.0]),
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.floats(0.1, 10.0), st.booleans()), max_size=4),
    st.floats(0.01, 100.0),
)
def test_what_is_said_to_flip_nothing_runs_the_same_with_the_threshold_moved(value, steps, bound):
    def branches(t):
        taken = []
        for function, operand, first in steps:
            t = function(operand, t) if first else function(t, operand)
            taken.append(bool(t < bound))
        return taken

    WATCHED.FLIPPED.clear()
    usual = branches(value)
    assert branches(WATCHED.watched("T", value)) == usual
    for factor in WATCHED.FACTORS:
        if f"T*{factor}" not in WATCHED.FLIPPED:
            assert branches(WATCHED.other(value, factor)) == usual


def test_what_is_run_again_is_spread_over_the_checks():
    bench = script("bench_sensitivity")
    rows = [bench.Row("t", name, "x:Y", {}, None, None) for name in "abc"]
    done = {(row.key, ""): {"flipped": {"P*2.0": 1, "Q*2.0": 1, "R*2.0": 1}} for row in rows}
    assert [(row.name, v) for row, v in bench.flipped(rows, done, 1)] == [
        ("a", "P*2.0"),
        ("b", "Q*2.0"),
        ("c", "R*2.0"),
    ]
    done |= {("t: a", "P*2.0"): {}, ("t: a", "Q*2.0"): {}}
    assert [(row.name, v) for row, v in bench.flipped(rows, done, 1)] == [("b", "R*2.0")]
    assert len(list(bench.flipped(rows, done, 3))) == 7


@pytest.mark.parametrize(
    ("one", "two", "crossed"),
    [
        ("holds, linf", "refuted, None", True),
        ("holds to a factor, None", "holds in regimes, linf", True),
        ("holds, linf", "holds in regimes, linf", False),
        ("holds, linf", "undecided, None", False),
        ("refuted, None", "no norm, None", False),
        ("refuted, None", "error, ValueError: no", False),
    ],
)
def test_an_answer_crosses_from_holds_to_fails_or_back(one, two, crossed):
    assert script("bench_sensitivity")._crossed(one, two) == crossed
