"""Norms: per block, across blocks, weighted; value, dual, lmo, projection, normal cone, cvxpy atom.

Every file of this folder is loaded here, and a norm makes itself known by a decorator, so adding one is adding one
file. Say, ℓ_P over the entries taken two by two, as complex numbers (``maxmodulus`` is their largest modulus)::

    from __future__ import annotations

    import math
    from collections.abc import Callable, Mapping
    from dataclasses import dataclass
    from typing import Any, ClassVar, final

    import cvxpy as cp
    from array_api_compat import array_namespace
    from typing_extensions import override

    from maxmargin.models.blocks import Array
    from maxmargin.solvers.norms.atoms import lp_atom, vector
    from maxmargin.solvers.norms.block import GaugeNorm
    from maxmargin.solvers.norms.families import register
    from maxmargin.solvers.norms.axes import row_norms


    @register
    @final
    @dataclass(frozen=True)
    class Modulus(GaugeNorm):
        family: ClassVar[str] = "modulus"
        members: ClassVar[Mapping[str, float]] = {"maxmodulus": math.inf}

        @override
        def split(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
            xp, shape, size = array_namespace(x), tuple(x.shape), math.prod(x.shape)
            flat = xp.reshape(x, (-1,))
            even = xp.concat([flat, xp.zeros_like(flat[: size % 2])])  # an odd one out has imaginary part 0
            v, unit = row_norms(xp.reshape(even, (-1, 2)))
            return v, lambda t: xp.reshape(xp.reshape(unit * t[:, None], (-1,))[:size], shape)

        @override
        def atom(self, x: Any) -> Any:
            even = cp.hstack([vector(x), 0.0]) if x.size % 2 else vector(x)
            return lp_atom(cp.norm(cp.reshape(even, (-1, 2), order="C"), 2, axis=1), self.p)

That is all: ``get_norm("maxmodulus")``, ``get_norm("modulus:1.5")``, its dual and
``get_norm("blocks:W=2*modulus:3,a=linf;sum")`` exist, and ``laws.check_laws`` tries it. (A test runs this very text.)
What is more, such as a proved bound for ``solve --certify``, is a method of :class:`BlockNorm` to write there too.
A norm that is no ℓ_p of magnitudes derives from :class:`BlockNorm` instead and writes its own value, dual norm and
projection; one of the whole parameter that is no choice block by block derives from :class:`Norm`.
"""

from importlib import import_module
from pkgutil import iter_modules

from maxmargin.models.errors import NormError
from maxmargin.solvers.norms.block import BlockNorm, GaugeNorm
from maxmargin.solvers.norms.families import get_block_norm, register
from maxmargin.solvers.norms.parameter import Norm, ParameterNorm, Rule
from maxmargin.solvers.norms.registry import NORMS, get_norm, register_whole

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "NORMS",
    "BlockNorm",
    "GaugeNorm",
    "Norm",
    "NormError",
    "ParameterNorm",
    "Rule",
    "get_block_norm",
    "get_norm",
    "register",
    "register_whole",
]
