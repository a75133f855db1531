"""Names, text forms, errors, custom norms, and values against numpy.linalg and cvxpy."""

import math
import subprocess
import sys

import cvxpy as cp
import numpy as np
import pytest

from maxmargin.models.blocks import add, inner, scale
from maxmargin.solvers.norms import NORMS, Norm, NormError, ParameterNorm, get_block_norm, get_norm
from maxmargin.solvers.norms.capabilities import QUANTITIES, capabilities, table

RNG = np.random.default_rng(7)
W, V, A = RNG.standard_normal((3, 4)), RNG.standard_normal((5, 2)), RNG.standard_normal(3)
THETA = {"W": W, "V": V, "a": A}


def svals(x):
    return np.linalg.svd(np.atleast_2d(x), compute_uv=False)


def entries(theta):
    return np.concatenate([np.ravel(x) for x in theta.values()])


# Every named norm and its dual, from numpy.linalg alone.
BY_NUMPY = {
    "l1": (lambda t: np.linalg.norm(entries(t), 1), lambda t: np.linalg.norm(entries(t), np.inf)),
    "l2": (lambda t: np.linalg.norm(entries(t)), lambda t: np.linalg.norm(entries(t))),
    "linf": (lambda t: np.linalg.norm(entries(t), np.inf), lambda t: np.linalg.norm(entries(t), 1)),
    "spectral": (
        lambda t: max(np.linalg.norm(np.atleast_2d(x), 2) for x in t.values()),
        lambda t: sum(np.linalg.norm(np.atleast_2d(x), "nuc") for x in t.values()),
    ),
    "nuclear": (
        lambda t: sum(np.linalg.norm(np.atleast_2d(x), "nuc") for x in t.values()),
        lambda t: max(np.linalg.norm(np.atleast_2d(x), 2) for x in t.values()),
    ),
    "maxrow": (
        lambda t: max(np.linalg.norm(np.atleast_2d(x), axis=1).max() for x in t.values()),
        lambda t: sum(np.linalg.norm(np.atleast_2d(x), axis=1).sum() for x in t.values()),
    ),
    "sumrow": (
        lambda t: sum(np.linalg.norm(np.atleast_2d(x), axis=1).sum() for x in t.values()),
        lambda t: max(np.linalg.norm(np.atleast_2d(x), axis=1).max() for x in t.values()),
    ),
    "maxcolumn": (
        lambda t: max(np.linalg.norm(np.atleast_2d(x), axis=0).max() for x in t.values()),
        lambda t: sum(np.linalg.norm(np.atleast_2d(x), axis=0).sum() for x in t.values()),
    ),
    "sumcolumn": (
        lambda t: sum(np.linalg.norm(np.atleast_2d(x), axis=0).sum() for x in t.values()),
        lambda t: max(np.linalg.norm(np.atleast_2d(x), axis=0).max() for x in t.values()),
    ),
    "hybrid": (
        lambda t: max(np.linalg.norm(x, 2 if x.ndim == 2 else np.inf) for x in t.values()),
        lambda t: sum(np.linalg.norm(x, "nuc" if x.ndim == 2 else 1) for x in t.values()),
    ),
}


def test_every_named_norm_has_a_reference():
    assert set(NORMS) == set(BY_NUMPY)
    assert len(NORMS) == len(BY_NUMPY)


