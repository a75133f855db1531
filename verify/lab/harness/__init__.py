"""What every experiment of the laboratory plays: an optimizer, built afresh, on prescribed gradients.

Imports the black-box adapter. Read ``session.py``.
"""
