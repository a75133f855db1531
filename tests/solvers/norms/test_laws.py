"""The laws of every norm, on drawn and degenerate parameters; and that a wrong norm breaks them."""

import importlib.util
import math
import sys

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import maxmargin.solvers.norms as package
from maxmargin.models.blocks import add, scale
from maxmargin.solvers.norms import NORMS, Norm, NormError, ParameterNorm, families, get_block_norm, get_norm
from maxmargin.solvers.norms import laws as law
from maxmargin.solvers.norms.laws import LAWS, LawError, Sample, check_laws

SHAPES = (
    {"W": (3, 4), "a": (3,)},
    {"W1": (4, 2), "W2": (2, 4), "a": (2,)},
    {"W": (1, 4), "V": (3, 1), "a": (1,)},
    {"W": (2, 2)},
    {"a": (5,)},
)
CHEAP = [
    *NORMS, "schatten:1.5", "schatten:2", "entrywise:3", "entrywise:1.1", "rows:2.5", "columns:1.25", "hybrid:0.3",
    "dual:hybrid", "dual:hybrid:4", "spectral;sum", "spectral;l2", "linf;sum", "linf;l2", "l2;max", "l2;sum",
    "nuclear;max", "blocks:*=2*spectral,a=0.5*linf;l2", "blocks:*=1.5*l1,a=0.3*nuclear;sum",
    "blocks:@matrix=maxrow,@vector=3*l2;max", "blocks:*=0.2*l2,@vector=l2;l2",
]  # fmt: skip
# Roots within roots, or an atom whose value is a solved problem: the same laws on fewer samples.
DEAR = ["schatten:3", "linf;3", "blocks:@matrix=rows:3,@vector=2*columns:1.5;1.7", "schatten:1.5;max"]


@st.composite
def arrays(draw, shape):
    """One block: general, small integers (ties and zeros), rank one, or zero; nothing is filtered out."""
    kind = draw(st.sampled_from(["general", "general", "tied", "thin", "zero"]))
    if kind == "zero":
        return np.zeros(shape)
    whole = st.integers(-2, 2).map(float)
    entry = whole if kind == "tied" else st.floats(-4, 4, width=32, allow_subnormal=False)

    def fill(*size):
        return np.array(draw(st.lists(entry, min_size=math.prod(size), max_size=math.prod(size)))).reshape(size)

    return np.outer(fill(shape[0]), fill(shape[1])) if kind == "thin" and len(shape) == 2 else fill(*shape)


@st.composite
def samples(draw, exponents=(-200, -8, 0, 0, 0, 8, 200)):
    shapes = draw(st.sampled_from(SHAPES))
    theta, eta, G = ({name: draw(arrays(shape)) for name, shape in shapes.items()} for _ in range(3))
    theta, eta, G = (scale(x, 10.0 ** draw(st.sampled_from(exponents))) for x in (theta, eta, G))
    return Sample(
        theta, eta, G, radius=draw(st.sampled_from([0.01, 0.3, 0.9, 1.0, 2.0])), factor=draw(st.floats(0.1, 9))
    )


QUICK = tuple(each for each in LAWS if each not in (law.atom, law.kinds, law.vmapped))


@pytest.mark.parametrize("spec", CHEAP)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(sample=samples())
def test_laws_in_numpy(spec, sample):
    norm = get_norm(spec)
    check_laws(norm, sample, QUICK)
    check_laws(norm.dual_norm, sample, QUICK)


@pytest.mark.parametrize("spec", CHEAP)
@settings(derandomize=True, deadline=None, max_examples=8)
@given(sample=samples(exponents=(-200, 0, 0, 200)))
def test_laws_in_torch_and_cvxpy(spec, sample):
    check_laws(get_norm(spec), sample, (law.atom, law.vmapped))