@pytest.mark.parametrize("name", BY_NUMPY)
def test_value_and_dual_are_numpys(name):
    value, dual = BY_NUMPY[name]
    for theta in (THETA, {"W": W}, {"a": A}, {"W": np.outer(A, A), "V": np.zeros((2, 2))}):
        assert float(NORMS[name].value(theta)) == pytest.approx(value(theta), rel=1e-13)
        assert float(NORMS[name].dual(theta)) == pytest.approx(dual(theta), rel=1e-13)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("schatten:3", sum((svals(x) ** 3).sum() for x in THETA.values()) ** (1 / 3)),
        ("entrywise:1.5", (abs(entries(THETA)) ** 1.5).sum() ** (1 / 1.5)),
        ("rows:3", sum((np.linalg.norm(np.atleast_2d(x), axis=1) ** 3).sum() for x in THETA.values()) ** (1 / 3)),
        ("columns:3", sum((np.linalg.norm(np.atleast_2d(x), axis=0) ** 3).sum() for x in THETA.values()) ** (1 / 3)),
        ("spectral;sum", sum(svals(x)[0] for x in THETA.values())),
        ("spectral;l2", math.sqrt(sum(svals(x)[0] ** 2 for x in THETA.values()))),
        ("spectral;3", sum(svals(x)[0] ** 3 for x in THETA.values()) ** (1 / 3)),
        ("l2;max", max(np.linalg.norm(x) for x in THETA.values())),
        ("hybrid:2.5", max(2.5 * svals(W)[0], 2.5 * svals(V)[0], abs(A).max())),
        ("dual:hybrid:2.5", (svals(W).sum() + svals(V).sum()) / 2.5 + abs(A).sum()),
        ("blocks:W=2*spectral,a=linf,V=0.5*maxrow;max", None),
        ("blocks:W=2*spectral,@matrix=nuclear,*=l1;sum", 2 * svals(W)[0] + svals(V).sum() + abs(A).sum()),
    ],
)
def test_values_by_hand(spec, expected):
    if expected is None:
        expected = max(2 * svals(W)[0], abs(A).max(), 0.5 * np.linalg.norm(V, axis=1).max())
    assert float(get_norm(spec).value(THETA)) == pytest.approx(expected, rel=1e-13)


def test_identity_matrix_under_every_norm():
    values = {name: float(norm.value({"W": np.eye(4)})) for name, norm in NORMS.items()}
    assert values == pytest.approx(
        {
            "l1": 4, "l2": 2, "linf": 1, "spectral": 1, "nuclear": 4, "hybrid": 1,
            "maxrow": 1, "sumrow": 4, "maxcolumn": 1, "sumcolumn": 4,
        }
    )  # fmt: skip


SPECS = [
    *NORMS, "schatten:1.5", "entrywise:3", "rows:2.5", "columns:1.25", "spectral;sum", "spectral;l2", "linf;3",
    "hybrid:0.25", "dual:hybrid:2", "blocks:V=maxrow,W=2*spectral,a=0.5*l1;1.5", "blocks:*=2*linf;max", "schatten:inf",
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_text_form_is_read_back(spec):
    norm = get_norm(spec)
    assert get_norm(norm.spec) == norm
    assert get_norm(norm.name) == norm
    again = get_norm(norm.dual_norm.spec).dual_norm
    assert float(again.value(THETA)) == pytest.approx(float(norm.value(THETA)), rel=1e-14)
    assert get_norm(norm) is norm


def test_names_are_the_short_ones():
    assert get_norm("schatten:inf").name == "spectral"
    assert get_norm("entrywise:1").name == "l1"
    assert get_norm("spectral").dual_norm.name == "nuclear"
    assert get_norm("maxrow").dual_norm.name == "sumrow"
    assert get_norm("schatten:1.5").dual_norm.name == "schatten:3"
    assert get_norm("hybrid:2").name == "hybrid:2"
    assert get_norm("hybrid:1").name == "hybrid"
    assert get_norm("hybrid:2").dual_norm.name == "dual:hybrid:2"
    assert get_norm("hybrid:2").dual_norm.dual_norm.name == "hybrid:2"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("specral", r"unknown norm 'specral'; did you mean 'spectral'\? known: .*l1.*hybrid"),
        ("hybird:2", r"unknown norm 'hybird:2'; did you mean 'hybrid'\?"),
        ("schaten:2", r"did you mean 'schatten'\?"),
        ("", "unknown norm ''"),
        ("schatten:0.5", r"schatten:0.5: the exponent is 0.5, but only 1 <= P <= inf .* schatten:1"),
        ("entrywise:nan", "entrywise:nan.*1 <= P <= inf"),
        ("schatten:-inf", "1 <= P <= inf"),
        ("schatten", "needs schatten:P .* schatten:1.5"),
        ("rows:two", "needs rows:P"),
        ("l2:3", "l2 takes no argument"),
        ("hybrid:-1", r"hybrid:-1.*positive finite.*hybrid:1"),
        ("hybrid:nan", "hybrid:nan.*positive finite"),
        ("hybrid:inf", "positive finite"),
        ("hybrid:0", "positive finite"),
        ("hybrid:x", "hybrid or hybrid:R"),
        ("hybrid;sum", "own aggregation"),
        ("spectral;mean", "max, sum, l2 or a number P"),
        ("spectral;0.5", "1 <= P <= inf"),
        ("dual:spektral", "did you mean 'spectral'"),
        ("blocks:W", "BLOCK=NORM"),
        ("blocks:W=2x*linf", "BLOCK=WEIGHT"),
        ("blocks:W=-2*linf", "weight is -2"),
        ("blocks:W=0*linf", "weight is 0"),
        ("blocks:W=linf,W=l1", "one rule a block"),
        ("blocks:W=hybrid", "unknown norm 'hybrid'"),
        (3, "not int 3"),
    ],
)
def test_errors_say_what_to_do(spec, says):
    with pytest.raises(NormError, match=says):
        get_norm(spec)


