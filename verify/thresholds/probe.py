"""Thresholds of what is found of an optimizer's steps (``lab/harness``, ``lab/probe``), module by module."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

# -- lab/harness/session.py ---------------------------------------------------------------------------------------

WARM_STEPS = named("WARM_STEPS", 8, "steps",
    "of a run: some optimizers make no move at first, or warm up",
    "RAdam: six steps")
FIRST_MOVE = named("FIRST_MOVE", 60, "steps", "further ones until one moves")
STILL_ROUNDS = named("STILL_ROUNDS", 32, "times",
    "that weights which never moved get a gradient alone, while some of them do move then",
    "greedy steps move one entry of a block at a time")

# -- lab/probe/probes.py ------------------------------------------------------------------------------------------

EXACT_SCALE = named("EXACT_SCALE", 1e-9, "relative",
    "what is left when powers of two are rescaled: rounding in sums of different order",
    "float64")
POWER_FITS = named("POWER_FITS", 0.5, "relative", "a smaller difference lets a power law be the right one, eps apart")
STEP_LOST = named("STEP_LOST", 1e-13, "of the weights", "shorter steps lose more than 0.1 % to rounding", "float64")
OTHER_STEP = named("OTHER_STEP", 0.1, "relative", "a change of the update that is no longer the same optimizer")

# -- lab/probe/floor.py -------------------------------------------------------------------------------------------

FED_USUAL = named("FED_USUAL", 120, "2^−k",
    "down to which gradients are tried rung by rung",
    "every eps in use; float32 ends there")
SHORT_USUAL = named("SHORT_USUAL", 50, "2^−k",
    "below which an optimizer whose state is in float32 is not blamed for steps that vanish",
    "squares underflow from 2^−63 on; of an eps a step would be left")
FED_DEEPEST = named("FED_DEEPEST", 480, "2^−k",
    "down to which gradients are fed",
    "squares underflow from 2^−500 on: float64")
UNDERFLOWN = named("UNDERFLOWN", 24, "2^−k",
    "below where a step changes, after which arithmetic that underflows leaves nothing")
RULED_BELOW = named("RULED_BELOW", 20, "2^−k",
    "below the size at which a step changes, where a decay leaves the gradient no say")
TINY_NUMBER = named("TINY_NUMBER", 1e-100, "a constructor's number",
    "a smaller one is tried enlarged: no gradient shows it")
RAISED_TO = named("RAISED_TO", (1e-60, 1e-80), "a constructor's number", "that is tried in place of a tiny one")

# -- lab/probe/strides.py -----------------------------------------------------------------------------------------

CALLS_WATCHED = named("CALLS_WATCHED", 40, "calls", "of step() in which the blocks' moves are watched")
MOVES_SEEN = named("MOVES_SEEN", 3, "moves", "of a block before the interval between them is believed")
GOES_BACK = named("GOES_BACK", 0.5, "−cosine",
    "of a step that goes back, with all steps together under a constant gradient",
    "every sixth of Ranger is at 0.97 to 1; of error feedback 0.11 at most, 0 of all in reports/third_party.md")
SLOWEST_STRIDE = named("SLOWEST_STRIDE", 12, "calls",
    "between two moves, or two steps back; an optimizer that waits longer is taken as it is")

# -- lab/probe/beginnings.py --------------------------------------------------------------------------------------

BEGINNING_CALLS = named("BEGINNING_CALLS", 40, "calls", "of step() in which another kind of first steps is looked for")
BEGINNING_SCALE = named("BEGINNING_SCALE", 4.0, "times",
    "larger gradients show the power by which a step's length grows")
BEGINNING_OTHER = named("BEGINNING_OTHER", 0.5, "a power", "apart from the later steps' makes a first one another kind")
BEGINNING_SURE = named("BEGINNING_SURE", 0.05, "a power",
    "from a whole number, at most, in every step of the later half, or all are kept")

# -- lab/probe/precision.py ---------------------------------------------------------------------------------------

SMOOTH_RUNGS = named("SMOOTH_RUNGS", (3, 4, 5), "ε = 2^−k",
    "at which a bfloat16 still answers smoothly",
    "bfloat16's 8 bits")
EPS_LADDER = named("EPS_LADDER", tuple(range(7, 37, 2)), "ε = 2^−k", "that are tried below", "float32 has 24 bits")
UNEVEN = named("UNEVEN", 3.0, "times", "an answer per ε that is so much too small or too large is a rounding")
MOSTLY_UNEVEN = named("MOSTLY_UNEVEN", 0.8, "of the answers", "below a rounding unit are uneven")
LEAST_ANSWER = named("LEAST_ANSWER", 1e-3, "relative", "a smaller answer may be noise of a low precision already")
ANSWERING = named("ANSWERING", 0.5, "of the entries", "change with ε = 2^−5", "of a sign's, hardly any")
ABOVE_ROUNDING = named("ABOVE_ROUNDING", 100.0, "times the rounding of the weights",
    "smaller changes of the step are not looked at")
FINE_RUNG = named("FINE_RUNG", 15, "ε = 2^−k", "a jump below is no rounding of a low precision")
JUMP = named("JUMP", 0.1, "relative", "change of a block's step that is such a jump", "an eigenbasis that turns")
ROUNDING_UNITS = named(
    "ROUNDING_UNITS",
    {"bfloat16 or float16": (1e-5, 0.3), "float32": (1e-9, 4e-6)},
    "relative, from and to",
    "rounding units by number format",
    "those read off the steps spread by a factor of 30 or so",
)

ROUNDINGS = named("ROUNDINGS", 4.0, "roundings of the weights",
    "by which two steps may differ: before and after each of them")
BLURRED = named("BLURRED", 1e-5, "relative",
    "rounding of the weights that still lets effects be told: float32's, at steps as long as the weights",
    "a decay of 1e-4 of the weights shows with 6e-5, float32 blurs to 2e-6, bfloat16 to 1e-1")

# -- lab/probe/memory.py ------------------------------------------------------------------------------------------

NEVER_FORGETS = named("NEVER_FORGETS", 1 - 1e-12, "per step",
    "a state that keeps more of itself does not decay",
    "float64")
SHAPED_STEPS = named("SHAPED_STEPS", 16, "steps",
    "whose directions are compared after a part of the state that never forgets was changed")
SMALL = named("SMALL", 2.0**-12, "of the gradient",
    "gradients beside which a sum of larger ones stands still, and whose steps rounding still leaves nine digits")
SAME_SHAPE = named("SAME_SHAPE", 1e-4, "relative",
    "a smaller change of steps' directions is rounding, or a mixture of moments: that state sets their length alone",
    "Adagrad's sum and a maximum: 2e-2 and more; DAdaptSGD's first norm: 1e-11")
SAME_FALL = named("SAME_FALL", 0.05, "relative",
    "change of the power with which a state falls, from one doubling of the steps to the next, that is none",
    "averages over all steps: 0; Adafactor's, which forgets as t^0.8 goes by: 0.15; a power of what is kept: 1")
DROP_TURNS = named("DROP_TURNS", 64, "steps", "after the gradient's drop, in which every state has had its turn")
LONGEST_WINDOW = named("LONGEST_WINDOW", 512, "steps",
    "that a state is watched which keeps all of itself: a window ends")
MEMORY_WATCHED = named("MEMORY_WATCHED", 4096, "steps", "that a state is watched at most")
MEMORY_SETTLED = named("MEMORY_SETTLED", 0.05, "relative",
    "fall of what a state forgets in a step, over twice the time, that is none")
MEMORY_SETTLING = named("MEMORY_SETTLING", 0.3, "relative",
    "the same, that is not yet the fall of 1/t",
    "1/t falls by 0.5")

# -- lab/probe/habits.py ------------------------------------------------------------------------------------------

HABIT_SEEN = named("HABIT_SEEN", 1e-9, "relative",
    "smaller differences are rounding in sums of another order",
    "float64")

# -- lab/probe/confined.py ----------------------------------------------------------------------------------------

KEPT_STEPS = named("KEPT_STEPS", 4, "steps", "after each of which a length is the same: it is kept")
KEPT_STEP = named("KEPT_STEP", 0.1, "of the weights' length",
    "that these steps are long, where their learning rate can be set")
KEPT_MOVE = named("KEPT_MOVE", 1e-3, "of the weights' length",
    "that each moves a block at least: a step across the weights changes their length by half the square of that",
    "HABIT_SEEN is far below 5e-7")
KEPT_ROUNDINGS = named("KEPT_ROUNDINGS", 4.0, "roundings of a weight", "by which a length that is kept may differ",
    "float32: 2.4e-7; of bfloat16 nothing can be said")

# -- lab/probe/own_pace.py ----------------------------------------------------------------------------------------

OWN_CALLS = named("OWN_CALLS", 400, "calls", "of step() on one gradient, whose lengths are watched")
OWN_POWER = named("OWN_POWER", 0.1, "power of the call's number",
    "with which they change, that is more than averages filling up")
OWN_STEEP = named("OWN_STEEP", 8.0, "power of the call's number", "from which on they are said to change by a factor",
    "a schedule that grows in each call is no power; a step divided by t² twice over is -4")

# -- lab/probe/finite.py ------------------------------------------------------------------------------------------

FINITE_SCALES = named("FINITE_SCALES", tuple(10.0**k for k in range(-8, 9)), "size of the gradients' entries",
    "at which every step must be finite",
    "what training shows an optimizer; squares of them are far from the ends of float32")
FINITE_CALLS = named("FINITE_CALLS", 8, "calls", "of step() at each of these sizes", "most failures show in the first")
ZERO_CALLS = named("ZERO_CALLS", 5, "calls", "of step() on gradients that are exactly 0")
FINITE_LONGEST = named("FINITE_LONGEST", 20_000, "calls",
    "most after which a step that failed elsewhere is looked for again",
    "time")
