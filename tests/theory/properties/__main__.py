"""Run one property on one case: ``PYTHONPATH=tests python -m theory.properties FILE "PROPERTY(CASE)"``."""

import sys
from importlib import import_module

import theory.conftest  # noqa: F401  (registers the profiles)

_, file, expression = sys.argv
eval(expression, vars(import_module(f"theory.properties.{file}")))
print("holds:", expression)
