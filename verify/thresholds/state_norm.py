"""Thresholds of norms that an optimizer's own state sets."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

RESPONSE_TRIALS = named("RESPONSE_TRIALS", (-1.0, 0.5, 2.0), "of the gradient's length",
    "lengths of drawn changes of the gradient at which the measured response is tried")
RESPONSE_LINEAR = named("RESPONSE_LINEAR", 1e-3, "relative",
    "a state whose next steps are farther from linear in the gradient is no preconditioner that has settled",
    "Adagrad after 3e4 steps: 1e-13; Yogi: 1e-3; Adam: 1")
RESPONSE_SYMMETRIC = named("RESPONSE_SYMMETRIC", 1e-3, "of ‖B‖",
    "a response that is less symmetric is no metric's",
    "Adagrad: 0; Shampoo: 1e-12")
METRIC_TOLD = named("METRIC_TOLD", 5.0, "times",
    "the metric's own gap, a fixed norm's must be to be told from it, and above the bound")
METRIC_SPREAD = named("METRIC_SPREAD", 1e10, "largest over smallest eigenvalue",
    "a response that is wider does not move some weights, or its inverse is rounding",
    "Adagrad: 17 to 4000")
METRIC_SETTLED = named("METRIC_SETTLED", 0.05, "change of log eigenvalues",
    "a metric that changes by more over the last decade of steps, a common factor aside, has not settled",
    "Adagrad: 1e-9")
METRIC_FORM = named("METRIC_FORM", 1e-5, "relative",
    "terms smaller than this are none: a metric is diagonal, or a Kronecker product")
LAW_FITS = named("LAW_FITS", 1e-2, "relative",
    "a metric whose squared entries are the sums of squared gradients so nearly is Adagrad's")
LONGER = named("LONGER", 3.0, "times", "as long one block's weights are made, where a trust ratio is looked for")
TRUST_RATIO = named("TRUST_RATIO", 0.01, "relative",
    "steps that change by less with the weights are looked at no further, nor are steps farther from a trust ratio one",
    "LARS, LAMB and Fromage: 0.67, and 1e-12 from it; steps that decay declares: a few per mille")
