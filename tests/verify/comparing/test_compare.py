"""Two optimizers side by side: planted differences are placed, rewritings are the same, releases lie in folders."""

from __future__ import annotations

import json
import sys
import textwrap
from threading import Lock
from typing import ClassVar

import pytest

from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.cli import main
from maxmargin.verify.comparing import compare as module
from maxmargin.verify.comparing import rooms
from maxmargin.verify.comparing.compare import compare
from maxmargin.verify.comparing.rooms import ROOMS
from maxmargin.verify.comparing.side import Side, answer

FEW = {
    "small": {"changing gradients": 24, "gradients of low rank": 6, "absent entries": 6, "late drift": 60},
    "large": {"changing gradients": 3, "gradients of low rank": 2, "absent entries": 2},
}

BASE = """
import torch


class Base(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-2, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                s = self.state[p]
                s["t"] = s.get("t", 0) + 1
                m = s.setdefault("m", torch.zeros_like(p)).mul_(group["beta"]).add_(p.grad)
                p.sub_(group["lr"] * self.direction(m, p.grad, s["t"]))

    def direction(self, m, g, t):
        return m


def polar(m, cut=0.0):
    u, s, vt = torch.linalg.svd(m.reshape(len(m), -1), full_matrices=False)
    return ((u * (s > cut * s[0])) @ vt).reshape(m.shape)
"""


class Here:
    """A side in this process: what it answers is the same, and it starts at once."""

    asked: ClassVar[list] = []
    lock = Lock()

    def __init__(self, name, spec, kwargs):
        self.name, self.spec, self.kwargs = name, spec, kwargs
        self.about = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def load(self):
        self.side = Side(self.spec, self.kwargs)
        self.about = self.side.about()

    def ask(self, what, progress=None, **request):
        with Here.lock:  # both sides share this process's random generators
            return self.answered(what, request)

    def answered(self, what, request):
        Here.asked.append((self.name, what))
        if what == "check":
            return {"verdict": {"outcome": "HOLDS"}, "sentence": f"HOLDS: {self.name} maximizes"}
        return answer(self.side, what, json.loads(json.dumps(request)), lambda *_: None)


@pytest.fixture
def here(monkeypatch):
    Here.asked = []
    monkeypatch.setattr(module, "SideProcess", Here)
    monkeypatch.setattr(rooms, "ROOM_STEPS", FEW)
    return Here


def written(tmp_path, name, body="", base=BASE):
    path = tmp_path / f"{name}.py"
    path.write_text(base + "\n\nclass Opt(Base):\n" + textwrap.indent(textwrap.dedent(body) or "pass", "    "))
    return f"{path}:Opt"


def direction(code):
    return "def direction(self, m, g, t):\n" + textwrap.indent(textwrap.dedent(code), "    ")


def rows(found):
    return {row.block: row for row in found.rows}


def test_a_rewriting_is_the_same(here, tmp_path):
    a = written(tmp_path, "a")
    b = written(tmp_path, "b", base=BASE.replace(".mul_(group[\"beta\"]).add_(p.grad)", "").replace(
        "p.sub_(group", "m.copy_(p.grad + m * group[\"beta\"]); p.sub_(group"))  # fmt: skip
    found = compare(a, b, quick=True)
    assert (found.same, found.exit_status, found.factor) == (True, 0, 1.0)
    assert found.word == "SAME"
    assert set(rows(found)) == {*ROOMS["small"].shapes, *list(ROOMS)[2:]}
    assert all(row.same for row in found.rows)