@pytest.mark.parametrize("spec", CHEAP)
@settings(derandomize=True, deadline=None, max_examples=4)
@given(sample=samples(exponents=(0,)))
def test_torch_agrees_with_numpy(spec, sample):
    check_laws(get_norm(spec), sample, (law.kinds,))


@pytest.mark.parametrize("spec", DEAR)
@settings(derandomize=True, deadline=None, max_examples=4)
@given(sample=samples())
def test_laws_of_the_dear_norms(spec, sample):
    check_laws(get_norm(spec), sample)


ORDINARY = Sample.random({"W": (3, 4), "a": (3,)}, seed=3, radius=0.2)
THIN = Sample(
    *({"W": np.outer(x["W"][:, 0], x["W"][0]), "a": x["a"]} for x in (ORDINARY.theta, ORDINARY.eta, ORDINARY.G)), 0.2
)


class Spoiled(Norm):
    """A right norm with one method replaced by a wrong one."""

    def __init__(self, base, **wrong):
        self.right, self.name, self.aggregation, self.wrong = base, f"spoiled {base.name}", base.aggregation, wrong

    @property
    def dual_norm(self):
        return self.wrong.get("dual_norm", self.right.dual_norm)

    def block(self, name, shape):
        return self.right.block(name, shape)

    def value(self, theta):
        return self.wrong.get("value", self.right.value)(theta)

    def dual(self, G):
        return self.wrong.get("dual", self.right.dual)(G)

    def lmo(self, G):
        return self.wrong.get("lmo", self.right.lmo)(G)

    def project(self, theta, radius=1.0):
        return self.wrong.get("project", self.right.project)(theta, radius)

    def atom(self, variables):
        return self.wrong.get("atom", self.right.atom)(variables)

    def normal_cone_residual(self, theta, H):
        return self.wrong.get("normal_cone_residual", self.right.normal_cone_residual)(theta, H)


L1, L2, LINF, SPECTRAL, NUCLEAR, HYBRID = (get_norm(n) for n in ("l1", "l2", "linf", "spectral", "nuclear", "hybrid:2"))


def first_block(method):
    return lambda theta, *rest: {**theta, "W": method(theta, *rest)["W"]}


def noisy_polar(G):
    """U Vᵀ with the noise directions in: feasible and optimal, but a step of noise at G = 0."""
    U, _, Vt = np.linalg.svd(G["W"], full_matrices=False)
    return {"W": -U @ Vt, "a": -G["a"] / (np.linalg.norm(G["a"]) or 1)}


def shrink(theta, radius):
    """Onto the sphere along the ray: right radius, wrong point."""
    return scale(theta, radius / LINF.value(theta))


def branching(G):
    return L2.lmo(G) if G["W"].sum() > 0 else scale(L2.lmo(G), 1.0)


def quasi(theta):
    return sum((abs(x) ** 0.5).sum() for x in theta.values()) ** 2


