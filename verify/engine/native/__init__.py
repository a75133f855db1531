"""Native steps: what torch does for one run, recorded once and compiled by LLVM.

``graph.py`` records a function's operators, ``lowering.py`` turns each into LLVM IR by the rules of ``pointwise.py``,
``shapes.py`` and ``algebra.py``, ``compiler.py`` makes machine code of it and keeps that on disk, ``function.py`` calls
it, and ``loop.py`` runs whole trajectories in it. Imports the polar operator, torch and llvmlite.

Why llvmlite, without numba on top (one core, the 8-unit squared ReLU net, n = 12, batch 1):

    =============================  =======================  =============================  ===========
    step                           Signum, µs a step        Adam, µs a step                compilation
    =============================  =======================  =============================  ===========
    torch.jit's interpreter        97 to 129                195 to 308                     0.5 s
    the graph as loops, by numba   0.65                     1.2 to 1.5                     4 to 7 s
    the graph as LLVM IR           0.32                     0.39                           0.11 s
    =============================  =======================  =============================  ===========

Half of numba's compilation is its own front end, and most of the rest LLVM's vectorizers at work on one long function.
Here vectors are written out, so those passes are off; a chain of pointwise operators is one loop; views are strides.
The recorder is a dispatch mode: 2 to 10 ms for a step where ``make_fx`` takes 60 to 200. An exact polar factor of 8 × 5
takes 1.3 µs, torch's call of LAPACK 40.
"""

from maxmargin.verify.engine.native import algebra, pointwise, shapes

__all__ = ["algebra", "pointwise", "shapes"]
