"""KKT points of any homogeneous model: the gap Γ, the natural residual, matching from a trajectory's end, classes.

Imports the norms, the routes and the linear optimum. Read ``gap.py`` first, then ``residual.py`` and ``matching.py``.
"""
