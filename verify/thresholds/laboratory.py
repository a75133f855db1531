"""Thresholds of the laboratory and of the black-box adapter, module by module."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# -- blackbox/learning_rate.py ------------------------------------------------------------------------------------

RATE_HONOURED = named(
    "RATE_HONOURED", 1e-6, "relative", 'error of "twice the rate moves twice as far" that is rounding'
)
RATE_USABLE = named(
    "RATE_USABLE",
    0.45,
    "relative",
    "a larger error is a rate that is not read",
    "one that is not read at all errs by 0.5",
)
RATE_BEFORE = named("RATE_BEFORE", 7, "steps", "before the rate is doubled")
RATE_PATIENCE = named("RATE_PATIENCE", 60, "steps", "at most so many more until a step is seen")

# -- blackbox/calling.py ------------------------------------------------------------------------------------------

DEFAULT_RATE = named(
    "DEFAULT_RATE", 1e-3, "learning rate", "where one is required and none is given", "torch's defaults"
)
TRIAL_CALLS = named("TRIAL_CALLS", 2, "steps", "that a call must survive", "the first may be none")

# -- blackbox/leaves.py -------------------------------------------------------------------------------------------

STATE_DEPTH = named("STATE_DEPTH", 5, "containers", "within containers of an optimizer's state that are looked into")

# -- lab/harness/session.py ---------------------------------------------------------------------------------------

WARM_STEPS = named(
    "WARM_STEPS", 8, "steps", "of a run: some optimizers make no move at first, or warm up", "RAdam: six steps"
)
FIRST_MOVE = named("FIRST_MOVE", 60, "steps", "further ones until one moves")

# -- lab/probe/probes.py ------------------------------------------------------------------------------------------

EXACT_SCALE = named(
    "EXACT_SCALE",
    1e-9,
    "relative",
    "what is left when powers of two are rescaled: rounding in sums of different order",
    "float64",
)
POWER_FITS = named("POWER_FITS", 0.5, "relative", "a smaller difference lets a power law be the right one, eps apart")
STEP_LOST = named("STEP_LOST", 1e-13, "of the weights", "shorter steps lose more than 0.1 % to rounding", "float64")
OTHER_STEP = named("OTHER_STEP", 0.1, "relative", "a change of the update that is no longer the same optimizer")

# -- lab/probe/floor.py -------------------------------------------------------------------------------------------

FED_USUAL = named(
    "FED_USUAL", 120, "2^−k", "down to which gradients are tried rung by rung", "every eps in use; float32 ends there"
)
FED_DEEPEST = named(
    "FED_DEEPEST", 480, "2^−k", "down to which gradients are fed", "squares underflow from 2^−500 on: float64"
)
UNDERFLOWN = named(
    "UNDERFLOWN", 8, "2^−k", "below where a step changes, after which arithmetic that underflows leaves nothing"
)
TINY_NUMBER = named(
    "TINY_NUMBER", 1e-100, "a constructor's number", "a smaller one is tried enlarged: no gradient shows it"
)
RAISED_TO = named("RAISED_TO", (1e-60, 1e-80), "a constructor's number", "that is tried in place of a tiny one")

# -- lab/probe/strides.py -----------------------------------------------------------------------------------------

CALLS_WATCHED = named("CALLS_WATCHED", 40, "calls", "of step() in which the blocks' moves are watched")
MOVES_SEEN = named("MOVES_SEEN", 3, "moves", "of a block before the interval between them is believed")
SLOWEST_STRIDE = named(
    "SLOWEST_STRIDE", 12, "calls", "between two moves; an optimizer that waits longer is taken as it is"
)

# -- lab/probe/beginnings.py --------------------------------------------------------------------------------------

BEGINNING_CALLS = named("BEGINNING_CALLS", 40, "calls", "of step() in which another kind of first steps is looked for")
BEGINNING_SCALE = named(
    "BEGINNING_SCALE", 4.0, "times", "larger gradients show the power by which a step's length grows"
)
BEGINNING_OTHER = named("BEGINNING_OTHER", 0.5, "a power", "apart from the later steps' makes a first one another kind")
BEGINNING_SURE = named(
    "BEGINNING_SURE", 0.05, "a power", "from a whole number, at most, in every step of the later half, or all are kept"
)

# -- lab/probe/precision.py ---------------------------------------------------------------------------------------

SMOOTH_RUNGS = named(
    "SMOOTH_RUNGS", (3, 4, 5), "ε = 2^−k", "at which a bfloat16 still answers smoothly", "bfloat16's 8 bits"
)
EPS_LADDER = named("EPS_LADDER", tuple(range(7, 37, 2)), "ε = 2^−k", "that are tried below", "float32 has 24 bits")
UNEVEN = named("UNEVEN", 3.0, "times", "an answer per ε that is so much too small or too large is a rounding")
MOSTLY_UNEVEN = named("MOSTLY_UNEVEN", 0.8, "of the answers", "below a rounding unit are uneven")
LEAST_ANSWER = named("LEAST_ANSWER", 1e-3, "relative", "a smaller answer may be noise of a low precision already")
ANSWERING = named("ANSWERING", 0.5, "of the entries", "change with ε = 2^−5", "of a sign's, hardly any")
ABOVE_ROUNDING = named(
    "ABOVE_ROUNDING", 100.0, "times the rounding of the weights", "smaller changes of the step are not looked at"
)
FINE_RUNG = named("FINE_RUNG", 15, "ε = 2^−k", "a jump below is no rounding of a low precision")
JUMP = named("JUMP", 0.1, "relative", "change of a block's step that is such a jump", "an eigenbasis that turns")
ROUNDING_UNITS = named(
    "ROUNDING_UNITS",
    {"bfloat16 or float16": (1e-5, 0.3), "float32": (1e-9, 4e-6)},
    "relative, from and to",
    "rounding units by number format",
    "those read off the steps spread by a factor of 30 or so",
)

ROUNDINGS = named(
    "ROUNDINGS", 4.0, "roundings of the weights", "by which two steps may differ: before and after each of them"
)
BLURRED = named(
    "BLURRED",
    1e-5,
    "relative",
    "rounding of the weights that still lets effects be told: float32's, at steps as long as the weights",
    "a decay of 1e-4 of the weights shows with 6e-5, float32 blurs to 2e-6, bfloat16 to 1e-1",
)

# -- lab/probe/memory.py ------------------------------------------------------------------------------------------

NEVER_FORGETS = named(
    "NEVER_FORGETS", 1 - 1e-12, "per step", "a state that keeps more of itself does not decay", "float64"
)
SHAPED_STEPS = named(
    "SHAPED_STEPS",
    16,
    "steps",
    "whose directions are compared after a part of the state that never forgets was changed",
)
SMALL = named(
    "SMALL",
    2.0**-12,
    "of the gradient",
    "gradients beside which a sum of larger ones stands still, and whose steps rounding still leaves nine digits",
)
SAME_SHAPE = named(
    "SAME_SHAPE",
    1e-4,
    "relative",
    "a smaller change of steps' directions is rounding, or a mixture of moments: that state sets their length alone",
    "Adagrad's sum and a maximum: 2e-2 and more; DAdaptSGD's first norm: 1e-11",
)
DROP_TURNS = named("DROP_TURNS", 64, "steps", "after the gradient's drop, in which every state has had its turn")
MEMORY_WATCHED = named("MEMORY_WATCHED", 4096, "steps", "that a state is watched at most")
MEMORY_SETTLED = named(
    "MEMORY_SETTLED", 0.05, "relative", "fall of what a state forgets in a step, over twice the time, that is none"
)
MEMORY_SETTLING = named(
    "MEMORY_SETTLING", 0.3, "relative", "the same, that is not yet the fall of 1/t", "1/t falls by 0.5"
)

# -- lab/probe/habits.py ------------------------------------------------------------------------------------------

HABIT_SEEN = named(
    "HABIT_SEEN", 1e-9, "relative", "smaller differences are rounding in sums of another order", "float64"
)

# -- lab/probe/own_pace.py ----------------------------------------------------------------------------------------

OWN_CALLS = named("OWN_CALLS", 400, "calls", "of step() on one gradient, whose lengths are watched")
OWN_POWER = named(
    "OWN_POWER", 0.1, "power of the call's number", "with which they change, that is more than averages filling up"
)

# -- lab/probe/finite.py ------------------------------------------------------------------------------------------

FINITE_SCALES = named(
    "FINITE_SCALES",
    tuple(10.0**k for k in range(-8, 9)),
    "size of the gradients' entries",
    "at which every step must be finite",
    "what training shows an optimizer; squares of them are far from the ends of float32",
)
FINITE_CALLS = named("FINITE_CALLS", 8, "calls", "of step() at each of these sizes", "most failures show in the first")
ZERO_CALLS = named("ZERO_CALLS", 5, "calls", "of step() on gradients that are exactly 0")
FINITE_LONGEST = named(
    "FINITE_LONGEST", 20_000, "calls", "most after which a step that failed elsewhere is looked for again", "time"
)

# -- lab/norm/signature.py ----------------------------------------------------------------------------------------

SIGNATURE_DRAWS = named("SIGNATURE_DRAWS", 32, "gradients", "whose steps are read")
SIGNATURE_STEPS = named(
    "SIGNATURE_STEPS", 8, "steps", "under each gradient; the last one is read", "RAdam is plain momentum for five"
)
SIGNATURE_SPREAD = named(
    "SIGNATURE_SPREAD", 20.0, "ratio", "of the largest to the smallest singular value of the gradients"
)
SIGNATURE_START = named(
    "SIGNATURE_START",
    0.3,
    "size",
    "of the random weights at which steps are taken",
    "at 0 some optimizers treat weights apart",
)

# -- lab/norm/shape_law.py ----------------------------------------------------------------------------------------

LENGTH_EXACT = named("LENGTH_EXACT", 0.02, "relative", "where steps follow a norm, so do their lengths")
LENGTH_NEAR = named("LENGTH_NEAR", 0.7, "alignment", "least on every shape with the norm in which lengths are measured")
LAW_CLEAR = named("LAW_CLEAR", 1.5, "times", "the second best formula errs by at least so much")
LENGTH_BLUR = named(
    "LENGTH_BLUR", 0.4, "of the deficit of alignment", "by which lengths may err where steps only nearly follow"
)

# -- lab/norm/newton_schulz.py ------------------------------------------------------------------------------------

NEWTON_SCHULZ_MOST = named("NEWTON_SCHULZ_MOST", 15, "iterations", "that are looked for")
NEWTON_SCHULZ_FITS = named(
    "NEWTON_SCHULZ_FITS",
    0.05,
    "relative, root mean square",
    "residual of a polynomial that is the right one",
    "rounding to bf16 leaves 0.02",
)

# -- lab/norm/powers.py -------------------------------------------------------------------------------------------

POWER_CLEAR = named(
    "POWER_CLEAR",
    0.02,
    "of what the power explains",
    "residual of a line that is a power law: log |step| beyond a sign's or a gradient's",
    "an exact one leaves 1e-12; a soft sign, one Newton–Schulz step and an eps leave 0.1 and more",
)
POWER_ERRORS = named("POWER_ERRORS", 3.0, "standard errors", "within which a power is a simple one")
POWER_ROUNDING = named("POWER_ROUNDING", 1e-8, "exponent", "what rounding makes of one at most", "float64")
SIMPLE_POWER = named("SIMPLE_POWER", 4, "denominator", "at most, of a simple P: 3/2, 3, 7/4")
OWN_DIRECTIONS = named(
    "OWN_DIRECTIONS", 1e-3, "of the step", "outside the gradient's singular pairs or rows, that is still rounding"
)
LARGEST_TAKEN_APART = named(
    "LARGEST_TAKEN_APART",
    1e7,
    "numbers",
    "held for a block's singular pairs or rows; larger blocks are not taken apart",
)

# -- lab/norm/reading.py ------------------------------------------------------------------------------------------

BLOCK_TIE = named("BLOCK_TIE", 2e-3, "alignment", "closer block norms are tied at most; the simpler one is named")
DEFICIT_TIE = named(
    "DEFICIT_TIE", 1.0, "of the best one's deficit of alignment", "closer norms are tied: exact steps tell them apart"
)
ROUNDED = named("ROUNDED", 1e-9, "relative", "what rounding leaves of an alignment or a length", "float64")

# -- lab/norm/weights.py ------------------------------------------------------------------------------------------

WEIGHT_TIE = named("WEIGHT_TIE", 0.05, "relative", "closer weights may be equal where steps only nearly follow a norm")
WEIGHT_BLUR = named("WEIGHT_BLUR", 0.3, "of the deficit of alignment", "the same, where that is more")
WEIGHT_ERRORS = named("WEIGHT_ERRORS", 3.0, "standard errors", "over the gradients, by which equal weights may differ")
SPARE_DIGITS = named("SPARE_DIGITS", 3, "digits", "of a weight beyond its error, that rounding it adds none")
WEIGHT_DIGITS = named("WEIGHT_DIGITS", (4, 13), "digits", "of a weight, at least and at most")

# -- lab/norm/fingerprint.py --------------------------------------------------------------------------------------

WHOLE_TIE = named(
    "WHOLE_TIE", 5e-3, "alignment", "closer norms of whole steps are tied at most; the simpler one is named"
)

# -- lab/norm/large_shapes.py -------------------------------------------------------------------------------------

LARGE_DRAWS = named("LARGE_DRAWS", 2, "gradients", "whose steps are read at realistic shapes", "a second a check")
SMALL_DRAWS = named("SMALL_DRAWS", 12, "gradients", "whose steps are read on the small blocks beside them")
LARGE_PATIENCE = named(
    "LARGE_PATIENCE",
    1_030,
    "steps",
    "of a matrix whose state is of another kind than a small one's: what it keeps may not act before",
    "ScalableShampoo computes its first roots in step 1,000",
)
LARGE_START = named(
    "LARGE_START", 3e-3, "size", "of the random weights there: beside many entries a declared decay would show"
)
SMALL_SIZES = named(
    "SMALL_SIZES",
    {2: 0.25, 1: 0.4},
    "root mean square",
    "of the gradient's entries, by dimensions: a 6 × 4 matrix's and a vector's of five, so that an eps weighs the same",
)
LARGE_APART = named(
    "LARGE_APART",
    0.05,
    "alignment",
    "by which steps at a realistic shape must miss the small blocks' norm",
    "a sign read as a polar factor is 0.3 off; the same rule differs by less than 0.03",
)
SAME_DIRECTION = named(
    "SAME_DIRECTION", 0.999, "cosine", "of a convolution's step with the flattened matrix's, of one rule"
)

# -- lab/norm/symmetry.py -----------------------------------------------------------------------------------------

SYMMETRY_DRAWS = named(
    "SYMMETRY_DRAWS", 2, "runs", "of each symmetry; the largest error counts, as one draw may fit by luck"
)
SYMMETRY_NOISE = named(
    "SYMMETRY_NOISE", 0.3, "of the entries' root mean square", "by which gradients change from step to step"
)
SYMMETRY_SCALES = named(
    "SYMMETRY_SCALES", 30.0, "factor", "by which rows, columns, entries and blocks are scaled, up and down"
)
SYMMETRY_HOLDS = named(
    "SYMMETRY_HOLDS",
    0.1,
    "relative",
    "an error below is a symmetry",
    "five Newton–Schulz steps in bf16 err by up to 0.07, what has none by 0.15 and more",
)
SYMMETRY_EXACT = named(
    "SYMMETRY_EXACT", 1e-9, "relative", "an lmo in float64 has a symmetry to this, or has it not", "float64"
)
SYMMETRY_PLAIN = named(
    "SYMMETRY_PLAIN", 0.15, "relative", "a symmetry that the lmo lacks by less is not held against a step that has it"
)

# -- lab/norm/preconditioners.py ----------------------------------------------------------------------------------

BURST = named("BURST", 30.0, "times", "the size of a part of the gradient in one step")
BURST_LADDER = named(
    "BURST_LADDER", (1.0, 1.5, 2.0, 4.0, 8.0, 15.0, 30.0), "times", "sizes of that part under constant gradients"
)
RESPONSE_SLACK = named(
    "RESPONSE_SLACK", 1.25, "factor", "by which a response may leave the range: a bend between two sizes"
)
BURST_INDEPENDENT = named(
    "BURST_INDEPENDENT", 1e-3, "relative", "a burst elsewhere that changes an entry's step by less leaves it alone"
)

# -- lab/faults/case.py -------------------------------------------------------------------------------------------

FAULT_DRAWS = named("FAULT_DRAWS", 20, "gradients", "under which steps are looked at")
STILL_ENTRY = named(
    "STILL_ENTRY", 1e-12, "of a block's largest entry", "moves less: rounding of θ − θ' at most", "float64"
)

# -- lab/faults/diagnosis.py --------------------------------------------------------------------------------------

NOISY_RUNS = named("NOISY_RUNS", 0.05, "relative", "where runs differ by more, what else is seen may be noise")

# -- lab/faults/layouts.py ----------------------------------------------------------------------------------------

SAME_LAYOUT = named(
    "SAME_LAYOUT", 0.98, "cosine", "with a rearranged rule's step", "five Newton–Schulz steps reach 0.98"
)

# -- lab/faults/constant_gradients.py -----------------------------------------------------------------------------

DESCENDS = named(
    "DESCENDS", 0.2, "cosine", "with −gradient, mean over the draws, of a row or entry that plainly should descend"
)
ASCENDS = named("ASCENDS", 0.6, "of that cosine", "a row or entry that ascends by as much has the wrong sign")
SURE_SIGN = named(
    "SURE_SIGN", 0.5, "cosine", "and at least this", "the mean of 20 random signs has standard deviation 0.2"
)
FOLLOWS_NORM = named("FOLLOWS_NORM", 0.995, "alignment", "of a block that follows a norm")
BETTER_NORM = named("BETTER_NORM", 0.01, "alignment", "by which another norm's must exceed the suspected one's")
IMPERFECT = named("IMPERFECT", 1e-4, "1 − alignment", "a larger deficit is worth explaining")
POWER_LAW_RESIDUAL = named("POWER_LAW_RESIDUAL", 0.05, "log |step|", "residual around its line, standard deviation")
SAME_POWER = named("SAME_POWER", 0.03, "exponent", "a larger difference of exponents is one")
OWN_VECTORS = named(
    "OWN_VECTORS", 0.15, "of the step", "outside the gradient's singular pairs", "Newton–Schulz in bf16 leaves 0.06"
)
FIXED_FACTOR = named(
    "FIXED_FACTOR", 0.02, "log of a factor", "spread of one that is fixed, and least size of one that is not 1"
)
POLAR_RANGE = named("POLAR_RANGE", 1.02, "ratio", "largest over smallest singular value of a polar factor")

# -- lab/faults/perturbations.py ----------------------------------------------------------------------------------

LOUD_GRADIENT = named(
    "LOUD_GRADIENT",
    1e4,
    "times",
    "a gradient so much larger shows through any average; times its negative, it turns signs",
)
NO_INFLUENCE = named("NO_INFLUENCE", 1e-9, "relative", "change of a step that shows no influence at all", "float64")
CROSS_BLOCKS = named(
    "CROSS_BLOCKS", 1e-2, "relative", "change of one block's step with the sign of another's gradients"
)
EVEN_PART = named("EVEN_PART", 1e-2, "relative", "‖Δ(−g) + Δ(g)‖ / ‖Δ(g)‖ of an even part")
LOPSIDED = named("LOPSIDED", 0.8, "ratio", "of the largest moves up and down")
CENTRED = named(
    "CENTRED",
    (0.02, 0.15),
    "relative",
    "a step that changes by at most the first where the norm's changes by the second",
)
NULL_SPACE = named("NULL_SPACE", 0.05, "of the step's singular values", "what moves in directions without gradient")
RANDOM_STEP = named("RANDOM_STEP", 1e-6, "relative", "a larger difference between two runs is random")
OTHER_WEIGHTS = named(
    "OTHER_WEIGHTS", -2.0, "times", "weights are replaced by so much of themselves: another length, and another sign"
)
DECAYED = named(
    "DECAYED", (1e-6, 0.99), "relative, cosine", "change with the weights, and along them, that shows a decay"
)
WEIGHT_DEPENDENT = named(
    "WEIGHT_DEPENDENT",
    1e-3,
    "relative",
    "change with the weights, of no known form",
    "above float32's rounding of the weights",
)
TURNED = named("TURNED", 0.99, "cosine", "of two steps on gradients of one direction and different sizes")
GRADIENT_SIZES = named(
    "GRADIENT_SIZES", tuple(2.0**k for k in range(-8, 9, 2)), "times", "sizes of gradients that are tried"
)
TIED_ENTRIES = named("TIED_ENTRIES", 1e-6, "relative", "entries closer are of one size")
CLIPPED = named(
    "CLIPPED", (0.15, 0.9), "of a block's entries", "that are of its largest size, between free and all clipped"
)
MANY_TIED = named(
    "MANY_TIED",
    {1: 2, 2: 3},
    "entries",
    "of one size, by dimensions",
    "a matrix rounded to bf16 may have two by accident",
)

# -- lab/twin/gradients.py ----------------------------------------------------------------------------------------

TWIN_CHANGING = named("TWIN_CHANGING", 200, "steps", "of changing gradients")
TWIN_SPECIAL = named("TWIN_SPECIAL", 30, "steps", "of each special kind of gradients")
TWIN_LATE = named("TWIN_LATE", 2_000, "steps", "as long as a twin is followed: a later change would not be seen")
TWIN_SHARE = named("TWIN_SHARE", 0.03, "of the weights' size", "moved in a step")
TWIN_LONG_SHARE = named(
    "TWIN_LONG_SHARE", 1000.0, "of the weights' size", "moved in a step where weights are drawn anew"
)

# -- lab/twin/guesses.py ------------------------------------------------------------------------------------------

USUAL_RETENTIONS = named(
    "USUAL_RETENTIONS", (0.9, 0.95, 0.99, 0.999), "of an average", "guessed where a constructor declares none"
)
MANY_GUESSES = named("MANY_GUESSES", 300, "candidates", "of one row of the registry, at most")

# -- lab/twin/search.py -------------------------------------------------------------------------------------------

SAME_STEP = named(
    "SAME_STEP", 1e-10, "of each block's step", "a difference below is rounding: the two are one recursion", "float64"
)
ROUNDING_SHARE = named(
    "ROUNDING_SHARE",
    1e-8,
    "of a block's step",
    "where rounding in θ is more, in any one step, nothing is proved",
    "float64; Adam's, RMSprop's and AMSGrad's worst step of 2,260 has 1e-10",
)
RATIO_TIE = named("RATIO_TIE", 1e-9, "relative", "closer ratios of learning rates are one", "float64")

# -- lab/rehearsal.py, lab/side_by_side.py ------------------------------------------------------------------------

LAST_DIGIT = named("LAST_DIGIT", 1e-15, "relative", "noise in a gradient's last digits", "float64: four roundings")
WEIGHT_ROUNDING = named(
    "WEIGHT_ROUNDING", 4e-16, "of the weights", "rounding in a step that is read off the weights", "float64"
)
OWN_ROUNDING = named(
    "OWN_ROUNDING",
    10.0,
    "times",
    "what noise in the last digits changes both sides' steps by, two sides may differ by",
)
FACTOR_SEEN = named("FACTOR_SEEN", 1e-7, "of a step", "rounding must be below for its length to be compared")
FACTOR_TIE = named("FACTOR_TIE", 1e-6, "relative", "closer ratios of steps' lengths are one factor")

# -- lab/knobs.py -------------------------------------------------------------------------------------------------

KNOB_STEPS = named(
    "KNOB_STEPS", 30, "steps", "in which a live argument shows at once", "torch.optim: the first or the second"
)
DEAD_STEPS = named(
    "DEAD_STEPS",
    (100, 60, 20),
    "steps",
    "under changing gradients, in a late drift and on each of two sets of larger blocks in which none may differ "
    "before an argument is called dead",
)
KNOB_LADDER = named(
    "KNOB_LADDER",
    (1e-3, 1e-6, 1e-9, 1e3, 1e6),
    "times",
    "an argument's value, after its half and its double: thresholds that lie far away",
)
KNOB_LARGE = named(
    "KNOB_LARGE", 1e6, "value", "what an argument below 1 is set to besides: an eps may be a norm's least"
)
KNOBS_SHOWN = named("KNOBS_SHOWN", 3, "values", "of those tried, in a sentence")
WAITS_FOR = named(
    "WAITS_FOR", 0.5, "value", "what an argument of 0 is set to, to see whether another one waits for it", "a momentum"
)

# -- lab/paths.py -------------------------------------------------------------------------------------------------

PATH_STEPS = named("PATH_STEPS", 60, "steps", "of each play that every code path has to repeat")
REORDERED = named(
    "REORDERED",
    1e-12,
    "of each block's step",
    "a difference below is float64 rounding in another order of operations",
    "some 10 roundings a step, remembered over a momentum's 1,000 steps, of 1e-16 each",
)
FLOAT32_ROUNDING = named(
    "FLOAT32_ROUNDING",
    1e-6,
    "relative",
    "two code paths may keep a rate or a count in float32 and in float64: rounding, no fault",
    "float32's 6e-8, some ten of them; torch's ASGD differs by 7e-8 between foreach and the for-loop",
)
COARSE = named(
    "COARSE",
    {"bfloat16 or float16": 5e-2, "float32": 1e-4},
    "relative",
    "rounding of two paths of an optimizer that computes, or keeps its state, in this format",
    "bfloat16's 4e-3, ten of them; float32's 6e-8, remembered over 1,000 steps",
)

# -- comparing/ ---------------------------------------------------------------------------------------------------

ROOM_STEPS = named(
    "ROOM_STEPS",
    {
        "small": {
            "changing gradients": 200,
            "gradients of low rank": 30,
            "absent entries": 30,
            "late drift": 2_000,
        },
        "large": {"changing gradients": 24, "gradients of low rank": 8, "absent entries": 8},
    },
    "steps",
    "that two optimizers are compared over",
    "the small ones: a twin's rehearsal; on large blocks a step takes a thousand times as long",
)
COMPARED = named(
    "COMPARED", 1e-10, "of each block's step", "two optimizers that differ by less are the same", "SAME_STEP"
)

# -- lab/regimes.py -----------------------------------------------------------------------------------------------

REGIME_STRIDE = named(
    "REGIME_STRIDE", 20, "log₂", "between two sizes of gradients at which steps are compared", "a factor of 1e6"
)
REGIME_DEEPEST = named(
    "REGIME_DEEPEST",
    (80, 400),
    "log₂",
    "largest and smallest gradients, from order one, at which a regime is looked for",
    "squares must stay within float64, and an optimizer's own float32 above 2^−126",
)
REGIME_FAR = named(
    "REGIME_FAR",
    60,
    "log₂",
    "from the size at which one regime passes into the other to that at which each is measured",
    "gradients of a rehearsal wander over 2^±17, and eps must stay below rounding (2^−53 of what it is added to, or "
    "that of it)",
)
REGIME_WIDTH = named(
    "REGIME_WIDTH",
    20,
    "log₂",
    "within which one regime passes into the other; what is neither's further away is a third",
    "an eps beside entries from 1e-3 to 1: 14",
)
