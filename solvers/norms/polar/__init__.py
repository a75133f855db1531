"""The pseudo-polar factor of a matrix of any rank: by LAPACK, and by Jacobi rotations without a branch for GPUs.

Torch and numpy only. Read ``factor.py`` first: it chooses between the others.
"""
