"""Which norm an optimizer's steps follow: its signature under constant gradients, read as block norms and weights.

Imports the black-box adapter and the harness. Read ``signature.py`` first, then ``reading.py`` and ``fingerprint.py``.
"""
