"""How an optimizer behaves: degrees of its state, eps, memory, randomness, dependence on weights, precision, strides.

Imports the black-box adapter and the harness. Read ``probes.py`` first.
"""
