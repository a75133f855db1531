"""What is measured of a finished run: gaps, alignment, slopes and matched points by norm; the theorems' hypotheses.

Imports the solvers, the engine's trajectories and the laboratory's records. Read ``measure.py`` first.
"""
