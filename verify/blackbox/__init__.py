"""The adapter to somebody else's optimizer: how it is built, called, fed, and held while it steps.

Imports the models' blocks and the optimizers' registry. Read ``targets.py`` first, then ``handle.py``.
"""
