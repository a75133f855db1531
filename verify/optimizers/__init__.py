"""The optimizers of the engine: one idea a file, each registered where it is written.

Adding one touches one file: write a module in this folder with

    @register("my-optimizer", "what it does, in a line")
    @dataclass(frozen=True)
    class MyOptimizer(OneMoment):
        beta: float = 0.9

        def facts(self) -> Facts: ...
        def direction(self, state, gradient, step): ...

(or a factory of such a class), and it is in ``maxmargin list optimizers``, in ``maxmargin check my-optimizer`` and in
the registry's tests.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from maxmargin.verify.optimizers.core.base import OPTIMIZERS, Optimizer, OptimizerError, get_optimizer

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["OPTIMIZERS", "Optimizer", "OptimizerError", "get_optimizer"]
