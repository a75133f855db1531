"""``import maxmargin``: the names at the top, and what they cost."""

import subprocess
import sys

import pytest
import torch

import maxmargin
from maxmargin.verify.blackbox.targets import TargetError


def test_every_name_at_the_top_is_there():
    for name in maxmargin.__all__:
        assert getattr(maxmargin, name) is not None
    assert maxmargin.__version__.count(".") == 2
    assert not hasattr(maxmargin, "nonsense")


def test_importing_it_loads_no_heavy_library():
    code = "import sys, maxmargin; print([m for m in ('torch', 'numpy', 'cvxpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_folder_verify_is_the_function_too():
    verdicts = maxmargin.verify(["ngd-l2"], jobs=1)
    assert [v.id for v in verdicts] == ["ngd-l2"]


def test_one_call_checks_an_optimizer():
    found = maxmargin.check("signum", beta=0.5, problems=["multiclass"])
    assert (found.norm, found.kwargs, found.holds) == ("linf", {"beta": 0.5}, True)
    found.raise_if_not()
    assert repr(found).startswith("HOLDS: signum(beta=0.5) maximizes the linf margin.\n  multiclass@linear: KKT gap ")
    assert "| multiclass@linear | HOLDS | linf | " in found.to_markdown()


def test_a_verdict_is_neither_true_nor_false():
    """``assert check(...)`` would pass on FAILS."""
    found = maxmargin.check("signum", claim="l2", problems=["multiclass"])
    with pytest.raises(TypeError, match=r"\.holds"):
        assert found
    with pytest.raises(AssertionError, match="FAILS: signum does not maximize the l2 margin"):
        found.raise_if_not()


def test_what_cannot_be_checked_is_refused_in_words():
    weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(TargetError, match=r"an instance of torch\.optim\.sgd\.SGD was given; needed is what makes one"):
        maxmargin.check(torch.optim.SGD([weight]))
    with pytest.raises(TargetError, match="momentum is given both directly and in kwargs"):
        maxmargin.check(torch.optim.SGD, kwargs={"momentum": 0.5}, momentum=0.9)
