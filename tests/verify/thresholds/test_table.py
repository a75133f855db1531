"""The table of thresholds is whole: no other number of the judgement has a name, and no name two meanings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import maxmargin.verify as package
from maxmargin.verify.thresholds.table import THRESHOLDS, Bounds, named, tables

ROOT = Path(next(iter(package.__path__)))
TABLES = tables()

LAYERS = ("judging", "evidence", "running", "claims", "training", "lab", "blackbox")


def _numeric(node):
    """Whether an expression is a number, or several: not a call, and no table by name."""
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, (ast.UnaryOp, ast.BinOp, ast.Tuple, ast.List)):
        return any(_numeric(part) for part in ast.iter_child_nodes(node))
    by = [getattr(key, "value", None) for key in node.keys] if isinstance(node, ast.Dict) else []
    return by == ["quick", "full"]


def _constants(path):
    """Named numbers at the top of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _numeric(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and n.id.isupper())


@pytest.mark.parametrize("folder", LAYERS)
def test_no_module_has_a_number_of_its_own(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [(path.name, name) for path in files for name in _constants(path)] == []


def test_the_search_sees_a_planted_number(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("NEAR: float = 0.5\nA, B = 1, -2\nT = {'quick': 1, 'full': 2}\nNAMES = ('l2',)\nx = 3\n")
    assert list(_constants(planted)) == ["NEAR", "A", "B", "T"]


def test_each_name_in_the_code_is_a_row_with_its_value():
    assert len(TABLES) >= 8
    for module in TABLES:
        own = {name: value for name, value in vars(module).items() if name.isupper() and not name.startswith("_")}
        assert own
        for name, value in own.items():
            assert THRESHOLDS[name].value is value or THRESHOLDS[name].value == value, name
    assert {name for module in TABLES for name in vars(module)} >= set(THRESHOLDS)


@pytest.mark.parametrize("name", sorted(THRESHOLDS))
def test_each_row_says_what_it_is(name):
    row = THRESHOLDS[name]
    assert all((row.unit, row.reason, row.origin))
    assert row.reason in str(row)


def test_a_name_stands_for_one_thing():
    with pytest.raises(ValueError, match="APART stands for something already"):
        named("APART", 1.0, "Γ", "another meaning")


def test_tiers_and_bounds_are_shown():
    assert str(THRESHOLDS["STEPS"]).startswith("quick 30000; full 400000 (steps)")
    assert str(Bounds(1e-2, 0.9)) == "gap ≤ 0.01, alignment ≥ 0.9"
    assert str(Bounds(1e-2, 0.9, 0.05)) == "gap ≤ 0.01, alignment ≥ 0.9, distance ≤ 0.05"
