"""How odd constructors want their parameters: each is served, named, and its complaint kept where none can be."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import joblib
import pytest
import torch

from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import TargetError, load


class Descent(torch.optim.Optimizer):
    """Plain gradient descent with the usual constructor."""

    def __init__(self, params, lr=0.1, scale=1.0):
        super().__init__(params, {"lr": lr, "scale": scale})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * group["scale"] * self.rule(p, group))

    def rule(self, p, group):
        return p.grad


class Named(Descent):
    def __init__(self, params, lr=0.1):
        super().__init__([p for name, p in params if name.endswith(("weight", "bias"))], lr)


class FirstIsNamed(Descent):
    def __init__(self, named_parameters, lr=0.1):
        super().__init__([p for _, p in named_parameters], lr)


class Flagged(torch.optim.Optimizer):
    """Keller Jordan's: groups with a flag and a closed set of keys, no option in the constructor."""

    def __init__(self, param_groups):
        for group in param_groups:
            assert "use_muon" in group
            group.setdefault("lr", 0.1)
            if group["use_muon"]:
                group.setdefault("momentum", 0.95)
                assert set(group) == {"params", "lr", "momentum", "use_muon"}
            else:
                assert set(group) == {"params", "lr", "use_muon"}
        super().__init__(param_groups, {})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                assert (p.ndim == 2) == group["use_muon"]
                p.sub_(group["lr"] * (p.grad / p.grad.norm() if group["use_muon"] else p.grad.sign()))


class OtherFlagInStep(Descent):
    """The flag's name is its own, and missed only in the first step."""

    def rule(self, p, group):
        return p.grad.sign() if group["orthogonalize_it"] else p.grad


class TwoLists(Descent):
    """Moonlight's: the learning rate first, two lists of parameters."""

    def __init__(self, lr=0.1, wd=0.0, muon_params=None, momentum=0.9, adamw_params=None):
        assert all(p.ndim == 2 for p in muon_params), "matrices only"
        self.sizes = len(muon_params), len(list(adamw_params))
        super().__init__([*muon_params, *adamw_params], lr)


class TakesModule(Descent):
    def __init__(self, model, lr=0.1):
        super().__init__([p for _, p in model.named_parameters()], lr)


class TakesBoth(Descent):
    def __init__(self, params, model, lr=0.1):
        assert {id(p) for p in params} == {id(p) for p in model.parameters()}
        super().__init__(params, lr)


class GroupsOnly(Descent):
    def __init__(self, params, lr=0.1):
        params = list(params)
        assert all(isinstance(g, dict) for g in params), "groups, please"
        super().__init__(params, lr)


class KeywordParams(Descent):
    def __init__(self, lr=0.1, *, params):
        super().__init__(params, float(lr))


class NoneIsNoRate(Descent):
    def __init__(self, params, lr=None):
        assert lr > 0.0
        super().__init__(params, lr)


class OnlySteps:
    """No optimizer at all: an object with a step."""

    def __init__(self, params, lr=0.1):
        self.own, self.lr = list(params), lr

    @torch.no_grad()
    def step(self):
        for p in self.own:
            p -= self.lr * p.grad


def _params(*shapes):
    return [torch.nn.Parameter(torch.ones(s, dtype=torch.float64)) for s in shapes or ((2, 3), (4,))]


def _stepped(target, **kwargs):
    """The handle after one step along gradients of ones."""
    handle = Handle(load(target, kwargs), _params())
    handle.step([torch.ones(2, 3, dtype=torch.float64), torch.ones(4, dtype=torch.float64)])
    return handle


@pytest.mark.parametrize(
    ("target", "convention"),
    [
        (Descent, "parameters"),
        (Named, "named parameters"),
        (FirstIsNamed, "named parameters"),
        (Flagged, "groups flagged use_muon"),
        (OtherFlagInStep, "groups flagged orthogonalize_it"),
        (TwoLists, "two lists, muon_params= and adamw_params="),
        (TakesModule, "module"),
        (TakesBoth, "parameters and a module"),
        (GroupsOnly, "groups"),
        (KeywordParams, "parameters as params="),
        (NoneIsNoRate, "parameters"),
        (OnlySteps, "parameters"),
    ],
)
def test_parameters_are_handed_over_as_wanted(target, convention):
    handle = _stepped(target)
    assert load(target).calling(_params()).convention.name == convention
    for p in handle.params:
        assert bool((p != 1).all())  # every parameter has moved
        assert bool((p < 1).all())


def test_two_lists_are_split_by_shape():
    assert _stepped(TwoLists).optimizer.sizes == (1, 1)