PLANTED = {
    "from 16 rows on": ("return m * (2.0 - g / g.abs().max() if min(m.shape) >= 16 else 1.0)", "matrix 64×48", 1),
    "kernels of four dimensions": ("return 3.0 * m if m.ndim == 4 else m", "convolution 32×16×3×3", 1),
    "long vectors": ("return m.sign() if m.shape == (1000,) else m", "vector 1000", 1),
    "wide matrices": ("return m.sign() if m.shape[-1] == 200 else m", "wide 8×200", 1),
    "vectors": ("return g if m.ndim == 1 else m", "vector 5", 2),
    "late": ("return m if t <= 50 else g", "tall 6×3", 51),
    "absent entries": ("return m + (g == 0)", "tall 6×3", 1),
    "not finite": ("return m / (t != 5)", "tall 6×3", 5),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_difference_is_placed(here, tmp_path, planted):
    code, block, step = PLANTED[planted]
    found = compare(written(tmp_path, "a"), written(tmp_path, "b", direction(code)), quick=True)
    assert (found.same, found.exit_status) == (False, 1)
    row = next(row for row in found.rows if not row.same)
    assert (row.block, row.step) == (block, step)
    wanted = {"late": "late drift", "absent entries": "absent entries"}
    assert row.kind == wanted.get(planted, "changing gradients")
    assert found.reasons[0].startswith(f"They part first on {block}, at step {step} of {row.kind}")
    elsewhere = "They are the same nowhere." if planted == "absent entries" else "They are the same on "
    assert any(text.startswith(elsewhere) for text in found.reasons)


def test_a_difference_on_low_rank_alone_is_seen_unless_it_is_rounding(here, tmp_path):
    noise = direction("return polar(m) if m.ndim > 1 else m")
    again = direction("return polar(3 * m) if m.ndim > 1 else m")
    cut = direction("return polar(m, 1e-9) if m.ndim > 1 else m")
    found = compare(written(tmp_path, "a", noise), written(tmp_path, "b", again), quick=True)
    assert found.same
    assert any("not told apart under gradients of low rank" in text for text in found.reasons)
    found = compare(written(tmp_path, "c", noise), written(tmp_path, "d", cut), quick=True)
    assert found.same is False
    assert rows(found)["tall 6×3"].kind == "gradients of low rank"


def test_a_common_factor_is_told(here, tmp_path):
    found = compare(written(tmp_path, "a"), written(tmp_path, "b", direction("return 0.2 * m")), quick=True)
    assert found.factor == pytest.approx(0.2)
    assert found.exit_status == 1
    assert "B's steps are 0.2 times A's, everywhere." in found.reasons


def test_a_factor_on_some_blocks_and_lengths_of_their_own_are_told(here, tmp_path):
    a = written(tmp_path, "a")
    found = compare(a, written(tmp_path, "b", direction("return m / 7 if m.ndim > 3 else m")), quick=True)
    assert "There B's steps are A's to a factor: 0.142857 on convolution 32×16×3×3." in found.reasons
    found = compare(a, written(tmp_path, "c", direction("return m / t")), quick=True)
    assert "There B's steps have A's directions, and lengths of their own." in found.reasons


def test_what_one_side_alone_refuses_is_a_difference(here, tmp_path):
    refuses = direction("assert m.ndim != 3, 'no kernels'\nreturn m")
    found = compare(written(tmp_path, "a"), written(tmp_path, "b", refuses), quick=True)
    assert found.same is False
    assert "B alone refuses it" in rows(found)["convolution 24×8×5"].note
    found = compare(written(tmp_path, "c", refuses), written(tmp_path, "d", refuses), quick=True)
    assert found.same
    assert rows(found)["convolution 24×8×5"].same is None


def test_steps_that_are_not_finite_are_said_even_where_they_are_the_same(here, tmp_path):
    broken = direction("return m / (t != 5) if m.ndim == 1 else m")
    found = compare(written(tmp_path, "a", broken), written(tmp_path, "b", broken), quick=True)
    assert found.same
    assert "vector 5: a step is not finite, the first at step 5 of changing gradients." in found.reasons


def test_matrices_alone_where_vectors_are_refused(here, tmp_path):
    refuses = direction("assert m.ndim > 1, 'no vectors'\nreturn m")
    found = compare(written(tmp_path, "a", refuses), written(tmp_path, "b", refuses), quick=True)
    assert found.same
    assert rows(found)["tall 6×3"].steps == sum(FEW["small"].values())


def test_random_is_undecided(here, tmp_path):
    random = direction("return m + torch.randn(m.shape, dtype=m.dtype)")
    found = compare(written(tmp_path, "a"), written(tmp_path, "b", random), quick=True)
    assert (found.same, found.exit_status) == (None, 3)
    assert found.reasons[0].startswith("B is random")
    found = compare(written(tmp_path, "c", random), written(tmp_path, "d", random), quick=True)
    assert found.same, "with equal seeds they draw the same"


def test_a_tolerance_is_the_users(here, tmp_path):
    a, b = written(tmp_path, "a"), written(tmp_path, "b", direction("return m * (1 + 1e-6)"))
    assert compare(a, b, quick=True).same is False
    assert compare(a, b, quick=True, tolerance=1e-5).same


def test_each_is_checked_if_they_part_and_one_if_they_do_not(here, tmp_path):
    a, b = written(tmp_path, "a"), written(tmp_path, "b", direction("return m.sign()"))
    found = compare(a, b)
    assert [name for name, what in here.asked if what == "check"] == ["A", "B"]
    assert (found.a.maximizes, found.b.maximizes) == ("HOLDS: A maximizes", "HOLDS: B maximizes")
    here.asked.clear()
    found = compare(a, a)
    assert [name for name, what in here.asked if what == "check"] == ["A"]
    assert "Both sides are the same code with the same arguments: only its repeatability was seen." in found.reasons


def test_arguments_make_a_difference(here):
    found = compare("torch.optim:SGD", "torch.optim:SGD", kwargs_b={"momentum": 0.9}, quick=True)
    assert found.same is False
    assert rows(found)["tall 6×3"].step == 2
    assert compare("torch.optim:SGD", "torch.optim:SGD", kwargs_a={"foreach": True}, quick=True).same
    assert compare("signum", "sign-gd", quick=True).same is False


def test_arguments_must_travel():
    with pytest.raises(TargetError, match="cannot be handed to another process"):
        compare("torch.optim:SGD", "torch.optim:SGD", kwargs_a={"params": object()})


# ---------------------------------------------------------------------------------------- in processes of their own


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """Two releases of one package, in two folders; a print on import; and few steps."""
    monkeypatch.setattr(rooms, "ROOM_STEPS", FEW)
    for release, code in (("old", "return m"), ("new", "return m if len(m) < 64 else g"), ("none", None)):
        folder = tmp_path / release / ("released_package" if code else "other_package")
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("print('imported')\n")
        (folder / "optim.py").write_text(
            BASE + "\n\nclass Opt(Base):\n" + textwrap.indent(direction(code or ""), "    ")
        )
    return tmp_path


def test_two_releases_of_one_package(releases, capsys):
    old, new = (f"{releases / name}::released_package.optim:Opt" for name in ("old", "new"))
    status = main(["compare", old, new, "--quick", "--json", "-"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert status == 1
    assert found["same"] is False
    assert next(row["block"] for row in found["rows"] if not row["same"]) == "matrix 64×48"
    assert found["a"]["file"].startswith(str(releases / "old"))
    assert found["b"]["file"].startswith(str(releases / "new"))
    assert "DIFFERENT: A and B part." in err
    assert "released_package" not in sys.modules


def test_a_package_that_is_not_in_its_folder_is_refused(releases, capsys):
    old = f"{releases / 'old'}::released_package.optim:Opt"
    assert main(["compare", old, f"{releases / 'none'}::torch.optim:SGD", "--quick"]) == 2
    assert "not from" in capsys.readouterr().err


def test_a_side_that_ends_its_process_is_bad_input(tmp_path, capsys):
    a = written(tmp_path, "a")
    b = written(tmp_path, "b", direction("import os\nos._exit(0)"))
    assert main(["compare", a, b, "--quick"]) == 2
    assert "B: the process of" in capsys.readouterr().err


def test_help_and_bad_arguments(capsys):
    assert main(["compare", "--help"]) == 0
    assert "FOLDER::module:attr" in capsys.readouterr().out
    assert main(["compare", "sgd", "sgd", "--kw-a", "lr=1", "lr=2"]) == 2
    assert "--kw-a lr=… is given twice" in capsys.readouterr().err
    assert main(["compare", "sgd", "sgd", "--tolerance", "0"]) == 2
