"""The README's own optimizers are what it says they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.examine import PROBLEMS, Laboratory

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    (code,) = re.findall(r"```python\n(# mine\.py\n.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = tmp_path_factory.mktemp("readme") / "mine.py"
    path.write_text(code)
    return path


@pytest.mark.parametrize(
    ("name", "norms", "weights"),
    [
        (
            "ShapedMuon",
            ["weighted spectral", "spectral", "weighted spectral"],
            {"tall": 1.0, "wide": 2**0.5, "square": 2**0.5, "vector": 2**0.5},
        ),
        ("LayerNormalizedGD", ["l2;max", "l2", "l2;max"], dict.fromkeys(("tall", "wide", "square", "vector"), 1.0)),
    ],
)
def test_the_readmes_optimizers_have_the_norms_and_weights_it_names(mine, name, norms, weights):
    laboratory = Laboratory(load(f"{mine}:{name}"))
    assert laboratory.problems() == PROBLEMS
    exams = laboratory.examine([f"{p}@linear" if "@" not in p else p for p in PROBLEMS])
    seen = [e.fingerprint.norm.name for e in exams]
    # On one matrix l2;max is l2, and either name will do.
    assert [s.replace("l2;max", "l2") for s in seen] == [n.replace("l2;max", "l2") for n in norms]
    assert {block: row["weight"] for block, row in exams[0].fingerprint.to_json().items()} == pytest.approx(weights)
    assert all(e.twin is not None for e in exams)
    notes = {note for e in exams for note in e.notes}
    assert any("sqrt(max(1, rows/columns))" in note for note in notes) is (name == "ShapedMuon")
