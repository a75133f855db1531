"""Targets: what can be loaded from where, and one clear message for everything that cannot."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch

from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.optimizers import get_optimizer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory; import state is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("_maxmargin_target_", "mine", "broken", "needs", "quits", "models_of_mine")):
            del sys.modules[name]


def _write(path, text):
    path.write_text(textwrap.dedent(text))
    return path


def _params():
    return [torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64)), torch.nn.Parameter(torch.zeros(4))]


MINE = """
    import torch

    class Mine(torch.optim.SGD):
        pass

    class Holder:
        Inner = Mine

    def factory(params, *, lr, momentum=0.5):
        return torch.optim.SGD(params, lr=lr, momentum=momentum)

    def returns_nothing(params):
        return None

    class NoGroups:
        def __init__(self, params): pass
        def step(self): pass

    number = 3
    nothing = None
"""


# -- What loads ---------------------------------------------------------------------------------------------------


def test_our_own_names_are_engine_optimizers():
    target = load("signum", {"beta": 0.5})
    assert target.native == get_optimizer("signum", {"beta": 0.5})
    assert target.factory is None


def test_module_and_attribute():
    target = load("torch.optim:SGD", {"momentum": 0.9, "lr": 0.25})
    assert target.native is None
    optimizer = target.build(_params())
    assert type(optimizer) is torch.optim.SGD
    assert (optimizer.param_groups[0]["momentum"], optimizer.param_groups[0]["lr"]) == (0.9, 0.25)


def test_a_file_and_a_nested_attribute(folder):
    _write(folder / "mine.py", MINE)
    assert load("mine.py:Mine").build(_params()).param_groups[0]["lr"] == 1e-3
    assert type(load("mine.py:Holder.Inner").build(_params())).__name__ == "Mine"
    assert type(load(f"{folder / 'mine.py'}:Mine").build(_params())).__name__ == "Mine"


def test_a_required_learning_rate_is_supplied_and_a_given_one_kept(folder):
    _write(folder / "mine.py", MINE)
    assert load("mine.py:factory").build(_params()).param_groups[0]["lr"] == 1e-3
    assert load("mine.py:factory", {"lr": 0.5}).build(_params()).param_groups[0]["lr"] == 0.5


def test_a_class_from_python():
    target = load(torch.optim.Adam, {"eps": 0.0})
    assert target.spec == "torch.optim.adam:Adam"
    assert target.build(_params()).param_groups[0]["eps"] == 0.0


def test_each_build_is_fresh():
    target = load("torch.optim:SGD")
    one, other = target.build(_params()), target.build(_params())
    assert one is not other
    assert one.state is not other.state


def test_modules_in_the_current_directory_are_found(folder):
    _write(folder / "mine_in_cwd.py", MINE)
    assert type(load("mine_in_cwd:Mine").build(_params())).__name__ == "Mine"


def test_the_current_directory_comes_last(folder):
    """A user's own `torch.py` or `models/` must not shadow what is installed: in a fresh process, by the command."""
    (folder / "models").mkdir()
    _write(folder / "models" / "__init__.py", "")
    _write(folder / "models" / "mine.py", MINE)
    _write(folder / "json.py", "raise RuntimeError('the user shadows the standard library')")
    code = """
        import sys, os
        sys.path = [p for p in sys.path if p not in ("", os.getcwd())]
        from maxmargin.verify.blackbox.targets import load
        sys.modules.pop("json", None)
        assert load("models.mine:Mine").factory.__name__ == "Mine"
        assert sys.path[-1] == os.getcwd()
        assert load("json:JSONDecoder").factory.__module__ == "json.decoder"
        load("models.mine:factory")
        assert sys.path.count(os.getcwd()) == 1
    """
    script = _write(folder.parent / "run_it.py", code.replace("\n        ", "\n"))
    run = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# -- What does not, and what is said ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("no_such_module_x:Muon", "no module named 'no_such_module_x' for target 'no_such_module_x:Muon'; install it"),
        ("torch.no_such:Muon", "no module named 'torch.no_such'"),
        ("torch.optim:Adamm", r"torch.optim has no attribute 'Adamm'; did you mean 'Adam\w*'\?"),
        ("torch.optim:sgd.SGDD", "torch.optim has no attribute 'sgd.SGDD'"),
        ("torch:nn", "torch:nn is a module; needed is an optimizer class or a factory"),
        ("torch:", "torch has no attribute ''"),
        (":SGD", "importing  failed: ValueError"),
        ("torch:pi", "torch:pi is a float; needed is an optimizer class or a factory"),
        ("signumm", "unknown optimizer 'signumm'; did you mean 'signum'.* give module:attr or path/to/file.py:attr"),
        ("adam:", "no module named 'adam'"),
        ("nowhere/opt.py:Muon", "no file 'nowhere/opt.py' for target 'nowhere/opt.py:Muon'"),
    ],
)
def test_what_cannot_be_found_is_named(spec, text, folder):
    with pytest.raises(TargetError, match=text):
        load(spec)


