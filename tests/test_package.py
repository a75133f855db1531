"""``import maxmargin``: the names at the top, and what they cost."""

import subprocess
import sys

import maxmargin


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
    assert maxmargin.check("signum", problems=["multiclass"]).norm == "linf"
