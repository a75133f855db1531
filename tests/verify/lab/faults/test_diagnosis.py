"""Every defect is named on the block that has it, and sound optimizers have none."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from toys import Rule, polar
from toys import newton_schulz as iterated

from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.faults.case import Case
from maxmargin.verify.lab.faults.diagnosis import diagnose as diagnosed
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.faults.perturbations import memory
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.subject import Subject

SHAPES = {"W": (5, 4), "V": (3, 6), "a": (5,)}
TWO = {"W": (5, 4), "a": (5,)}  # half the time


def diagnose(target, shapes, norm, seed=0):
    return diagnosed(Subject(target, shapes, seed), get_norm(norm))


class Clipped(Rule):
    def step(self, closure=None):
        for p in self.parameters():
            p.grad.clamp_(-0.05, 0.05)
        super().step()


class Late(Rule):
    def step(self, closure=None):
        for p in self.parameters():
            state = self.state[p]
            state["before"], p.grad = p.grad.clone(), state.get("before", torch.zeros_like(p))
        super().step()


class First(Rule):
    def step(self, closure=None):
        for p in self.parameters():
            p.grad = self.state[p].setdefault("first", p.grad.clone()).clone()
        super().step()


class Forgetful(Rule):
    def step(self, closure=None):
        self.state.clear()
        super().step()


class Common(Rule):
    KEPT: ClassVar[dict] = {}

    def step(self, closure=None):
        for p in self.parameters():
            before = self.KEPT.get(p.shape, torch.zeros_like(p))
            p.grad = self.KEPT[p.shape] = 0.9 * before + 0.1 * p.grad
        super().step()


class Decayed(Rule):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.parameters():
            p.mul_(1 - 1e-4)
        super().step()


class Trusting(Rule):
    power = 1.0

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.parameters():
            p.sub_(1e-3 * p.norm() ** self.power * p.grad / p.grad.norm())


class HardlyTrusting(Trusting):
    power = 0.02


class Regularized(Rule):
    """A penalty on the vectors, too weak to be seen beside gradients of size 1."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.ndim == 1:
                p.grad = p.grad + 1e-4 * p.detach()
        super().step()


