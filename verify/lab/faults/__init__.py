"""What is wrong with an optimizer's steps, seen from a norm: faults, each with its size.

Imports ``lab.norm`` and ``lab.probe``. Read ``finding.py`` first, then ``diagnosis.py``.
"""
