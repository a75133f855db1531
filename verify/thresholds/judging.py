"""Thresholds of evidence, rules and tiers."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import Bounds, named

# A row's name, value and unit stand in its first line.
# fmt: off

_CLAIMS = "the seven claims, quick tier (README): "

# -- What is asked of a gap, by tier ------------------------------------------------------------------------------

CLAIM_LINEAR = named(
    "CLAIM_LINEAR",
    {
        "quick": Bounds(gap=5e-3, alignment=0.95, distance=0.05),
        "full": Bounds(gap=1e-3, alignment=0.95, distance=0.05),
    },
    "bounds",
    "asked of a claim of the literature on a linear model",
    _CLAIMS + "gaps up to 3.3e-3, the nearest other norm 43 to 1129 times larger, alignment from 0.999",
)
CLAIM_NETWORK = named(
    "CLAIM_NETWORK",
    {"quick": Bounds(gap=5e-2, alignment=0.9), "full": Bounds(gap=1e-2, alignment=0.95)},
    "bounds",
    "the same on a network, where a start is forgotten only like a power of its size",
    _CLAIMS + "gaps up to 2.0e-2, the nearest other norm 9 to 939 times larger, alignment from 0.999",
)
CHECK_LINEAR = named(
    "CHECK_LINEAR",
    {"quick": Bounds(gap=2e-2, alignment=0.95, distance=0.05), "full": Bounds(gap=3e-3, alignment=0.95, distance=0.05)},
    "bounds",
    "asked of anybody's optimizer on a linear model, after fewer steps than a claim has",
    "Adam with a memory of 20 steps: 2e-2 after 2e4 steps; with β₂ = 0.999, full tier: 1.9e-3",
)
CHECK_NETWORK = named(
    "CHECK_NETWORK",
    {"quick": Bounds(gap=1e-1, alignment=0.9), "full": Bounds(gap=2e-2, alignment=0.95)},
    "bounds",
    "the same on a network",
    "after 6e4 steps from 0.02: gaps 2e-4 (l2) to 4e-2 (Adam), wrong norms 0.11 to 0.6",
)

# -- The rules ----------------------------------------------------------------------------------------------------

APART = named("APART", 0.03, "Γ",
    "a norm whose gap at the judged norm's own points (optimal face, matched KKT points) is below this is no control",
    _CLAIMS + "the controls that count lie at 0.074 and more, the claimed gaps below 3.3e-3")
TOLD = named("TOLD", 0.5, "share",
    "least of what another norm's gap is at the judged norm's own point that it must be at the end: less than half of "
    "the way to the other, on that norm's scale",
    "24 correct optimizers and the engine's own: from 0.996 on linear models, from 0.88 on networks but for a Muon's "
    "0.72 (its KKT points are not isolated, and the matched one need not be the nearest)")
LEFT = named("LEFT", 0.25, "share",
    "another norm's gap that is at most so much of what it is at the judged norm's own point has left that for its own",
    "seven optimizers, each held against five wrong norms: at most 0.001 on linear models, 0.035 on networks")
FALLING = named("FALLING", -0.1, "d log Γ / d log t",
    "a gap is seen to close if the slope's whole 95 % interval lies below, and stands still if none of it does",
    "the slowest that holds closes like t^−0.28 (Adam, β₂ = 0.999, two layers); broken ones stop at 1e-2 to 5e-2")
PLATEAU = named("PLATEAU", 1e-3, "Γ",
    "a gap that stands still above it refutes; below, nothing is lost that a choice of learning rates could not cost",
    "Signum and Muon at too fast a pace on very easy data: 1e-3")
REACHED = named("REACHED", 1e-6, "Γ", "a gap this small need not fall any more")
STEADY = named("STEADY", 0.99, "alignment",
    "steps so aligned under constant gradients are the norm's own: single ones that stray late in training are chatter",
    "RMSprop without momentum: single steps 0.5 aligned, their sums 1; five Newton–Schulz steps: 0.84")
LATE_MARGIN = named("LATE_MARGIN", 20.0, "margin",
    "only the smallest margins still count: a gap that stands still before refutes no steps that are the norm's own, "
    "and weights that stand still before have been led nowhere",
    "weights of the others are e^−20 and less; ADOPT and AdEMAMix, which remember 10,000 steps, are undecided before")

# -- The answer over problems -------------------------------------------------------------------------------------

ENOUGH = named("ENOUGH", 3, "problems",
    "of different shape and degree, for a verdict on an optimizer: on fewer it is said of these alone",
    "the default's: a tall, a wide and a square matrix with a vector; a wide matrix; two layers")
GAP_COUNTS = named("GAP_COUNTS", 1e-4, "Γ",
    "when the nearest norm is looked for, smaller gaps speak no more for theirs")
DEFICIT_COUNTS = named("DEFICIT_COUNTS", 1e-3, "1 − alignment", "nor do smaller deficits of alignment")
SCORE_TIE = named("SCORE_TIE", 1e-3, "relative", "norms whose scores are closer are tied, and the simpler one is named")
PERFECT = named("PERFECT", 0.99, "alignment",
    "a signature better than this is the norm's own; if it fails nevertheless, something else is wrong",
    "exact polar factors: 1.000; five Newton–Schulz steps: 0.84 to 0.98")
APPROXIMATE = named("APPROXIMATE", 0.7, "alignment",
    "least signature that still deserves the word approximately",
    "torch's Muon, five Newton–Schulz steps in bfloat16: 0.84")
NEAR = named("NEAR", 0.5, "alignment",
    "and least alignment on its trajectories",
    "five Newton–Schulz steps leave singular values between 0.68 and 1.13: alignment may fall to 0.68/1.13 = 0.6")
GUARANTEE = named("GUARANTEE", 0.3, "alignment",
    "least of late steps that still guarantees a share of the margin worth naming")
BOUND_SLACK = named("BOUND_SLACK", 0.02, "Γ",
    "by which a gap may exceed what the steps guarantee, at a finite time: more contradicts the bound",
    "the quick tier's bound on a linear model's gap")
PATH_SLACK = named("PATH_SLACK", 0.1, "of N",
    "by which ‖θ‖ may exceed the path's length, which is summed up between checkpoints",
    "the triangle inequality; a trapezoidal sum over ten checkpoints a decade")
RANDOM_STEPS = named("RANDOM_STEPS", 0.5, "relative",
    "a difference of two runs with other seeds that leaves of a step nothing but chance")
STARTS_ABOVE = named("STARTS_ABOVE", 0.04, "gradient norm, ℓ2",
    "a regime that ends above it is left before margins have grown: a plain claim is about the one below",
    "gradients at the start of the standard problems: 0.3 to 2; Adam's floor is 0.012 to 0.018 with eps = 1e-4, 0.12 "
    "to 0.18 with 1e-3")
LEFT_AT_ONCE = named("LEFT_AT_ONCE", 0.1, "of the slowest moment's memory",
    "a regime that a run at the optimizer's own constant learning rate leaves sooner has no limit: where nothing is "
    "claimed, the answer is about the one below, if a norm holds only there",
    "Prodigy, whose steps grow in each call, is past its eps after 15 steps of a memory of 2,000; Adam's regime lasts "
    "21,000 steps of a memory of 1,000")
INDEPENDENT = named("INDEPENDENT", 1e-6, "relative",
    "a larger dependence of the step on weights, seeds or the learning rate is a hypothesis unmet, and reported",
    "float32's rounding leaves 1e-7")
FINDINGS = named("FINDINGS", 6, "findings", "at most so many become reasons; all of them are in the JSON")

# -- Evidence -----------------------------------------------------------------------------------------------------

TINY_GAP = named("TINY_GAP", 1e-16, "Γ", "below rounding; keeps logarithms finite", "float64")
FLAT_GAP = named("FLAT_GAP", 1e-9, "range of log Γ", "a gap that varies by less stands still")
SLOPE_POINTS = named("SLOPE_POINTS", 4, "checkpoints", "fewer usable ones make no slope")
CONFIDENCE = named("CONFIDENCE", 0.975, "quantile", "of the slope's two-sided 95 % interval", "convention")
AUTOCORRELATION = named("AUTOCORRELATION", 0.9, "correlation",
    "most that residuals' autocorrelation widens the slope's interval by: a factor 4.4",
    "chosen: Γ is a smooth curve with waves")
LAST_CHECKPOINTS = named("LAST_CHECKPOINTS", 3, "checkpoints",
    "whose median alignment is judged; one checkpoint's fluctuates")
BLOWN_UP = named("BLOWN_UP", 4.5e13, "margin",
    "above, float64 rounds differences of margins to 0.01 and more: a run has blown up",
    "2^−52 of it is 0.01; paced runs reach 1e3 to 1e5")
LATE_CHECKPOINTS = named("LATE_CHECKPOINTS", 5, "checkpoints", "at the end, over which κ is measured")
SIGNIFICANT = named("SIGNIFICANT", 1e-3, "of ‖g‖_*",
    "ε of J_ε: κ speaks of larger entries only",
    "Gronich & Vardi 2602.16340, lemma C.19 (for any ε > 0)")
SETTLED = named("SETTLED", 0.05, "ℓ2 of θ/‖θ‖₂",
    "a direction that moves less over the last half decade of steps has settled (T2)")
SHRINKS = named("SHRINKS", 0.9, "of the half decade before", "or one that moves at most so much of what it did before")
RESTLESS = named("RESTLESS", 0.2, "ℓ2 of θ/‖θ‖₂",
    "one that moves more, and no less than before, does not converge on this horizon",
    "chosen; signum-linf on a network, seed 2, moves by 0.148 and stays undecided")
ENOUGH_RUNS = named("ENOUGH_RUNS", 0.5, "of the runs",
    "and two at least, where there are several, separate the data: fewer say little of the optimizer",
    "chosen: whether a start separates is the start's, until most do not")
RADIUS_SLACK = named("RADIUS_SLACK", 0.05, "relative",
    "Adam's weights may be longer than its path of learning rates by so much: its first steps may be longer than η",
    "measured: 0.87 to 0.95 of the path (β = 0.9, 0.95; lag of the moments)")
STILL = named("STILL", 1e-6, "ℓ2 of θ/‖θ‖₂", "a direction that moves less has no path to speak of")
EXPONENT_SLACK = named("EXPONENT_SLACK", 0.05, "exponent",
    "a fitted exponent of the schedule may leave its range by so much",
    "on a finite horizon (1 + t/knee)^−d and a growing ‖θ‖ are not yet pure powers")
SAME_NORM = named("SAME_NORM", 1e-12, "relative",
    "norms whose ratio at random points varies by less are one norm on these blocks, up to a factor",
    "rounding leaves 1e-15")
CHECKPOINTS = named("CHECKPOINTS", {"quick": 8, "full": 12}, "checkpoints",
    "of the last decade at which ``check`` measures a network's gap by optimal multipliers",
    "2 to 26 ms each; a claim of the literature has 8")
ARRIVED = named("ARRIVED", 1e-9, "of a gap or a spread",
    "that falls to 0 in a claim: it has, but for rounding, which is not compared with rounding",
    "asked are 1e-2")
