"""Code paths of one optimizer: a planted difference is seen and placed; another order of operations is none."""

from __future__ import annotations

import pytest
import torch
from toys import Descent, newton_schulz

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab import paths
from maxmargin.verify.lab.paths import code_paths

SHAPES = {"W": (6, 3), "V": (3, 5), "a": (7,)}
MATRICES = {"W": (6, 3), "V": (3, 5)}


class Paths(Descent):
    """Momentum descent by a loop, and by another way that is planted."""

    def __init__(self, params, lr=1e-2, foreach=None):
        super().__init__(params, lr)
        self.foreach = foreach

    def direction(self, p, state):
        m = state.setdefault("m", torch.zeros_like(p))
        state["t"] = state.get("t", 0) + 1
        if self.foreach:
            return self.other(m, p.grad, state["t"])
        return self.loop(m, p.grad)

    def loop(self, m, g):
        return m.mul_(0.9).add_(g, alpha=0.1)

    def other(self, m, g, t):
        return m.lerp_(g, 0.1)


class Forgets(Paths):
    def other(self, m, g, t):
        return 0.1 * g


class Shorter(Paths):
    def other(self, m, g, t):
        return 0.2 * self.loop(m, g) if m.ndim == 1 else self.loop(m, g)


class Late(Paths):
    def other(self, m, g, t):
        return self.loop(m, g) * (1.0 + 1e-5 * (t > 40))


class Slightly(Paths):
    def other(self, m, g, t):
        return self.loop(m, g) * (1.0 + 1e-5)


class Transposed(Paths):
    def other(self, m, g, t):
        self.loop(m, g)
        return m.reshape(m.T.shape).T.clone() if m.ndim == 2 else m


class Refused(Paths):
    def other(self, m, g, t):
        raise RuntimeError("needs a GPU")


class Svd(Paths):
    """A polar factor that turns rounding into steps where the gradient is of deficient rank."""

    def loop(self, m, g):
        super().loop(m, g)
        u, _, vt = torch.linalg.svd(torch.atleast_2d(m), full_matrices=False)
        return (u @ vt).reshape(m.shape)

    def other(self, m, g, t):
        m.lerp_(g, 0.1)
        u, _, vt = torch.linalg.svd(torch.atleast_2d(m), full_matrices=False)
        return (u @ vt).reshape(m.shape)


class Bfloat(Paths):
    """Newton–Schulz steps in bfloat16, in two orders."""

    def loop(self, m, g):
        return newton_schulz(super().loop(m, g))

    def other(self, m, g, t):
        super().loop(m, g)
        return newton_schulz(m.T).T if m.ndim == 2 and m.shape[0] != m.shape[1] else newton_schulz(m.flip(0)).flip(0)


@pytest.mark.parametrize(
    ("target", "kind", "step", "block", "factor"),
    [
        (Forgets, "changing gradients", 2, None, None),
        (Shorter, "changing gradients", 1, "a", 0.2),
        (Late, "changing gradients", 41, None, None),
        (Slightly, "changing gradients", 1, None, 1.00001),
        (Transposed, "changing gradients", 1, None, None),
    ],
)
def test_a_planted_difference_is_placed(target, kind, step, block, factor):
    found = code_paths(load(target), SHAPES)
    (difference,) = found.differences
    assert (difference.path, difference.reference) == ("foreach=True", "the for-loop")
    assert (difference.kind, difference.step) == (kind, step)
    assert block in (None, difference.block)
    assert difference.factor == (None if factor is None else pytest.approx(factor, rel=1e-6))
    assert "foreach=True and the for-loop part at step" in difference.text
    assert found.agree == ("the default",)


def test_the_default_is_compared_too():
    class ByDefault(Forgets):
        def __init__(self, params, lr=1e-2, foreach=True):
            super().__init__(params, lr, foreach)

    assert {d.path for d in code_paths(load(ByDefault), SHAPES).differences} == {"the default", "foreach=True"}


@pytest.mark.parametrize("target", [Paths, Svd, Bfloat])
def test_another_order_of_operations_is_no_difference(target, monkeypatch):
    monkeypatch.setattr(paths, "PATH_STEPS", 12)
    found = code_paths(load(target), SHAPES)
    assert found.differences == ()
    assert found.agree == ("the default", "foreach=True")


def test_where_noise_decides_a_difference_elsewhere_is_still_seen(monkeypatch):
    monkeypatch.setattr(paths, "PATH_STEPS", 6)

    class SvdShorter(Svd):
        def other(self, m, g, t):
            return 0.2 * super().other(m, g, t)

    class BfloatShorter(Bfloat):
        def other(self, m, g, t):
            return 0.2 * super().other(m, g, t)

    assert code_paths(load(SvdShorter), SHAPES).differences
    assert code_paths(load(BfloatShorter), SHAPES).differences


def test_a_path_that_cannot_be_tried_is_named_with_its_reason():
    found = code_paths(load(Refused), SHAPES)
    assert found.differences == ()
    assert "needs a GPU" in found.skipped["foreach=True"]


def test_what_is_compiled_runs_without_a_compiler():
    class Compiled(Paths):
        def __init__(self, params, lr=1e-2, compile=False):
            super().__init__(params, lr, compile)

        def other(self, m, g, t):
            return torch.compile(super().other)(m, g, t)

    found = code_paths(load(Compiled), SHAPES)
    assert found.agree == ("compile=True",)


def test_one_path_is_none():
    assert code_paths(load(Descent), SHAPES).reference == ""


TORCH = [c for c in vars(torch.optim).values() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)]


@pytest.mark.parametrize("cls", [c for c in TORCH if c.__name__ not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")])
def test_torchs_own_agree(cls):
    found = code_paths(load(cls), SHAPES)
    assert found.differences == ()
    assert "foreach=True" in found.agree
    assert all(size < 1e-6 for size in found.coarse.values())
