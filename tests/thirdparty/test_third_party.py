"""Optimizers that other people wrote are handled unchanged; each test is skipped where its package is not installed."""

from __future__ import annotations

import math

import pytest

from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.signature import signature
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.twin.search import search

SHAPES = {"tall": (6, 3), "wide": (3, 5), "vector": (4,)}
MATRICES = {"tall": (6, 3), "wide": (3, 5)}
REASON = "of the extra third-party"

# Other people's warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def _need(module):
    pytest.importorskip(module, reason=f"{module} is {REASON}")


def _probe(spec, shapes=SHAPES, **kwargs):
    return probe(load(spec, kwargs), shapes)


def test_lion():
    _need("lion_pytorch")
    found = _probe("lion_pytorch:Lion")
    assert (found.update_degree, found.floor, found.convention) == (0.0, 0.0, "parameters")
    assert found.exactly_invariant
    assert found.memory == pytest.approx(100.0)
    assert found.findings == ()
    assert read(signature(load("lion_pytorch:Lion"), SHAPES), found.coupling).norm.name == "linf"


def test_groups_that_carry_a_flag():
    _need("muon")
    found = _probe("muon:SingleDeviceMuonWithAuxAdam")
    assert found.convention == "groups flagged use_muon"
    assert found.update_degree == 0
    assert found.update_granularity > 1e-4  # its Newton–Schulz runs in bfloat16
    with pytest.raises(TargetError, match=r"process group has not been initialized.*Also tried"):
        _probe("muon:MuonWithAuxAdam")


def test_matrices_only_in_bfloat16():
    _need("muon")
    with pytest.raises(TargetError, match="AssertionError"):
        _probe("muon:SingleDeviceMuon")
    assert any("bfloat16" in f for f in _probe("muon:SingleDeviceMuon", MATRICES).findings)


def test_evaluated_weights():
    _need("schedulefree")
    found = _probe("schedulefree:AdamWScheduleFree")
    assert found.eval_shift > 1e-5
    assert any("eval() swaps the weights" in f for f in found.findings)


@pytest.mark.parametrize(
    ("spec", "kwargs", "kind", "rectified"),
    [
        ("schedulefree:SGDScheduleFree", {}, "gd", False),
        ("schedulefree:AdamWScheduleFree", {"eps": 0.0}, "adam", False),
        ("schedulefree:RAdamScheduleFree", {"eps": 0.0}, "adam", True),
        ("pytorch_optimizer:ScheduleFreeSGD", {}, "gd", False),
    ],
)
def test_schedule_free_methods_have_a_twin(spec, kwargs, kind, rectified):
    _need(spec.partition(":")[0])
    loaded = load(spec, kwargs)
    twin = search(loaded, SHAPES, probe(loaded, SHAPES)).twin
    assert twin is not None
    assert (twin.optimizer.kind, twin.optimizer.rectified) == (kind, rectified)


def test_a_rate_that_is_estimated():
    _need("prodigyopt")
    found = _probe("prodigyopt:Prodigy")
    assert math.isfinite(found.step_per_lr)
    assert found.shared_state  # d, of the whole group


@pytest.mark.parametrize("spec", ["parameterfree:COCOB", "dowg:DoWG"])
def test_no_rate_at_all(spec):
    _need(spec.partition(":")[0])
    assert _probe(spec).lr_knob.startswith("none")


def test_names_are_wanted():
    _need("adam_mini")
    assert _probe("adam_mini:Adam_mini").convention == "named parameters"


def test_a_module_is_wanted():
    _need("pytorch_optimizer")
    assert _probe("pytorch_optimizer:AdamMini").convention == "module"


def test_state_in_float32():
    _need("heavyball")
    kept = {"float32": None, "float64": None}
    for dtype in kept:
        kept[dtype] = _probe("heavyball:AdamW", storage_dtype=dtype).state_formats
    assert len(kept["float32"]) == 2
    assert kept["float64"] == ()


def test_two_rates():
    _need("omnimuon")
    found = _probe("omnimuon:Muon")
    assert found.lr_knob == "every learning rate in the parameter groups"
    assert found.lr_error == pytest.approx(0.5, abs=0.01)


def test_the_benchmark_summarizes_a_verdict(monkeypatch):
    """The row is built from the JSON of check; tests/reports/test_tables.py has the table."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[1] / "benchmarks" / "bench_third_party.py"
    spec = importlib.util.spec_from_file_location("bench_third_party", path)
    bench = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "bench_third_party", bench)
    spec.loader.exec_module(bench)
    evidence = {"spectral": {"kkt_gap": 0.25, "alignment": 0.6}, "l2": {"kkt_gap": 0.5, "alignment": 0.9}}
    found = {
        "norm": "spectral",
        "outcome": "fails",
        "approximate": {"signature": 0.79, "alignment": 0.6, "margin_lost": 0.25},
        "blocks": {"W": {"alignment": 0.8}},
        "reasons": ["Its steps change at a norm of 2e-06."],
        "until_step": 410,
        "problems": [{"norm": "spectral", "evidence": evidence}, {"norm": "spectral", "evidence": {}}],
        "probe": {"floor": 1e-7, "findings": ["It is | odd."]},
    }
    row = bench.summary(found)
    assert (row["signature"], row["alignment"], row["margin_lost"], row["floor_step"]) == (0.79, 0.6, 0.25, 410)
    assert len({r.key for r in bench.ROWS}) == len(bench.ROWS)
