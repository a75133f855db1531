"""Thresholds of whole sequences of steps: twins, knobs, paths, two side by side, regimes; module by module."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

# -- lab/twin/gradients.py ----------------------------------------------------------------------------------------

TWIN_CHANGING = named("TWIN_CHANGING", 200, "steps", "of changing gradients")
TWIN_SPECIAL = named("TWIN_SPECIAL", 30, "steps", "of each special kind of gradients")
TWIN_FAR = named("TWIN_FAR", 1e6, "times the weights' size", "to which weights grow in one of the runs",
    "long runs reach 1e5; rounding is 1e-12 of such a step")
TWIN_LATE = named("TWIN_LATE", 2_000, "steps", "as long as a twin is followed: a later change would not be seen")
TWIN_FALL = named("TWIN_FALL", 1e-100, "of the first gradient",
    "to which late ones fall, at most as fast as the memory can follow: a threshold beside what was seen before shows",
    "chosen: squares are 1e-200; a memory of 10 steps falls to 1e-87, one of 1,000 not by half")
TWIN_SHARE = named("TWIN_SHARE", 0.03, "of the weights' size", "moved in a step")
TWIN_LONG_SHARE = named("TWIN_LONG_SHARE", 1000.0, "of the weights' size",
    "moved in a step where weights are drawn anew")

# -- lab/twin/guesses.py ------------------------------------------------------------------------------------------

USUAL_RETENTIONS = named("USUAL_RETENTIONS", (0.9, 0.95, 0.99, 0.999), "of an average",
    "guessed where a constructor declares none")
USUAL_LENGTHS = named("USUAL_LENGTHS", (1.0, 0.5), "ℓ2",
    "to which gradients are clipped, guessed besides the numbers that are declared")
MANY_GUESSES = named("MANY_GUESSES", 300, "candidates", "of one row of the registry, at most")

# -- lab/twin/search.py -------------------------------------------------------------------------------------------

SAME_STEP = named("SAME_STEP", 1e-10, "of each block's step",
    "a difference below is rounding: the two are one recursion",
    "float64")
ROUNDING_SHARE = named("ROUNDING_SHARE", 1e-8, "of a block's step",
    "where rounding in θ is more, in any one step, nothing is proved",
    "float64; Adam's, RMSprop's and AMSGrad's worst step of 2,260 has 1e-10")
RATIO_TIE = named("RATIO_TIE", 1e-9, "relative", "closer ratios of learning rates are one", "float64")

# -- lab/rehearsal.py, lab/side_by_side.py ------------------------------------------------------------------------

LAST_DIGIT = named("LAST_DIGIT", 1e-15, "relative", "noise in a gradient's last digits", "float64: four roundings")
WEIGHT_ROUNDING = named("WEIGHT_ROUNDING", 4e-16, "of the weights",
    "rounding in a step that is read off the weights",
    "float64")
OWN_ROUNDING = named("OWN_ROUNDING", 10.0, "times",
    "what noise in the last digits changes both sides' steps by, two sides may differ by")
FACTOR_SEEN = named("FACTOR_SEEN", 1e-7, "of a step", "rounding must be below for its length to be compared")
FACTOR_TIE = named("FACTOR_TIE", 1e-6, "relative", "closer ratios of steps' lengths are one factor")

# -- lab/knobs.py -------------------------------------------------------------------------------------------------

KNOB_STEPS = named("KNOB_STEPS", 30, "steps",
    "in which a live argument shows at once",
    "torch.optim: the first or the second")
DEAD_STEPS = named("DEAD_STEPS", (100, 60, 20), "steps",
    "under changing gradients, in a late drift and on each of two sets of larger blocks in which none may differ "
    "before an argument is called dead")
KNOB_LADDER = named("KNOB_LADDER", (1e-3, 1e-6, 1e-9, 1e3, 1e6), "times",
    "an argument's value, after its half and its double: thresholds that lie far away")
KNOB_LARGE = named("KNOB_LARGE", 1e6, "value",
    "what an argument below 1 is set to besides: an eps may be a norm's least")
KNOBS_SHOWN = named("KNOBS_SHOWN", 3, "values", "of those tried, in a sentence")
WAITS_FOR = named("WAITS_FOR", 0.5, "value",
    "what an argument of 0 is set to, to see whether another one waits for it",
    "a momentum")

# -- lab/paths.py -------------------------------------------------------------------------------------------------

PATH_STEPS = named("PATH_STEPS", 60, "steps", "of each play that every code path has to repeat")
REORDERED = named("REORDERED", 1e-12, "of each block's step",
    "a difference below is float64 rounding in another order of operations",
    "some 10 roundings a step, remembered over a momentum's 1,000 steps, of 1e-16 each")
FLOAT32_ROUNDING = named("FLOAT32_ROUNDING", 1e-6, "relative",
    "two code paths may keep a rate or a count in float32 and in float64: rounding, no fault",
    "float32's 6e-8, some ten of them; torch's ASGD differs by 7e-8 between foreach and the for-loop")
COARSE = named("COARSE", {"bfloat16 or float16": 5e-2, "float32": 1e-4}, "relative",
    "rounding of two paths of an optimizer that computes, or keeps its state, in this format",
    "bfloat16's 4e-3, ten of them; float32's 6e-8, remembered over 1,000 steps")

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
COMPARED = named("COMPARED", 1e-10, "of each block's step",
    "two optimizers that differ by less are the same",
    "SAME_STEP")

# -- lab/regimes.py -----------------------------------------------------------------------------------------------

REGIME_STRIDE = named("REGIME_STRIDE", 20, "log₂",
    "between two sizes of gradients at which steps are compared",
    "a factor of 1e6")
REGIME_STEP = named("REGIME_STEP", 5, "log₂",
    "between two sizes of gradients at which steps of one direction are asked whether they keep one length",
    "an eps of 1e-8 and a memory of 1,000 steps leave 2^14 between order one and the size at which the eps rules")
REGIME_DEEPEST = named("REGIME_DEEPEST", (80, 400), "log₂",
    "largest and smallest gradients, from order one, at which a regime is looked for",
    "squares must stay within float64, and an optimizer's own float32 above 2^−126")
REGIME_FAR = named("REGIME_FAR", 60, "log₂",
    "from the size at which one regime passes into the other to that at which each is measured",
    "gradients of a rehearsal wander over 2^±17, and eps must stay below rounding (2^−53 of what it is added to, or "
    "that of it)")
SHORT_FAR = named("SHORT_FAR", 42, "log₂",
    "the same towards small gradients, of an optimizer whose state is in float32",
    "its rounding is 2^−24; FAdam's squares underflow from 2^−68 on, and float32 ends at 2^−126")
SHORT_DEEPEST = named("SHORT_DEEPEST", -114, "log₂",
    "smallest gradients, from order one, at which an optimizer whose state is in float32 is measured",
    "float32 ends at 2^−126, and the learning rates that undo them at 2^127; experiments go 2^20 further")
SHORT_ENDS = named("SHORT_ENDS", (-90, 42), "log₂",
    "smallest and largest gradients, from order one, that are fed to state in float32 where each regime is measured",
    "squares of 2^42, rescaled by 2^20, are below float32's 2^127; those of 2^−90 vanish wholly, and what is left of "
    "larger ones is no power of them")
REGIME_WIDTH = named("REGIME_WIDTH", 20, "log₂",
    "within which one regime passes into the other; what is neither's further away is a third",
    "an eps beside entries from 1e-3 to 1: 14")