def test_custom_norm_from_choices():
    norm = ParameterNorm.of({"W": ("spectral", 2.0), "a": "linf", "@matrix": ("maxrow", 0.5)}, name="mine")
    assert norm.name == "mine"
    assert norm.block("W", (3, 4)) == (get_block_norm("spectral"), 2.0)
    assert norm.block("V", (5, 2)) == (get_block_norm("maxrow"), 0.5)
    assert norm == get_norm("blocks:W=2*spectral,a=linf,@matrix=0.5*maxrow;max")
    assert norm.aggregation == math.inf
    assert norm.dual_norm.name == "dual:mine"
    with pytest.raises(NormError, match=r"says nothing about block 'b' of shape \(2,\)"):
        norm.value({"b": np.ones(2)})
    with pytest.raises(NormError, match="text form"):
        ParameterNorm.of({"a,b": "linf"})
    with pytest.raises(NormError, match="radius"):
        norm.project({"a": A}, -1.0)
    with pytest.raises(NormError, match=r"\(2, 2, 2\).*reshape"):
        get_norm("spectral").value({"K": np.ones((2, 2, 2))})


def test_shape_factor_of_practical_muon_is_a_weight():
    # Muon with the step sqrt(max(1, rows/cols)) * polar factor is steepest descent in the norm with weight 1/factor.
    factor = math.sqrt(max(1, 5 / 2))
    norm = ParameterNorm.of({"V": ("spectral", 1 / factor), "W": "spectral"})
    step = norm.lmo({"V": V, "W": W})
    U, _, Vt = np.linalg.svd(V, full_matrices=False)
    np.testing.assert_allclose(step["V"], -factor * U @ Vt, atol=1e-13)
    assert svals(step["W"]) == pytest.approx(np.ones(3))


@pytest.mark.parametrize("exponent", [-300, -200, -160, 160, 200, 290])
@pytest.mark.parametrize("name", [*NORMS, "schatten:1.5", "entrywise:3", "spectral;l2"])
def test_scale_does_not_matter(name, exponent):
    norm, factor = get_norm(name), 10.0**exponent
    far = scale(THETA, factor)
    assert float(norm.value(far)) / factor == pytest.approx(float(norm.value(THETA)), rel=1e-12)
    assert float(norm.dual(far)) / factor == pytest.approx(float(norm.dual(THETA)), rel=1e-12)
    for block, near in norm.lmo(THETA).items():
        np.testing.assert_allclose(norm.lmo(far)[block], near, atol=1e-12)
    for block, near in norm.project(THETA, 0.5).items():
        np.testing.assert_allclose(norm.project(far, 0.5 * factor)[block] / factor, near, atol=1e-10)


def test_pseudo_polar_factor_ignores_rounding_noise():
    G = np.outer(A, RNG.standard_normal(4)) * 1e-3  # rank one up to 1e-19
    step = get_norm("spectral").lmo({"W": G})["W"]
    assert svals(step) == pytest.approx([1, 0, 0], abs=1e-14)
    np.testing.assert_allclose(step, -G / np.linalg.norm(G), atol=1e-14)


def test_lmo_of_linf_is_minus_sign_with_sign_of_zero_zero():
    np.testing.assert_array_equal(get_norm("linf").lmo({"a": np.array([2.0, 0.0, -1e-300])})["a"], [-1, 0, 1])


