"""Norms: per block, across blocks, weighted; value, dual, lmo, projection, normal cone, cvxpy atom.

A norm lives in one file of this folder, and every file of the folder is loaded here, so that adding a norm touches
no other file.
"""

from importlib import import_module
from pkgutil import iter_modules

from maxmargin.solvers.norms.block import BlockNorm, GaugeNorm, NormError
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