def test_a_name_that_differs_by_case_is_suggested():
    with pytest.raises(TargetError, match=r"torch.optim has no attribute 'RADAM'; did you mean 'RAdam'\?"):
        load("torch.optim:RADAM")


def test_bad_arguments_for_our_own(folder):
    with pytest.raises(TargetError, match=r"optimizer 'signum' rejects \{'beta': 2.0\}: beta is 2.0"):
        load("signum", {"beta": 2.0})


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("broken", "raise RuntimeError('out of cheese')", "RuntimeError: out of cheese"),
        ("broken_syntax", "def f(:", "SyntaxError"),
        ("quits", "import sys; sys.exit(5)", "SystemExit: 5"),
        ("needs", "import a_package_nobody_has", "a_package_nobody_has"),
    ],
)
def test_a_module_or_file_that_fails_to_run(folder, name, source, text):
    _write(folder / f"{name}.py", source)
    with pytest.raises(TargetError, match=rf"running {name}.py failed: .*{text}"):
        load(f"{name}.py:Muon")
    assert f"_maxmargin_target_{name}" not in sys.modules
    with pytest.raises(TargetError, match=rf"importing {name} failed: .*{text}"):
        load(f"{name}:Muon")


def test_a_file_without_the_attribute(folder):
    _write(folder / "mine.py", MINE)
    with pytest.raises(TargetError, match=r"mine.py has no attribute 'mine'; did you mean 'Mine'\?"):
        load("mine.py:mine")
    with pytest.raises(TargetError, match=r"mine.py has no attribute 'nothing'"):
        load("mine.py:nothing")
    with pytest.raises(TargetError, match=r"mine.py:number is a int"):
        load("mine.py:number")


def test_a_constructor_that_rejects_the_arguments_is_quoted():
    target = load("torch.optim:SGD", {"momentun": 0.9})
    with pytest.raises(
        TargetError,
        match=r"torch.optim:SGD rejects \(params, momentun=0.9\) for parameters of shape \(2, 3\), \(4,\): "
        r"TypeError: .*unexpected keyword argument 'momentun'",
    ):
        target.build(_params())
    with pytest.raises(TargetError, match="ValueError: Invalid learning rate: -1"):
        load("torch.optim:SGD", {"lr": -1}).build(_params())


def test_what_a_factory_returns_must_be_an_optimizer(folder):
    _write(folder / "mine.py", MINE)
    with pytest.raises(TargetError, match=r"returned NoneType, which has no step; a target is a torch"):
        load("mine.py:returns_nothing").build(_params())
    assert len(load("mine.py:NoGroups").build(params := _params()).param_groups[0]["params"]) == len(params)


def test_a_step_that_fails_is_named():
    class Fails(torch.optim.SGD):
        def step(self, closure=None):
            raise RuntimeError("expected a 4-D tensor")

    handle = Handle(load(Fails), _params()[:1])
    with pytest.raises(TargetError, match=r"step\(\) failed on float64 parameters of shape \(2, 3\): RuntimeError"):
        handle.step([torch.ones(2, 3, dtype=torch.float64)])


# -- To another process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["signum", "torch.optim:SGD", "mine.py:Mine"])
def test_pickling_round_trip(folder, spec):
    _write(folder / "mine.py", MINE)
    kwargs = {"beta": 0.5} if spec == "signum" else {"lr": 0.125}
    target = load(spec, kwargs)
    back = pickle.loads(pickle.dumps(target))
    assert (back.spec, dict(back.kwargs), back.native) == (target.spec, dict(target.kwargs), target.native)
    if target.native is None:
        assert back.build(_params()).param_groups[0]["lr"] == 0.125


def test_a_class_from_a_file_crosses_to_a_process_that_never_loaded_it(folder):
    _write(folder / "mine.py", MINE)
    packed = folder / "target.pickle"
    packed.write_bytes(pickle.dumps(load("mine.py:Mine", {"lr": 0.5})))
    code = f"import pickle; print(pickle.load(open({str(packed)!r}, 'rb')).factory.__name__)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, env=env)
    assert run.stdout.strip() == "Mine", run.stderr


def test_a_factory_given_from_python_travels_as_itself():
    target = load(torch.optim.Adam, {"eps": 0.0})
    back = pickle.loads(pickle.dumps(target))
    assert back.factory is torch.optim.Adam
    assert back.given
