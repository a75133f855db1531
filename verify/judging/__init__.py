"""From evidence to an answer: thresholds, rules, conclusion over problems, wording.

Imports results and evidence. Read ``rules.py`` first.
"""
