"""A model's own code run on exact numbers: rationals, algebraic numbers, polynomials.

``model.scores`` is traced once by torch (``make_fx``) into the list of tensor operations that it performs, and that
list is carried out again on numpy arrays of objects: sympy expressions, flint rationals or flint polynomials. So
the symbolic twin of a model is not written by hand; it *is* the model, and a mistake in the model is in the twin too.

Only operations that keep the entries of a commutative ring are known, plus the piecewise linear ones (relu and its
kin), which become ``gate · z`` with a gate in {0, 1} that the ring's ``gate`` function chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any, final

import numpy as np
import torch

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem

Objects = np.ndarray
"""A numpy array of dtype object."""


class Untranslatable(ValueError):
    """A model whose code uses an operation that has no exact meaning here."""


@final
@dataclass(frozen=True)
class Ring:
    """What the entries are.

    Attributes:
        constant: Brings an exact rational into the ring.
        gate: For the preactivation z of a relu, the indicator of z > 0 as an element of the ring (relu(z) = gate·z).
            Called once for each entry, in the order in which the model's code meets them.
        power: z to an exponent that is no positive integer; None where the ring has none.
    """

    constant: Callable[[Fraction], Any]
    gate: Callable[[Any], Any]
    power: Callable[[Any, Fraction], Any] | None = None


def trace(model: HomogeneousModel, samples: int = 1) -> torch.fx.GraphModule:
    """The graph of the tensor operations of ``model.scores`` on ``samples`` inputs, as torch performs them."""
    from torch.fx.experimental.proxy_tensor import make_fx

    names = list(model.shapes)
    blocks = [torch.ones(shape, dtype=torch.float64) for shape in model.shapes.values()]
    X = torch.ones(samples, model.features, dtype=torch.float64)
    # Blocks are passed one by one: as a dict, torch would put them in an order of its own.

    def run(inputs: torch.Tensor, *theta: torch.Tensor) -> torch.Tensor:
        return model.scores(dict(zip(names, theta, strict=True)), inputs)

    # functionalize: a list of operations could not say which earlier results a write in place changes.
    return make_fx(torch.func.functionalize(run, remove="mutations"))(X, *blocks)


def scores(
    model: HomogeneousModel, theta: Mapping[str, Any], X: Any, ring: Ring, graph: torch.fx.GraphModule | None = None
) -> Objects:
    """f(θ; x) for each row of X, computed in ``ring`` by the operations of the model's own code.

    Args:
        model: The model.
        theta: Block name → array of ring elements of the block's shape.
        X: Inputs (n, features), ring elements.
        ring: Where the entries live.
        graph: The model traced on n samples, if at hand.

    Returns:
        Object array (n, outputs).

    Raises:
        Untranslatable: naming the operation that has no exact meaning.

    Example:
        >>> from maxmargin.models.families.linear import MulticlassLinear
        >>> import sympy as sp
        >>> w, numbers = sp.symbols("w0:4"), Ring(sp.Rational, sp.Heaviside)
        >>> scores(MulticlassLinear(2, 2), {"W": np.array(w).reshape(2, 2)}, [[1, sp.Rational(1, 3)]], numbers)
        array([[w0 + w1/3, w2 + w3/3]], dtype=object)
    """
    X = _objects(X)
    graph = graph if graph is not None else trace(model, len(X))
    inputs = iter([X, *(_objects(theta[name]) for name in model.shapes)])
    values: dict[torch.fx.Node, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(inputs)
        elif node.op == "get_attr":
            values[node] = _constants(getattr(graph, node.target), ring)
        elif node.op == "call_function":
            args = torch.fx.node.map_arg(node.args, values.__getitem__)
            kwargs = torch.fx.node.map_arg(node.kwargs, values.__getitem__)
            values[node] = _apply(node.target, args, kwargs, ring)
        elif node.op == "output":
            result = torch.fx.node.map_arg(node.args[0], values.__getitem__)
            return result if isinstance(result, np.ndarray) else result[0]
    raise Untranslatable(f"the traced code of model {model.name!r} returns nothing")  # pragma: no cover


def margins(problem: Problem, theta: Mapping[str, Any], ring: Ring) -> Objects:
    """All margins m_i(θ) in ``ring``, (n_margins,), the data taken as the exact rationals that their floats are."""
    f = scores(problem.model, theta, _constants(problem.X, ring), ring)
    contrasts = _constants(problem.contrasts, ring)
    return np.concatenate([contrast @ row for contrast, row in zip(contrasts, f, strict=True)])


def rational(value: float | Fraction) -> Fraction:
    """The exact rational that a float is."""
    return value if isinstance(value, Fraction) else Fraction(float(value))


def filled(items: Sequence[Any], shape: tuple[int, ...]) -> Objects:
    """An array of these entries; numpy would try to iterate over a polynomial."""
    out = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        out[i] = item
    return out.reshape(shape)


def _objects(values: Any) -> Objects:
    return values if isinstance(values, np.ndarray) and values.dtype == object else np.asarray(values, dtype=object)


def _cell(value: Any) -> Objects:
    # numpy would iterate over a bare polynomial (it has a length), so a scalar is put into its cell by hand.
    if isinstance(value, np.ndarray):
        return value
    out = np.empty((), dtype=object)
    out[()] = value
    return out


def _constants(values: Any, ring: Ring) -> Objects:
    values = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    out = np.empty(values.shape, dtype=object)
    for index, value in np.ndenumerate(values):
        out[index] = ring.constant(rational(value))
    return out


def _gate(z: Objects, ring: Ring) -> Objects:
    out = np.empty(z.shape, dtype=object)
    for index, value in np.ndenumerate(z):
        out[index] = ring.gate(value)
    return out


def _number(x: Any, ring: Ring) -> Any:
    return x if isinstance(x, np.ndarray) else _cell(ring.constant(rational(x)))


def _dims(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def _power(ring: Ring, x: Objects, exponent: float) -> Objects:
    if exponent == int(exponent) and exponent >= 1:
        return reduce(np.multiply, [x] * int(exponent))
    if ring.power is None:
        raise Untranslatable(f"a power with exponent {exponent}: only positive integers keep a polynomial")
    return filled([ring.power(z, rational(exponent)) for z in x.ravel()], x.shape)


# Operations that need nothing from the ring but + and ·. Names are torch's own (aten).
_PLAIN: dict[str, Callable[..., Any]] = {
    "mm": np.matmul,
    "mv": np.matmul,
    "bmm": np.matmul,
    "dot": np.matmul,
    "t": np.transpose,
    "permute": np.transpose,
    "transpose": np.swapaxes,
    "view": lambda x, shape: x.reshape(shape),
    "_unsafe_view": lambda x, shape: x.reshape(shape),
    "reshape": lambda x, shape: x.reshape(shape),
    "expand": lambda x, shape: np.broadcast_to(
        x, [n if n != -1 else m for n, m in zip(shape, (1,) * (len(shape) - x.ndim) + x.shape, strict=True)]
    ),
    "unsqueeze": np.expand_dims,
    "squeeze": lambda x, dim=None: np.squeeze(x, axis=_dims(dim)),
    "squeeze_": lambda x, dim=None: np.squeeze(x, axis=_dims(dim)),  # inside torch's own matmul, on a fresh result
    "select": lambda x, dim, index: x[(slice(None),) * (dim % x.ndim) + (index,)],
    "slice": lambda x, dim=0, start=None, end=None, step=1: x[
        (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)
    ],
    "cat": lambda parts, dim=0: np.concatenate(parts, axis=dim),
    "stack": lambda parts, dim=0: np.stack(parts, axis=dim),
    "neg": np.negative,
    "square": lambda x: x * x,
    "prod": lambda x, dim=None, keepdim=False, **_: np.prod(x, axis=dim, keepdims=keepdim),
    "sum": lambda x, dim=None, keepdim=False, **_: np.sum(x, axis=_dims(dim) or None, keepdims=keepdim),
    "clone": lambda x, **_: x,
    "detach": lambda x: x,
    "alias": lambda x: x,
    "lift_fresh_copy": lambda x: x,
    "_to_copy": lambda x, **_: x,
}

# Operations with numbers among their arguments, or gates.
_WITH_RING: dict[str, Callable[..., Any]] = {
    "pow": _power,
    "add": lambda ring, x, y, alpha=1: _number(x, ring) + _number(alpha, ring) * _number(y, ring),
    "sub": lambda ring, x, y, alpha=1: _number(x, ring) - _number(alpha, ring) * _number(y, ring),
    "rsub": lambda ring, x, y, alpha=1: _number(y, ring) - _number(alpha, ring) * x,
    "mul": lambda ring, x, y: _number(x, ring) * _number(y, ring),
    "div": lambda ring, x, y: x * _number(_reciprocal(y), ring),
    "addmm": lambda ring, bias, x, y: bias + x @ y,
    "relu": lambda ring, z: _gate(z, ring) * z,
    "clamp": lambda ring, z, low=None, high=None: _clamp(ring, z, low, high),
    "clamp_min": lambda ring, z, low: _clamp(ring, z, low, None),
    "leaky_relu": lambda ring, z, slope=0.01: _leaky(ring, z, slope),
    "abs": lambda ring, z: _leaky(ring, z, -1),
    "scalar_tensor": lambda ring, x, **_: _number(x, ring),
}


def _reciprocal(y: Any) -> Fraction:
    if isinstance(y, np.ndarray) or y == 0:
        raise Untranslatable("a division by a tensor or by 0: no polynomial")
    return 1 / rational(y)


def _clamp(ring: Ring, z: Objects, low: float | None, high: float | None) -> Objects:
    if low != 0 or high is not None:
        raise Untranslatable(f"clamp to [{low}, {high}]: only clamp(min=0), that is relu, is homogeneous")
    return _gate(z, ring) * z


def _leaky(ring: Ring, z: Objects, slope: float) -> Objects:
    low = _number(slope, ring)
    return (low + (_number(1, ring) - low) * _gate(z, ring)) * z


def _apply(target: Any, args: Any, kwargs: Any, ring: Ring) -> Any:
    name = getattr(target, "overloadpacket", target).__name__
    if name in _PLAIN:
        return _cell(_PLAIN[name](*args, **kwargs))
    if name in _WITH_RING:
        return _cell(_WITH_RING[name](ring, *args, **kwargs))
    raise Untranslatable(
        f"the model's code calls {name!r}, which has no exact meaning here; write scores with matrix products, sums, "
        "products, integer powers and relu, or add the operation to solvers/exact/interpreter.py"
    )
