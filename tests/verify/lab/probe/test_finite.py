"""Steps that are not finite: found with the program that shows it, which anyone can run."""

from __future__ import annotations

import sys

import pytest
import torch
from toys import Descent, SignDescent

from maxmargin.models import problems
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.run import starts
from maxmargin.verify.lab.probe.finite import again, nonfinite, on_zero
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.running.checking import check
from maxmargin.verify.training.blackbox_run import run_blackbox
from maxmargin.verify.training.pacing import pace_of
from maxmargin.verify.training.train import Training

SHAPES = {"W": (3, 4), "a": (3,)}


class TimesTheNorm(Descent):
    """Normalizes by multiplying where it should divide, and cubes: 0 for small gradients, NaN for large ones."""

    def direction(self, p, state):
        x = p.grad * p.grad.norm()
        for _ in range(9):
            x = x**3 - x
        return x - x**5


class MatricesOnly(SignDescent):
    """The sign, but 0/0 on matrices at its third call."""

    def direction(self, p, state):
        state["step"] = state.get("step", 0) + 1
        u = super().direction(p, state)
        return u * (float("nan") if state["step"] == 3 and p.ndim == 2 else 1.0)


class Late(SignDescent):
    """The sign, but not a number at its 700th call."""

    def direction(self, p, state):
        state["step"] = state.get("step", 0) + 1
        return super().direction(p, state) * (float("nan") if state["step"] == 700 else 1.0)


def _shown(found):
    """Run the program: it must end in the assertion, at the call that it is about."""
    with pytest.raises(AssertionError, match=rf"call {found.call}:"):
        exec(found.reproducer, {"__name__": "reproducer"})


@pytest.mark.parametrize("optimizer", [TimesTheNorm, MatricesOnly])
def test_it_is_found_and_its_program_shows_it(optimizer):
    found = nonfinite(load(optimizer), SHAPES)
    assert found.block == "W"
    assert len(found.reproducer.splitlines()) <= 13
    _shown(found)


def test_a_late_one_is_looked_for_as_long_as_it_took():
    assert nonfinite(load(Late), SHAPES) is None
    found = again(load(Late), SHAPES, 500)
    assert (found.call, found.shape) == (700, (3, 4))
    _shown(found)


@pytest.mark.parametrize(
    ("spec", "kwargs"),
    [
        ("torch.optim:Adam", {"eps": 0.0}),
        ("torch.optim:Adam", {"eps": 0.0, "amsgrad": True}),
        ("torch.optim:Adam", {"eps": 1e-45}),
        ("torch.optim:RMSprop", {"eps": 0.0}),
        ("torch.optim:Adagrad", {"eps": 0.0}),
        ("torch.optim:Adadelta", {}),
        ("torch.optim:Rprop", {}),
        ("torch.optim:LBFGS", {}),
        ("torch.optim:ASGD", {}),
        ("torch.optim:SGD", {"lr": 1.0}),
    ],
)
def test_sound_optimizers_are_finite(spec, kwargs):
    assert nonfinite(load(spec, kwargs), problems.get("blocks").shapes) is None


def test_a_closure_stands_in_the_program(tmp_path, monkeypatch):
    (tmp_path / "closed.py").write_text(
        "import torch\n"
        "class Closed(torch.optim.SGD):\n"
        "    def step(self, closure):\n"
        "        closure()\n"
        "        super().step()\n"
        "        self.param_groups[0]['params'][0].data *= float('inf')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = nonfinite(load(str(tmp_path / "closed.py") + ":Closed", {"lr": 0.5}), SHAPES)
    assert str(tmp_path) not in found.reproducer
    assert "lr=0.5" in found.reproducer
    _shown(found)
    sys.modules.pop("closed", None)


def test_it_is_the_answer_of_a_check():
    verdict = check(Late, problems=["multiclass"])
    assert verdict.outcome.name == "FAILS"
    assert verdict.twin is None
    assert verdict.norm is None
    assert verdict.reasons[0].startswith("Call 700 of its step() leaves weights that are not finite")
    assert "torch.manual_seed(0)" in verdict.reasons[1]
    assert not any(word in reason for reason in verdict.reasons[2:] for word in (" inf ", "nan"))
    assert verdict.findings[0]["kind"] == "not finite"


def test_gradients_whose_squares_underflow_are_nobodys_fault():
    shapes = {"W": (2, 2)}
    target = load("torch.optim:Adam", {"eps": 0.0})
    tiny = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    optimizer = target.build([tiny])
    tiny.grad = torch.full((2, 2), 1e-200, dtype=torch.float64)
    optimizer.step()
    assert not tiny.isfinite().all()  # g / sqrt(0)
    assert nonfinite(target, shapes) is None


def test_a_long_run_that_broke_off_is_looked_for_again():
    """Beyond what any experiment before the runs has seen: the runs themselves, one of two."""
    problem = problems.get("multiclass@linear")
    target = load(Late)
    about = probe(target, problem.shapes)
    found = run_blackbox(target, problem, starts(problem, 2, seed=0, scale=0.01), about, steps=900, joint=False)
    assert found.broken.tolist() == [700, 700]
    training = Training((target, about), steps=900, runs=2, scale=0.01, pace=pace_of(about))
    shown = training.nonfinite(problem, found)
    assert shown.call == 700
    _shown(shown)
    sound = load(SignDescent)
    fine = run_blackbox(sound, problem, starts(problem, 2, seed=0, scale=0.01), about, steps=900, joint=False)
    assert training.nonfinite(problem, fine) is None


def test_gradients_that_are_exactly_zero_are_told_and_held_against_nobody():
    assert on_zero(load("torch.optim:Adam"), SHAPES) == ""
    text = on_zero(load("torch.optim:Adam", {"eps": 0.0}), SHAPES)
    assert text.startswith("On gradients that are exactly 0 call 1 of its step()")
    verdict = check("torch.optim:Adam", kwargs={"eps": 0.0, "betas": (0.9, 0.95)}, problems=["blocks"])
    assert verdict.holds
    assert text in verdict.reasons