SPOILS = {
    "sign of the lmo": (law.oracle, Spoiled(SPECTRAL, lmo=lambda G: scale(SPECTRAL.lmo(G), -1.0))),
    "feasible lmo of another norm": (law.oracle, Spoiled(SPECTRAL, lmo=lambda G: L2.lmo(G))),
    "lmo one percent too long": (law.oracle, Spoiled(LINF, lmo=lambda G: scale(LINF.lmo(G), 1.01))),
    "lmo one percent too short": (law.oracle, Spoiled(LINF, lmo=lambda G: scale(LINF.lmo(G), 0.99))),
    "lmo of one block only": (law.oracle, Spoiled(LINF, lmo=lambda G: {**LINF.lmo(G), "a": 0 * G["a"]})),
    "lmo that moves at zero": (law.oracle, Spoiled(SPECTRAL, lmo=noisy_polar)),
    "hybrid without its weight": (law.oracle, Spoiled(HYBRID, lmo=get_norm("hybrid").lmo)),
    "dual is the norm itself": (law.oracle, Spoiled(LINF, dual=LINF.value)),
    "dual one percent too large": (law.oracle, Spoiled(L1, dual=lambda G: 1.01 * L1.dual(G))),
    "dual joins blocks by max": (law.oracle, Spoiled(SPECTRAL, dual=get_norm("nuclear;max").value)),
    "dual and lmo of a smaller ball": (
        law.holder,
        Spoiled(L1, dual=lambda G: 0.5 * L1.dual(G), lmo=lambda G: scale(L1.lmo(G), 0.5)),
    ),
    "value blind to a block": (law.holder, Spoiled(L2, value=lambda t: L2.value({"a": t["a"]}))),
    "dual norm of another norm": (law.duality, Spoiled(SPECTRAL, dual_norm=SPECTRAL)),
    "squared value": (law.homogeneity, Spoiled(L2, value=lambda t: L2.value(t) ** 2)),
    "value with an offset": (law.homogeneity, Spoiled(L2, value=lambda t: L2.value(t) + 1e-6)),
    "value of the positive part": (law.homogeneity, Spoiled(LINF, value=lambda t: max(x.max() for x in t.values()))),
    "quasi-norm p = 1/2": (law.triangle, Spoiled(L1, value=quasi)),
    "projection by the radius only": (law.projection, Spoiled(LINF, project=shrink)),
    "projection one percent outside": (law.projection, Spoiled(LINF, project=lambda t, r: LINF.project(t, 1.01 * r))),
    "projection one percent inside": (law.projection, Spoiled(LINF, project=lambda t, r: LINF.project(t, 0.99 * r))),
    "projection of one block only": (law.projection, Spoiled(SPECTRAL, project=first_block(SPECTRAL.project))),
    "projection block by block for a sum": (law.projection, Spoiled(NUCLEAR, project=get_norm("nuclear;max").project)),
    "normal cone always 0": (law.normal_cone, Spoiled(L2, normal_cone_residual=lambda t, H: 0.0)),
    "normal cone with scale": (
        law.normal_cone,
        Spoiled(L2, normal_cone_residual=lambda t, H: L2.dual(H) * L2.normal_cone_residual(t, H)),
    ),
    "row-sum atom for the largest entry": (
        law.atom,
        Spoiled(LINF, atom=lambda v: cp.maximum(cp.norm(v["W"], "inf"), cp.norm(v["a"], "inf"))),
    ),
    "atom that is not convex": (law.atom, Spoiled(LINF, atom=lambda v: cp.min(cp.abs(v["W"])))),
    "atom without the weight": (law.atom, Spoiled(HYBRID, atom=get_norm("hybrid").atom)),
    "branch on data": (law.vmapped, Spoiled(L2, lmo=branching)),
    "value through the host": (law.vmapped, Spoiled(L2, value=lambda t: L2.value(t) * t["a"].sum().item() ** 0)),
    "other weight in torch": (
        law.kinds,
        Spoiled(L2, value=lambda t: (1.0 + 1e-6 * isinstance(t["W"], torch.Tensor)) * L2.value(t)),
    ),
    "torch comes back as numpy": (
        law.kinds,
        Spoiled(L2, project=lambda t, r: L2.project({n: np.asarray(x) for n, x in t.items()}, r)),
    ),
}


def check_both(broken, norm):
    broken(norm, ORDINARY)
    broken(norm, THIN)


@pytest.mark.parametrize("spoil", SPOILS)
def test_spoiled_norm_breaks_its_law(spoil):
    broken, norm = SPOILS[spoil]
    check_both(broken, norm.right)
    with pytest.raises((LawError, RuntimeError)) as caught:
        check_both(broken, norm)
    if caught.type is LawError:
        assert "spoiled" in str(caught.value)
    else:  # torch's own refusal to vmap
        assert "vmap" in str(caught.value)


def test_unspoiled_wrapper_keeps_every_law():
    for norm in (L1, SPECTRAL, HYBRID):
        check_laws(Spoiled(norm), ORDINARY)


