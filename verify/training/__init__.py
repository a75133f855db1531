"""Long runs of an optimizer on a problem: by the engine where it is ours or has a twin, else by its own ``step``.

Imports the engine, the laboratory and the black-box adapter. Read ``train.py`` first.
"""
