"""Model families, one file each: a homogeneous model in torch, written for one parameter, and how its name builds it.

They import :mod:`maxmargin.models.model` and the registry, nothing else of the project. Read ``linear.py`` first.
"""
