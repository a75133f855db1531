"""The engine: runs of one optimizer on one problem, in batches, to margins of any size; and the limiting flow.

Imports models, solvers, optimizers, progress and the results' files. Read ``run.py`` first, then ``stepping.py`` (one
step for one run) and ``tracing.py`` (that step made fast).
"""