class Pulled(Rule):
    """The same penalty whatever the size of weights and gradients."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.ndim == 1:
                p.grad = p.grad + 0.9 * p.grad.norm() * p.detach() / p.detach().norm()
        super().step()


class Mixed(Rule):
    def step(self, closure=None):
        first, *_, last = self.parameters()
        last.grad = last.grad * torch.sign(first.grad.flatten()[0])
        super().step()


class Coordinates(Rule):
    """Greedy coordinate descent: the entry with the largest average gradient of all blocks moves alone."""

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.parameters():
            m = self.state[p].setdefault("m", torch.zeros_like(p))
            m.mul_(0.9).add_(p.grad)
        steepest = max(self.parameters(), key=lambda p: self.state[p]["m"].abs().max())
        m = self.state[steepest]["m"]
        steepest.sub_(1e-2 * m * (m.abs() == m.abs().max()))


def newton_schulz(m, steps=5):
    return iterated(m, steps, torch.float64)


def on(kind, change):
    """``change`` on blocks of a kind ("W", "matrices", "vectors"), the sound Muon-and-sign on the rest."""
    wanted = {
        "W": lambda m: m.shape == (5, 4),
        "matrices": lambda m: m.ndim == 2,
        "vectors": lambda m: m.ndim == 1,
    }[kind]
    return lambda m: change(m) if wanted(m) else polar(m)


def with_row(factor, row=3):
    def change(m):
        x = polar(m).clone()
        x[row] *= factor
        return x

    return change


def without_columns(m):
    x = polar(m).clone()
    x[:, 1:3] = 0
    return x


def powered(p):
    def change(m):
        u, s, vt = torch.linalg.svd(m, full_matrices=False)
        return (u * s**p) @ vt

    return change


def cubic(m):
    """The lmo of the entrywise ℓ3 norm."""
    return torch.sign(m) * m.abs() ** 0.5 / (m.abs() ** 1.5).sum() ** (1 / 3)


def greedy(m):
    u, _, vt = torch.linalg.svd(m, full_matrices=False)
    return u[:, :1] @ vt[:1]


SOUND = {
    "momentum": (load(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}), "l2"),
    "descent": (load(torch.optim.SGD, {"lr": 0.1}), "l2"),
    "signum": (load(Rule, {"rule": torch.sign}), "linf"),
    "muon-signum": (load(Rule, {"rule": polar}), "hybrid"),
    "adam": (load(torch.optim.Adam, {"lr": 1e-3, "eps": 0.0}), "linf"),
    "layerwise": (load(Rule, {"rule": lambda m: m / m.norm()}), "l2;max"),
    "rows": (load(Rule, {"rule": lambda m: m / m.norm(dim=-1, keepdim=True)}), "maxrow"),
    "entrywise": (load(Rule, {"rule": cubic}), "entrywise:3;max"),
    "greedy": (load(Rule, {"rule": on("matrices", greedy)}), "blocks:@matrix=nuclear,@vector=linf;max"),
    "coordinates": (load(Coordinates, {"rule": None}), "l1"),
    "weighted": (load(Rule, {"rule": on("W", lambda m: 2 * polar(m))}), "blocks:V=2*spectral,W=spectral,a=2*linf;max"),
}


SEEDS = [(name, 0) for name in SOUND] + [(name, s) for name in ("momentum", "signum", "muon-signum") for s in (1, 2)]


@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_sound_optimizers_have_no_findings(name, seed):
    target, norm = SOUND[name]
    assert diagnose(target, SHAPES, norm, seed=seed) == ()


def broken(cls=Rule, rule=polar, **kwargs):
    return load(cls, {"rule": rule, **kwargs})


# (target, norm, {(block, kind): words of the sentence}); nothing else may be found.
BROKEN = {
    "frozen row": (
        broken(rule=on("W", with_row(0.0))),
        "hybrid",
        {("W", "frozen"): "row 3 of W (W[3, :]) never moves"},
    ),
    "frozen columns": (
        broken(rule=on("W", without_columns)),
        "hybrid",
        {("W", "frozen"): "2 columns of W (1, 2) never move"},
    ),
    "frozen block": (broken(rule=on("vectors", lambda m: 0 * m)), "hybrid", {("a", "frozen"): "a never moves"}),
    "ascent": (
        broken(rule=lambda m: -polar(m)),
        "hybrid",
        {("", "ascent"): "it ascends on every block: the step has the wrong sign"},
    ),
    "ascent on a": (broken(rule=on("vectors", lambda m: -torch.sign(m))), "hybrid", {("a", "ascent"): "ascends on a"}),
    "ascent of a row": (
        broken(rule=on("W", with_row(-1.0))),
        "hybrid",
        {("W", "ascent"): "row 3 of W (W[3, :]) ascends"},
    ),
    "reshaped": (
        broken(rule=on("W", lambda m: polar(m.reshape(2, 10)).reshape(5, 4))),
        "hybrid",
        {("W", "layout"): "the polar factor of the reshaped matrix (2, 10)"},
    ),
    "transposed": (
        broken(rule=on("matrices", lambda m: polar(m.T.reshape(m.shape)))),
        "hybrid",
        {
            ("W", "layout"): "polar factor of the transposed gradient laid out as (5, 4)",
            ("V", "layout"): "polar factor of the transposed gradient laid out as (3, 6)",
        },
    ),
    "transposed signs": (
        broken(rule=lambda m: torch.sign(m).T.reshape(m.shape) if m.shape == (3, 6) else torch.sign(m)),
        "linf",
        {("V", "layout"): "sign of the gradient, transposed and laid out as (3, 6)"},
    ),
    "noise": (
        broken(rule=on("W", lambda m: (lambda u, _, vt: u @ vt)(*torch.linalg.svd(m, full_matrices=False)))),
        "hybrid",
        {("W", "null directions"): "on W it moves 1 times as far in directions without gradient"},
    ),
    "Newton–Schulz": (
        broken(rule=on("W", newton_schulz)),
        "hybrid",
        {("W", "newton-schulz"): "singular values 0.68 … 1.13 instead of 1: about 5 Newton–Schulz steps"},
    ),
    "one Newton–Schulz step": (
        broken(rule=on("W", lambda m: newton_schulz(m, 1))),
        "hybrid",
        {("W", "newton-schulz"): "about 1 Newton–Schulz step (coeff"},
    ),
    "root of singular values": (
        broken(rule=on("W", powered(0.5))),
        "hybrid",
        {("W", "power"): "the singular values of W's gradient enter with power 0.50"},
    ),
    "root of entries": (
        broken(rule=lambda m: torch.sign(m) * m.abs() ** (0.5 if m.ndim == 1 else 0.0)),
        "linf",
        {("a", "power"): "the entries of a's gradient enter with power 0.50"},
    ),
    "missing root": (
        broken(rule=lambda m: 1 / m if m.shape == (5, 4) else torch.sign(m)),
        "linf",
        {("W", "power"): "enter with power -1.00: like 1/g, as if the sign were divided by the gradient once more"},
    ),
    "swapped": (
        broken(rule=lambda m: torch.sign(m) if m.ndim == 2 else m / m.norm()),
        "hybrid",
        {
            ("W", "rule"): "follows linf (alignment 1.000), the rule meant for a, not spectral",
            ("V", "rule"): "follows linf",
            ("a", "rule"): "follows l2 (alignment 1.000), not linf",
        },
    ),
    "wrong axis": (
        broken(rule=on("matrices", lambda m: m / m.norm(dim=0))),
        "blocks:@matrix=maxrow,@vector=linf;max",
        {("W", "rule"): "follows maxcolumn (alignment 1.000), not maxrow", ("V", "rule"): "follows maxcolumn"},
    ),
    "scaled": (broken(rule=on("W", lambda m: 2.5 * polar(m))), "hybrid", {("W", "weight"): "W moves 2.5 times as far"}),
    "scaled a little": (
        broken(rule=on("W", lambda m: (1 + 3e-7) * polar(m))),
        "hybrid",
        {("W", "weight"): "W moves 1.0000003 times as far"},
    ),
    "scaled row": (
        broken(rule=on("W", with_row(0.2))),
        "hybrid",
        {("W", "preconditioned"): "row 3 of W (W[3, :]) moves 0.2 times as far as spectral's rule says"},
    ),
    "scaled entries": (
        broken(rule=on("W", lambda m: m * (1 + torch.arange(20.0).double().reshape(5, 4)))),
        "blocks:W=l2,V=spectral,a=linf;max",
        {("W", "preconditioned"): "entries of W move by fixed factors 0.095 … 1.9"},
    ),
    "clipped from above": (
        broken(rule=lambda m: m.clamp(max=0.02)),
        "l2",
        {(b, "clipping"): "of them share the largest size" for b in TWO},
    ),
    "lopsided": (
        broken(rule=lambda m: torch.sign(m).clamp(max=0.5)),
        "linf",
        {(b, "one-sided"): "at most 0.01 up but 0.005 down" for b in TWO},
    ),
    "stale": (
        broken(Late),
        "hybrid",
        {(b, "stale"): "ignores the current gradient and follows the gradient 1 step before" for b in TWO},
    ),
    "first": (broken(First), "hybrid", {(b, "stale"): "the first gradient alone: its state is never" for b in TWO}),
    "forgetful": (
        broken(Forgetful),
        "hybrid",
        {(b, "dropped state"): f"momentum=0.9 is set, but the step on {b} depends on the current" for b in TWO},
    ),
    "random": (
        broken(rule=lambda m: polar(m + 0.1 * torch.randn_like(m))),
        "hybrid",
        {("", "random"): "seeds differ by"},
    ),
    "common": (broken(Common, momentum=0.0), "hybrid", {("", "shared state"): "a new one goes on where another left"}),
    "centred rows": (
        broken(rule=on("W", lambda m: polar(m - m.mean(1, keepdim=True)))),
        "hybrid",
        {("W", "centred"): "ignores a constant added to every row of its gradient"},
    ),
    "centred columns": (
        broken(rule=on("W", lambda m: polar(m - m.mean(0, keepdim=True)))),
        "hybrid",
        {("W", "centred"): "ignores a constant added to every column of its gradient"},
    ),
    "centred vector": (
        broken(rule=on("vectors", lambda m: torch.sign(m - m.mean()))),
        "hybrid",
        {("a", "centred"): "ignores a constant added to all entries of its gradient"},
    ),
    "decayed": (broken(Decayed), "hybrid", {(b, "weights"): f"{b} is decayed by 0.0001 of itself" for b in TWO}),
    "trusting": (
        broken(Trusting, momentum=0.0),
        "l2;max",
        {(b, "weights"): "2 times as long when the weights are doubled: a trust ratio" for b in TWO},
    ),
    "hardly trusting": (
        broken(HardlyTrusting, momentum=0.0),
        "l2;max",
        {(b, "weights"): "depends on the weights: it changes by 0.014 (relative) with weights -2 times" for b in TWO},
    ),
    "regularized": (
        broken(Regularized),
        "hybrid",
        {("a", "weights"): "(relative) with weights -2 times, gradients 0.0001 times as large"},
    ),
    "pulled": (
        broken(Pulled),
        "hybrid",
        {("a", "weights"): "the step on a depends on the weights: it changes by"},
    ),
    "mixed": (broken(Mixed), "hybrid", {("a", "crosstalk"): "changes by 2 (relative) with the sign of W's gradients"}),
    "eps": (
        load(torch.optim.Adam, {"eps": 1e-2}),
        "linf",
        {(b, "scale"): "depends on the gradient's size (cosine 0." for b in TWO},
    ),
    "skewed before the polar factor": (
        broken(rule=on("W", lambda m: polar(m * torch.tensor([1.0, 1, 1, 1, 3]).double()[:, None]))),
        "hybrid",
        {("W", "symmetry"): "not equivariant under orthogonal maps from the left"},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_defect_is_named_and_nothing_else(name):
    target, norm, wanted = BROKEN[name]
    found = diagnose(target, SHAPES if any(b == "V" for b, _ in wanted) else TWO, norm)
    assert {(f.block, f.kind) for f in found} == set(wanted), [f.text for f in found]
    for finding in found:
        assert wanted[finding.block, finding.kind] in finding.text
        assert finding.size > 0
        assert not finding.text.endswith(".")


def test_clipped_gradients():
    """A vector so small that hardly an entry stays free follows the sign where the others are clipped."""
    found = diagnose(broken(Clipped, rule=lambda m: m), SHAPES, "l2")
    kinds = {(f.block, f.kind) for f in found}
    assert {("W", "clipping"), ("V", "clipping")} <= kinds
    assert {f.kind for f in found if f.block == "a"} <= {"clipping", "scale", "rule"}
    assert {b for b, _ in kinds} == set(SHAPES)


def test_the_most_important_comes_first():
    def rule(m):
        if m.ndim == 1:
            return 4 * torch.sign(m)
        return with_row(0.0)(m) if m.shape == (5, 4) else newton_schulz(m)

    kinds = [f.kind for f in diagnose(broken(rule=rule), SHAPES, "hybrid")]
    assert kinds[0] is Kind.FROZEN
    assert kinds == sorted(kinds, key=list(Kind).index)
    assert Finding.of(Kind.FROZEN, "a", 0.1, "").rank < Finding.of(Kind.WEIGHT, "a", 9.0, "").rank
    assert Finding.of(Kind.FROZEN, "a", 0.2, "").rank < Finding.of(Kind.FROZEN, "b", 0.1, "").rank


def test_what_a_finding_hides_are_findings():
    assert {name for kind in Kind for name in kind.hides} <= set(Kind)


def test_fingerprints_and_probes_are_taken():
    target = load(torch.optim.Adam, {"eps": 1e-2})
    subject = Subject(target, TWO)
    about = subject.probe
    found = diagnosed(subject, read(subject.signature, about.coupling).norm, about.floor)
    assert about.floor > 0
    assert all(f.text.endswith(f"(from norms below {about.floor:.0e} on)") for f in found if f.kind is Kind.SCALE)
    assert any(f.kind is Kind.SCALE for f in found)


def test_seeds_change_numbers_only():
    target = broken(rule=on("W", newton_schulz))
    texts = [diagnose(target, TWO, "hybrid", seed=s)[0] for s in (0, 0, 7)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0].kind == texts[2].kind


def test_a_single_block():
    assert diagnose(load(torch.optim.SGD, {"lr": 0.1}), {"w": (4,)}, "l2") == ()
    assert diagnose(broken(rule=torch.sign), {"W": (2, 2)}, get_norm("linf")) == ()
    found = diagnose(broken(rule=lambda m: -m), {"w": (4,)}, "l2")
    assert [f.kind for f in found] == ["ascent"]


def test_steps_that_are_not_finite():
    found = diagnose(broken(rule=lambda m: m * float("nan")), {"W": (3, 2)}, "l2")
    assert [f.text for f in found] == ["its steps under constant gradients are not finite"]


@pytest.mark.parametrize("norm", ["l1", "nuclear", "l2;sum"])
def test_norms_whose_lmo_leaves_blocks_alone(norm):
    """Seen from l1 a whole block need not move; that is nothing to trip over."""
    found = diagnose(load("torch.optim:SGD"), SHAPES, norm)
    assert all(f.text for f in found)


def test_refusals():
    def only_matrices(m):
        if m.ndim != 2:
            raise ValueError("matrices only")
        return m

    with pytest.raises(TargetError, match="matrices only"):
        diagnose(broken(rule=only_matrices), SHAPES, "l2")
    with pytest.raises(NormError, match="says nothing about block 'V'"):
        diagnose(broken(), SHAPES, "blocks:W=spectral,a=linf;max")


@pytest.mark.parametrize("seed", range(8))
def test_a_sign_that_stays_by_chance_is_not_stale(seed):
    """One sign is every other time what the opposite gradient turns it to."""
    case = Case(Subject(broken(rule=torch.sign), {"a": (1,)}, seed), get_norm("linf"))
    assert list(memory(case)) == []
