"""Linear models, where the margin problem is convex: optimum, optimal face, proof of (non-)separability, enclosure.

Imports the norms, the routes, and exact arithmetic's bounds of norms. Read ``optimum.py`` first.
"""
