"""Thresholds of reading a norm off steps (``lab/norm``), module by module."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

# -- lab/norm/signature.py ----------------------------------------------------------------------------------------

SIGNATURE_DRAWS = named("SIGNATURE_DRAWS", 32, "gradients", "whose steps are read")
SIGNATURE_STEPS = named("SIGNATURE_STEPS", 8, "steps",
    "under each gradient; the last one is read",
    "RAdam is plain momentum for five")
APART_STEPS = named("APART_STEPS", 40, "steps", "that follow, to see whether they go on changing")
TURNS = named("TURNS", 0.01, "1 − cosine",
    "of successive steps under a constant gradient, mean of the first and of the second half: more, and they go on "
    "changing",
    "a memory's beginning fades; error feedback: 0.4; Lookahead's steps back, one in five: 0.8")
MEAN_STEPS = named("MEAN_STEPS", 128, "steps",
    "that are taken besides where they go on changing: the mean of half of them is read",
    "what error feedback still owes is a few steps")
SIGNATURE_SPREAD = named("SIGNATURE_SPREAD", 20.0, "ratio",
    "of the largest to the smallest singular value of the gradients")
SIGNATURE_START = named("SIGNATURE_START", 0.3, "size",
    "of the random weights at which steps are taken",
    "at 0 some optimizers treat weights apart")

# -- lab/norm/shape_law.py ----------------------------------------------------------------------------------------

LENGTH_EXACT = named("LENGTH_EXACT", 0.02, "relative", "where steps follow a norm, so do their lengths")
LENGTH_NEAR = named("LENGTH_NEAR", 0.7, "alignment", "least on every shape with the norm in which lengths are measured")
LAW_CLEAR = named("LAW_CLEAR", 1.5, "times", "the second best formula errs by at least so much")
LENGTH_BLUR = named("LENGTH_BLUR", 0.4, "of the deficit of alignment",
    "by which lengths may err where steps only nearly follow")

# -- lab/norm/newton_schulz.py ------------------------------------------------------------------------------------

NEWTON_SCHULZ_MOST = named("NEWTON_SCHULZ_MOST", 15, "iterations", "that are looked for")
NEWTON_SCHULZ_FITS = named("NEWTON_SCHULZ_FITS", 0.05, "relative, root mean square",
    "residual of a polynomial that is the right one",
    "rounding to bf16 leaves 0.02")

# -- lab/norm/powers.py -------------------------------------------------------------------------------------------

POWER_CLEAR = named("POWER_CLEAR", 0.02, "of what the power explains",
    "residual of a line that is a power law: log |step| beyond a sign's or a gradient's",
    "an exact one leaves 1e-12; a soft sign, one Newton–Schulz step and an eps leave 0.1 and more")
POWER_ERRORS = named("POWER_ERRORS", 3.0, "standard errors", "within which a power is a simple one")
POWER_ROUNDING = named("POWER_ROUNDING", 1e-8, "exponent", "what rounding makes of one at most", "float64")
SIMPLE_NEAR = named("SIMPLE_NEAR", 3e-4, "relative",
    "within which an exponent P is a simple one as well: an eps bends it so far, and the gap of the one under the "
    "other is less",
    "MADGRAD's eps makes 3.99997 of 4")
SIMPLE_POWER = named("SIMPLE_POWER", 4, "denominator", "at most, of a simple P: 3/2, 3, 7/4")
OWN_DIRECTIONS = named("OWN_DIRECTIONS", 1e-3, "of the step",
    "outside the gradient's singular pairs or rows, that is still rounding")
LARGEST_TAKEN_APART = named("LARGEST_TAKEN_APART", 1e7, "numbers",
    "held for a block's singular pairs or rows; larger blocks are not taken apart")

# -- lab/norm/reading.py ------------------------------------------------------------------------------------------

BLOCK_TIE = named("BLOCK_TIE", 2e-3, "alignment", "closer block norms are tied at most; the simpler one is named")
DEFICIT_TIE = named("DEFICIT_TIE", 1.0, "of the best one's deficit of alignment",
    "closer norms are tied: exact steps tell them apart")
ROUNDED = named("ROUNDED", 1e-9, "relative", "what rounding leaves of an alignment or a length", "float64")

# -- lab/norm/weights.py ------------------------------------------------------------------------------------------

WEIGHT_TIE = named("WEIGHT_TIE", 0.05, "relative", "closer weights may be equal where steps only nearly follow a norm")
WEIGHT_BLUR = named("WEIGHT_BLUR", 0.3, "of the deficit of alignment", "the same, where that is more")
LENGTH_DEFICIT = named("LENGTH_DEFICIT", 2.0, "times the deficit of alignment",
    "by which a block's length may be off where its step only nearly follows its norm",
    "an eps beside gradients of order one: 1.5 on normal entries")
WEIGHT_ERRORS = named("WEIGHT_ERRORS", 3.0, "standard errors", "over the gradients, by which equal weights may differ")
SPARE_DIGITS = named("SPARE_DIGITS", 3, "digits", "of a weight beyond its error, that rounding it adds none")
WEIGHT_DIGITS = named("WEIGHT_DIGITS", (4, 13), "digits", "of a weight, at least and at most")

# -- lab/norm/fingerprint.py --------------------------------------------------------------------------------------

WHOLE_TIE = named("WHOLE_TIE", 5e-3, "alignment",
    "closer norms of whole steps are tied at most; the simpler one is named")

# -- lab/norm/large_shapes.py -------------------------------------------------------------------------------------

LARGE_DRAWS = named("LARGE_DRAWS", 2, "gradients", "whose steps are read at realistic shapes", "a second a check")
SMALL_DRAWS = named("SMALL_DRAWS", 12, "gradients", "whose steps are read on the small blocks beside them")
LARGE_PATIENCE = named("LARGE_PATIENCE", 1_030, "steps",
    "of a matrix whose state is of another kind than a small one's: what it keeps may not act before",
    "ScalableShampoo computes its first roots in step 1,000")
LARGE_START = named("LARGE_START", 3e-3, "size",
    "of the random weights there: beside many entries a declared decay would show")
SMALL_SIZES = named("SMALL_SIZES", {2: 0.25, 1: 0.4}, "root mean square",
    "of the gradient's entries, by dimensions: a 6 × 4 matrix's and a vector's of five, so that an eps weighs the same")
LARGE_APART = named("LARGE_APART", 0.05, "alignment",
    "by which steps at a realistic shape must miss the small blocks' norm",
    "a sign read as a polar factor is 0.3 off; the same rule differs by less than 0.03")
SAME_DIRECTION = named("SAME_DIRECTION", 0.999, "cosine",
    "of a convolution's step with the flattened matrix's, of one rule")

# -- lab/norm/symmetry.py -----------------------------------------------------------------------------------------

SYMMETRY_DRAWS = named("SYMMETRY_DRAWS", 2, "runs",
    "of each symmetry; the largest error counts, as one draw may fit by luck")
SYMMETRY_NOISE = named("SYMMETRY_NOISE", 0.3, "of the entries' root mean square",
    "by which gradients change from step to step")
SYMMETRY_SCALES = named("SYMMETRY_SCALES", 30.0, "factor",
    "by which rows, columns, entries and blocks are scaled, up and down")
SYMMETRY_HOLDS = named("SYMMETRY_HOLDS", 0.1, "relative",
    "an error below is a symmetry",
    "five Newton–Schulz steps in bf16 err by up to 0.07, what has none by 0.15 and more")
SYMMETRY_EXACT = named("SYMMETRY_EXACT", 1e-9, "relative",
    "an lmo in float64 has a symmetry to this, or has it not",
    "float64")
SYMMETRY_PLAIN = named("SYMMETRY_PLAIN", 0.15, "relative",
    "a symmetry that the lmo lacks by less is not held against a step that has it")

# -- lab/norm/preconditioners.py ----------------------------------------------------------------------------------

BURST = named("BURST", 30.0, "times", "the size of a part of the gradient in one step")
BURST_LADDER = named("BURST_LADDER", (1.0, 1.5, 2.0, 4.0, 8.0, 15.0, 30.0), "times",
    "sizes of that part under constant gradients")
RESPONSE_SLACK = named("RESPONSE_SLACK", 1.25, "factor",
    "by which a response may leave the range: a bend between two sizes")
BURST_INDEPENDENT = named("BURST_INDEPENDENT", 1e-3, "relative",
    "a burst elsewhere that changes an entry's step by less leaves it alone")
