"""The records of released bugs are whole, and a row is right only where what was wrong is named, and the fix is not."""

import argparse
import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch


def script(name):
    spec = importlib.util.spec_from_file_location(f"maxmargin_{name}", Path(__file__).with_name(f"{name}.py"))
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH = script("bench_history")
CASES = BENCH.CASES
KNOB = next(c for c in CASES if c.instrument == "knob")
OPTIONS = argparse.Namespace(problem=["blocks"])


def test_there_are_enough_and_each_is_a_fault_that_was_measured():
    assert len(CASES) >= 12
    assert len({c.package for c in CASES}) >= 5
    assert len({(c.name, c.thread, c.instrument) for c in CASES}) == len(CASES)
    for case in CASES:
        assert case.measured[0] != case.measured[1], case.name
        assert case.broken != case.fixed
        re.compile(case.named)


def said(answer, *sentences):
    return {"answer": answer, "said": list(sentences)}


def test_a_row_is_right_only_where_the_fault_is_named_and_the_fix_is_not_blamed():
    named, silent = said("holds", "momentum=0.9 has no effect"), said("holds", "its steps follow linf")
    assert [BENCH.is_right(KNOB, row, before=True) for row in (named, silent)] == [True, False]
    assert [BENCH.is_right(KNOB, row, before=False) for row in (named, silent)] == [False, True]
    assert BENCH.is_right(KNOB, said("refuted", "a fault"), before=False) is False
    assert BENCH.is_right(replace(KNOB, refuted="weight decay"), said("refuted", "a fault"), before=False) is True
    assert BENCH.is_right(KNOB, said("not yet"), before=True) is None


def test_the_page_counts_what_is_there():
    rows = {
        BENCH.key(KNOB, version, OPTIONS): row
        for version, row in ((KNOB.broken, said("holds", "momentum=0.9 has no effect")), (KNOB.fixed, said("holds")))
    }
    page = BENCH.page(rows, OPTIONS)
    assert "1 of 1 named (at most 95.0 % missed)" in page
    assert page.count("\n| ") == len(CASES) + 1
    assert f"| {KNOB.thread} |" in page


@pytest.mark.parametrize(
    ("case", "clean"), [(c, c.measured[1]) for c in CASES if c.target.endswith(":SignSGD") and c.claim == "linf"]
)
def test_evidence_measures_torchs_own_as_clean(case, clean):
    class Signum(torch.optim.SGD):
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p)).mul_(0.9).add_(p.grad, alpha=0.1)
                p.data -= self.param_groups[0]["lr"] * m.sign()

    assert case.evidence(Signum) == clean


SENSITIVITY = script("bench_sensitivity")


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
    assert SENSITIVITY.other(value, factor) == pytest.approx(expected)


def test_the_level_of_a_threshold_is_where_it_is_used_first():
    levels = [SENSITIVITY.level_of(name) for name in ("PLATEAU", "SIGNIFICANT", "SIGNATURE_DRAWS", "STEPS")]
    assert levels == ["judge", "measure", "exam", "train"]


def test_a_variation_reaches_the_code_that_imports_it():
    import subprocess

    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench_sensitivity as b; "
        "b.patch('CHECK_LINEAR.gap*2.0'); import maxmargin.verify.running.trial as c, json; "
        "print(json.dumps([c.CHECK_LINEAR['quick'].gap, c.CHECK_LINEAR['quick'].alignment]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [pytest.approx(4e-2), 0.95]
