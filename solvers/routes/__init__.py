"""Solvers of one saddle problem, max over the unit ball, min over the simplex, of λᵀAθ; and of one smooth program.

Each file is one route for some norms; none is trusted: ``saddle.py`` recomputes both bounds from (θ, λ) and keeps the
best. Imports the norms. Read ``saddle.py`` first, then the protocol in ``route.py``.
"""
