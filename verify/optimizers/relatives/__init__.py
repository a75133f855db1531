"""Adam's relatives, for which no theorem is known: other momenta, other denominators, and what is left below an eps.

Imports ``core`` and Adam's and RMSprop's states. Read ``nadam.py`` first.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
