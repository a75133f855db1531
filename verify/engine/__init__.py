"""The engine: runs of one optimizer on one problem, in batches, to margins of any size; and the limiting flow.

Imports models, solvers, optimizers, progress and the results' files. Read ``run.py`` first, then ``stepping.py`` (one
step for one run), ``ways.py`` (how runs are taken forward) and ``native`` (that step made fast).
"""
