"""Thresholds of the adapter to somebody else's optimizer (``blackbox``), module by module."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

# -- blackbox/learning_rate.py ------------------------------------------------------------------------------------

RATE_HONOURED = named("RATE_HONOURED", 1e-6, "relative",
    "error of \"twice the rate moves twice as far\" that is rounding")
RATE_USABLE = named("RATE_USABLE", 0.45, "relative",
    "a larger error is a rate that is not read",
    "one that is not read at all errs by 0.5")
RATE_BEFORE = named("RATE_BEFORE", 7, "steps", "before the rate is doubled")
RATE_PATIENCE = named("RATE_PATIENCE", 60, "steps", "at most so many more until a step is seen")

# -- blackbox/calling.py ------------------------------------------------------------------------------------------

DEFAULT_RATE = named("DEFAULT_RATE", 1e-3, "learning rate",
    "where one is required and none is given",
    "torch's defaults")
TRIAL_CALLS = named("TRIAL_CALLS", 2, "steps", "that a call must survive", "the first may be none")

# -- blackbox/leaves.py -------------------------------------------------------------------------------------------

STATE_DEPTH = named("STATE_DEPTH", 5, "containers", "within containers of an optimizer's state that are looked into")