def test_lmo_of_l1_and_nuclear_at_ties_is_one_vertex():
    step = get_norm("l1").lmo({"W": np.ones((2, 2)), "a": -np.ones(2)})
    assert sorted(abs(entries(step))) == [0, 0, 0, 0, 0, 1]
    step = get_norm("nuclear").lmo({"W": np.eye(3), "a": np.array([1.0, 0.0])})
    assert sum(svals(x).sum() for x in step.values()) == pytest.approx(1)
    assert float(inner(step, {"W": np.eye(3), "a": np.array([1.0, 0.0])})) == pytest.approx(-1)


def test_normal_cone_of_the_cube_is_the_equal_magnitude_test():
    # THEORY: theta_j = ||theta||_inf sign(h_j) wherever h_j != 0, and only there.
    norm, H = get_norm("linf"), {"a": np.array([2.0, -1.0, 0.0])}
    assert float(norm.normal_cone_residual({"a": np.array([3.0, -3.0, 1.0])}, H)) == 0
    assert float(norm.normal_cone_residual({"a": np.array([3.0, -2.0, 1.0])}, H)) == pytest.approx(1 / 9)
    block = get_block_norm("linf")
    assert float(block.normal_cone_residual(np.array([3.0, -2.0, 1.0]), H["a"])) == pytest.approx(1 / 9)
    assert float(block.normal_cone_residual(np.zeros(3), H["a"])) == 1
    assert float(block.normal_cone_residual(A, np.zeros(3))) == 0


CHECKED = [
    *NORMS, "schatten:1.5", "schatten:2", "schatten:4", "entrywise:3", "rows:1.5", "columns:4", "hybrid:2",
    "dual:hybrid:2", "spectral;sum", "spectral;l2", "linf;3", "blocks:W=2*schatten:3,a=0.5*l1;l2",
]  # fmt: skip


@pytest.mark.parametrize("spec", CHECKED)
def test_capabilities_are_measured(spec):
    # value = cvxpy's, dual = cvxpy's maximum of <G, S> over atom(S) <= 1, lmo and projection by their certificates.
    rows = capabilities([spec])
    assert [row.quantity for row in rows] == list(QUANTITIES)
    assert not {row.rung for row in rows} & {"wrong", "missing"}, rows
    assert table(rows).splitlines()[2].startswith(f"| `{rows[0].norm}` | numerical")


class Doubled(Norm):
    """A norm whose lmo, projection and atom belong to another: the table must not believe it."""

    name, aggregation = "doubled", math.inf

    def __init__(self) -> None:
        self.right = get_norm("linf")

    @property
    def dual_norm(self):
        return self.right.dual_norm

    def block(self, name, shape):
        return self.right.block(name, shape)

    def value(self, theta):
        return self.right.value(theta)

    def dual(self, G):
        return self.right.dual(G)

    def lmo(self, G):
        return get_norm("l2").lmo(G)

    def project(self, theta, radius=1.0):
        return scale(theta, radius / self.value(theta))

    def atom(self, variables):
        return get_norm("l2").atom(variables)


def test_capabilities_of_a_spoiled_norm_are_wrong():
    rungs = {row.quantity: row.rung for row in capabilities([Doubled()])}
    assert rungs == dict.fromkeys(QUANTITIES, "wrong")


@pytest.mark.parametrize("spec", CHECKED)
@pytest.mark.parametrize("radius", [0.15, 0.7])
def test_projection_is_cvxpys(spec, radius):
    norm, theta = get_norm(spec), {"W": W, "a": A}
    reach = radius * float(norm.value(theta))
    point = norm.project(theta, reach)
    S = {name: cp.Variable(x.shape) for name, x in theta.items()}
    distance = sum(cp.sum_squares(S[name] - x) for name, x in theta.items())
    problem = cp.Problem(cp.Minimize(distance), [norm.atom(S) <= reach])
    best = problem.solve(solver=cp.CLARABEL)
    rest = add(theta, point, -1.0)
    assert float(inner(rest, rest)) == pytest.approx(best, rel=1e-7)
    for name in theta:  # strongly convex: a gap e leaves a distance sqrt(e)
        np.testing.assert_allclose(point[name], S[name].value, atol=2e-5)


def test_norms_load_without_cvxpy():
    code = "import sys, maxmargin.solvers.norms as n; n.get_norm('hybrid:2'); print('cvxpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
