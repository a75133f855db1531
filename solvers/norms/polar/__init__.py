"""The pseudo-polar factor of a matrix of any rank: scaled Newton iteration in batches, Jacobi, LAPACK.

Torch and numpy only. Read ``factor.py`` first: it chooses between the others.
"""
