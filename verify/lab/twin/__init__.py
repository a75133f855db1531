"""The search for one of the engine's recursions that a black box follows step by step, and the proof that it does.

Imports ``lab.probe``, the optimizers and the norms. Read ``search.py`` first.
"""