def test_variational_inequality_is_what_catches_a_wrong_point():
    # Right radius and idempotent: only the inequality separates it from the projection.
    with pytest.raises(LawError, match="variational inequality"):
        law.projection(Spoiled(LINF, project=shrink), Sample(ORDINARY.theta, ORDINARY.eta, ORDINARY.G, 0.4))


@pytest.fixture
def registry():
    """Norms registered in a test are forgotten after it."""
    members, rows = dict(families.MEMBERS), dict(families.FAMILIES)
    yield
    for table, before in ((families.MEMBERS, members), (families.FAMILIES, rows)):
        table.clear()
        table.update(before)


def test_new_norm_is_one_file(registry, tmp_path, monkeypatch):
    # The text of the package's docstring is the file; nothing else is touched.
    lines = package.__doc__.split("::", 1)[1].split("That is all")[0].splitlines()
    path = tmp_path / "modulus.py"
    path.write_text("\n".join(line[4:] for line in lines), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("modulus", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "modulus", module)
    spec.loader.exec_module(module)

    assert "maxmodulus" in NORMS
    assert "maxmodulus" in list(NORMS)
    theta = {"a": np.array([3.0, -4.0, 1.0])}
    assert float(get_norm("maxmodulus").value(theta)) == pytest.approx(5)
    assert float(get_norm("modulus:1").value(theta)) == pytest.approx(6)
    assert get_norm("maxmodulus").dual_norm.name == "modulus:1"
    with pytest.raises(NormError, match="did you mean 'maxmodulus'"):
        get_norm("maxmodulsu")
    specs = ("maxmodulus", "modulus:1.5", "dual:maxmodulus", "blocks:W=2*modulus:3,a=linf;sum", "maxmodulus;l2")
    for name in specs:
        check_laws(get_norm(name), ORDINARY)
        check_laws(get_norm(name), THIN)
    with pytest.raises(NormError, match="'modulus' exists already"):
        spec.loader.exec_module(module)


def test_forgotten_norm_is_unknown():
    with pytest.raises(NormError, match="unknown norm 'maxmodulus'"):
        get_norm("maxmodulus")


def test_norm_that_is_no_gauge_joins_every_aggregation():
    # An ellipsoid's norm: no magnitudes, so the projections across blocks use value, dual and project alone.
    class Ellipsoid(package.BlockNorm):
        name, aggregation = "ellipsoid", 2.0

        def __init__(self, stretch=2.0):
            self.stretch = stretch

        @property
        def dual_norm(self):
            return Ellipsoid(1 / self.stretch)

        def _weights(self, x):
            weights = np.ones(x.shape[-1])
            weights[0] = self.stretch
            return torch.as_tensor(weights) if isinstance(x, torch.Tensor) else weights

        def value(self, x):
            return get_block_norm("l2").value(x * self._weights(x))

        def lmo(self, G):
            w = self._weights(G)
            return get_block_norm("l2").lmo(G / w) / w

        def project(self, x, radius):
            from maxmargin.solvers.norms import lp

            w = self._weights(x) + 0 * x
            point = lp.project(abs(x).reshape(-1), 2.0, radius, w.reshape(-1))
            return lp.sign(x) * point.reshape(tuple(x.shape))

        def atom(self, x):
            w = np.ones(x.shape)
            w[..., 0] = self.stretch
            return cp.norm(cp.vec(cp.multiply(w, x), order="C"), 2)

    for aggregation in (math.inf, 1.0, 2.0, 1.5):
        norm = ParameterNorm.of({"*": Ellipsoid(), "a": "linf"}, aggregation)
        check_laws(norm, ORDINARY)
        rest = add(ORDINARY.theta, norm.project(ORDINARY.theta, 0.3), -1.0)
        assert float(norm.normal_cone_residual(norm.project(ORDINARY.theta, 0.3), rest)) == pytest.approx(0, abs=1e-10)
