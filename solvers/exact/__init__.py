"""Exact arithmetic: polynomial KKT systems, interval proofs that a point exists, bounds of norms, symbolic answers.

Rational and ball arithmetic (FLINT) and sympy; imports the norms and the models. Read ``interpreter.py`` first, then
``krawczyk.py``.
"""
