import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maxmargin.models.blocks import (
    BlockError,
    add,
    as_numpy,
    as_torch,
    check_shapes,
    flatten,
    inner,
    scale,
    shapes_of,
    size,
    unflatten,
)

block_shapes = st.lists(st.one_of(st.tuples(st.integers(1, 3)), st.tuples(*[st.integers(1, 3)] * 2)), min_size=1)
entries = st.floats(-8, 8, width=32)


@st.composite
def parameters(draw, sets=1):
    shapes = {f"b{i}": shape for i, shape in enumerate(draw(block_shapes.filter(lambda s: len(s) <= 4)))}
    drawn = [
        {name: draw(hnp.arrays(float, shape, elements=entries)) for name, shape in shapes.items()} for _ in range(sets)
    ]
    return shapes, *drawn


few = settings(derandomize=True, deadline=None, max_examples=30)


@few
@given(parameters())
def test_unflatten_inverts_flatten(drawn):
    shapes, theta = drawn
    vector = flatten(theta, shapes)
    assert vector.shape == (size(shapes),)
    back = unflatten(vector, shapes)
    assert shapes_of(back) == shapes
    for name in shapes:
        np.testing.assert_array_equal(back[name], theta[name])


@few
@given(parameters(sets=2))
def test_inner_add_and_scale_are_those_of_the_vectors(drawn):
    shapes, a, b = drawn
    u, v = flatten(a, shapes), flatten(b, shapes)
    np.testing.assert_allclose(inner(a, b), u @ v, atol=1e-10)
    np.testing.assert_allclose(flatten(add(a, b, -0.5), shapes), u - 0.5 * v, atol=1e-12)
    np.testing.assert_allclose(flatten(scale(a, 3.0), shapes), 3.0 * u, atol=1e-12)


def test_torch_and_numpy_flatten_alike_and_keep_leading_axes():
    shapes = {"W": (2, 3), "a": (2,)}
    rng = np.random.default_rng(0)
    theta = {name: rng.standard_normal((5, 4, *shape)) for name, shape in shapes.items()}
    flat = flatten(theta, shapes)
    assert flat.shape == (5, 4, 8)
    np.testing.assert_array_equal(flat[2, 1], np.concatenate([theta["W"][2, 1].ravel(), theta["a"][2, 1]]))
    np.testing.assert_array_equal(flatten(as_torch(theta), shapes).numpy(), flat)
    np.testing.assert_array_equal(unflatten(flat, shapes)["W"], theta["W"])


def test_as_numpy_is_float64_and_a_copy():
    block = torch.ones(2, dtype=torch.float32, requires_grad=True)
    copy = as_numpy({"a": block})["a"]
    assert copy.dtype == np.float64
    original = np.ones(2)
    as_numpy({"a": original})["a"][0] = 7.0
    assert original[0] == 1.0


def test_missing_and_misshapen_blocks_are_named():
    shapes = {"W": (2, 3)}
    with pytest.raises(BlockError, match=r"blocks \['V'\], the model needs \['W'\]"):
        check_shapes({"V": np.ones((2, 3))}, shapes)
    with pytest.raises(BlockError, match=r"block 'W' has shape \(3, 2\), the model needs \(2, 3\)"):
        check_shapes({"W": np.ones((3, 2))}, shapes)
