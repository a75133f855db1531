"""Versions of everything that a number depends on, for the results files."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "maxmargin", "numpy", "scipy", "cvxpy", "torch", "llvmlite", "clarabel", "scs", "highspy", "osqp", "python-flint"
)  # fmt: skip


def versions() -> dict[str, str]:
    """Python's version and each package's, by name; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
