"""Every number that decides, once: its value, unit and reason, and the measurement that it came from.

``judging.py`` holds those of evidence, rules and tiers, ``training.py`` those of the runs; the others are named for the
folders whose short experiments on a black box they decide. A name stands for one thing in the whole project. Imports
nothing of the project. Read ``table.py`` first, or ``maxmargin list thresholds``.
"""
