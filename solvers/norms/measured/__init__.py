"""Norms that measurement gives: they have no text form, and belong to the blocks that they were measured on.

Imports the contracts of norms. Read ``metric.py`` first.
"""
