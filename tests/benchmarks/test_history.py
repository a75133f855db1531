"""The records of released bugs are whole, and a row is right only where what was wrong is named, and the fix is not."""

import argparse
import importlib.util
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
