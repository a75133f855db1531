"""Thresholds of naming a fault (``lab/faults``), module by module."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

# -- lab/faults/case.py -------------------------------------------------------------------------------------------

FAULT_DRAWS = named("FAULT_DRAWS", 20, "gradients", "under which steps are looked at")
STILL_ENTRY = named("STILL_ENTRY", 1e-12, "of a block's largest entry",
    "moves less: rounding of θ − θ' at most",
    "float64")

# -- lab/faults/diagnosis.py --------------------------------------------------------------------------------------

NOISY_RUNS = named("NOISY_RUNS", 0.05, "relative", "where runs differ by more, what else is seen may be noise")

# -- lab/faults/layouts.py ----------------------------------------------------------------------------------------

SAME_LAYOUT = named("SAME_LAYOUT", 0.98, "cosine",
    "with a rearranged rule's step",
    "five Newton–Schulz steps reach 0.98")

# -- lab/faults/constant_gradients.py -----------------------------------------------------------------------------

DESCENDS = named("DESCENDS", 0.2, "cosine",
    "with −gradient, mean over the draws, of a row or entry that plainly should descend")
ASCENDS = named("ASCENDS", 0.6, "of that cosine", "a row or entry that ascends by as much has the wrong sign")
SURE_SIGN = named("SURE_SIGN", 0.5, "cosine",
    "and at least this",
    "the mean of 20 random signs has standard deviation 0.2")
FOLLOWS_NORM = named("FOLLOWS_NORM", 0.995, "alignment", "of a block that follows a norm")
BETTER_NORM = named("BETTER_NORM", 0.01, "alignment", "by which another norm's must exceed the suspected one's")
IMPERFECT = named("IMPERFECT", 1e-4, "1 − alignment", "a larger deficit is worth explaining")
POWER_LAW_RESIDUAL = named("POWER_LAW_RESIDUAL", 0.05, "log |step|", "residual around its line, standard deviation")
SAME_POWER = named("SAME_POWER", 0.03, "exponent", "a larger difference of exponents is one")
OWN_VECTORS = named("OWN_VECTORS", 0.15, "of the step",
    "outside the gradient's singular pairs",
    "Newton–Schulz in bf16 leaves 0.06")
FIXED_FACTOR = named("FIXED_FACTOR", 0.02, "log of a factor",
    "spread of one that is fixed, and least size of one that is not 1")
POLAR_RANGE = named("POLAR_RANGE", 1.02, "ratio", "largest over smallest singular value of a polar factor")

# -- lab/faults/perturbations.py ----------------------------------------------------------------------------------

LOUD_GRADIENT = named("LOUD_GRADIENT", 1e4, "times",
    "a gradient so much larger shows through any average; times its negative, it turns signs")
NO_INFLUENCE = named("NO_INFLUENCE", 1e-9, "relative", "change of a step that shows no influence at all", "float64")
CROSS_BLOCKS = named("CROSS_BLOCKS", 1e-2, "relative",
    "change of one block's step with the sign of another's gradients")
MIXED_UP_SEEDS = named("MIXED_UP_SEEDS", 3, "draws",
    "of gradients, each of which has to show that parameters of one shape are mixed up",
    "a distance that all parameters share (Prodigy's) answers to some signs and not to others")
EVEN_PART = named("EVEN_PART", 1e-2, "relative", "‖Δ(−g) + Δ(g)‖ / ‖Δ(g)‖ of an even part")
LOPSIDED = named("LOPSIDED", 0.8, "ratio", "of the largest moves up and down")
CENTRED = named("CENTRED", (0.02, 0.15), "relative",
    "a step that changes by at most the first where the norm's changes by the second")
NULL_SPACE = named("NULL_SPACE", 0.05, "of the step's singular values", "what moves in directions without gradient")
RANDOM_STEP = named("RANDOM_STEP", 1e-6, "relative", "a larger difference between two runs is random")
TURNED_AROUND = named("TURNED_AROUND", 1.5, "1 − cosine",
    "of two first steps after other instances with gradients of opposite signs")
OTHER_WEIGHTS = named("OTHER_WEIGHTS", -2.0, "times",
    "weights are replaced by so much of themselves: another length, and another sign")
DECAYED = named("DECAYED", (1e-6, 0.99), "relative, cosine",
    "change with the weights, and along them, that shows a decay")
WEIGHT_DEPENDENT = named("WEIGHT_DEPENDENT", 1e-3, "relative",
    "change with the weights, of no known form",
    "above float32's rounding of the weights")
TURNED = named("TURNED", 0.99, "cosine", "of two steps on gradients of one direction and different sizes")
GRADIENT_SIZES = named("GRADIENT_SIZES", tuple(2.0**k for k in range(-8, 9, 2)), "times",
    "sizes of gradients that are tried")
TIED_ENTRIES = named("TIED_ENTRIES", 1e-6, "relative", "entries closer are of one size")
CLIPPED = named("CLIPPED", (0.15, 0.9), "of a block's entries",
    "that are of its largest size, between free and all clipped")
MANY_TIED = named("MANY_TIED", {1: 2, 2: 3}, "entries",
    "of one size, by dimensions",
    "a matrix rounded to bf16 may have two by accident")