def test_the_trial_touches_neither_weights_nor_random_numbers():
    params = _params()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    Handle(load(Flagged), params)
    assert torch.equal(torch.rand(3), wanted)
    assert all(bool((p == 1).all()) for p in params)
    assert all(p.grad is None for p in params)


def test_options_go_where_closed_key_sets_allow_them():
    handle = Handle(load(Flagged, {"momentum": 0.5}), _params())  # of the matrices' group only
    assert [g.get("momentum") for g in handle.optimizer.param_groups] == [0.5, None]
    handle = Handle(load(Flagged, {"lr": 0.25}), _params())
    assert [g["lr"] for g in handle.optimizer.param_groups] == [0.25, 0.25]


def test_a_misspelt_option_does_not_slip_into_groups():
    with pytest.raises(TargetError, match=r"rejects \(params, momentun=0.5\).*unexpected keyword argument 'momentun'"):
        Handle(load(Descent, {"momentun": 0.5}), _params())
    with pytest.raises(TargetError, match="momentun"):
        Handle(load(Flagged, {"momentun": 0.5}), _params())


def test_what_was_tried_is_listed():
    class Never(Descent):
        def __init__(self, params):
            raise RuntimeError("not today")

    with pytest.raises(TargetError, match=r"RuntimeError: not today. Also tried: named parameters; groups; groups fl"):
        Handle(load(Never), _params())


def test_matrices_only_is_still_a_refusal_of_vectors():
    class MatricesOnly(Descent):
        def __init__(self, params, lr=0.1):
            params = list(params)
            if any(p.ndim != 2 for p in params):
                raise ValueError("2-D parameters only")
            super().__init__(params, lr)

    with pytest.raises(TargetError, match="2-D parameters only"):
        Handle(load(MatricesOnly), _params())
    assert Handle(load(MatricesOnly), _params((2, 3))).params[0].shape == (2, 3)


def test_what_a_constructor_prints_is_kept_from_the_output(capsys):
    class Loud(Descent):
        def __init__(self, params, lr=0.1):
            print("hello from the constructor")
            super().__init__(params, lr)

        def rule(self, p, group):
            print("hello from the step")
            return p.grad

    _stepped(Loud)
    assert capsys.readouterr().out == ""


# -- Files ----------------------------------------------------------------------------------------------------------


FILE = """
    import torch
    from helpers_beside_it import RATE

    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            import late_beside_it
            return super().step(closure)

        def __init__(self, params):
            super().__init__(params, lr=RATE)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    place = tmp_path / "somewhere"
    place.mkdir()
    (place / "mine_with_helpers.py").write_text(textwrap.dedent(FILE))
    (place / "helpers_beside_it.py").write_text("RATE = 0.375\n")
    (place / "late_beside_it.py").write_text("")
    yield place
    for name in set(sys.modules) - before:
        if "beside_it" in name or "mine_with" in name:
            del sys.modules[name]


def test_a_file_may_import_what_lies_beside_it(folder):
    target = load(f"{folder / 'mine_with_helpers.py'}:Mine")
    handle = Handle(target, _params())
    assert handle.optimizer.param_groups[0]["lr"] == 0.375
    handle.step([torch.ones_like(p) for p in handle.params])  # imports late
    assert sys.path[-1] == str(folder)


def test_what_lies_beside_a_file_shadows_nothing(folder):
    (folder / "json.py").write_text("raise RuntimeError('shadowed')")
    code = f"""
        import sys
        from maxmargin.verify.blackbox.targets import load
        load({str(folder / "mine_with_helpers.py")!r} + ":Mine")
        sys.modules.pop("json", None)
        import json
        print(json.dumps(1))
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, env=env
    )
    assert run.stdout.strip() == "1", run.stderr


def test_such_a_file_crosses_to_other_processes(folder):
    target = load(f"{folder / 'mine_with_helpers.py'}:Mine")
    Handle(target, _params())  # what was found by trying stays behind
    there = joblib.Parallel(n_jobs=2)(joblib.delayed(target.calling)(_params()) for _ in range(2))
    assert [(found.convention.name, found.works) for found in there] == [("parameters", True)] * 2
    assert pickle.loads(pickle.dumps(target)).callings == {}


def test_two_files_of_one_name_are_two_modules(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for rate in ("one", "two"):
        (tmp_path / rate).mkdir()
        (tmp_path / rate / "mine_with.py").write_text(f"NAME = {rate!r}\ndef make(params): return NAME\n")
    one, two = (load(f"{tmp_path / rate / 'mine_with.py'}:make") for rate in ("one", "two"))
    assert (one.factory([]), two.factory([])) == ("one", "two")
    assert sys.modules[one.factory.__module__] is not sys.modules[two.factory.__module__]
