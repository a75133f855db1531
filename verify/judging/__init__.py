"""From evidence to an answer: facts, thresholds, rules, reasons in words, and the conclusion over problems.

Imports evidence, results and the table of thresholds. Read ``rules.py`` first, with ``facts.py`` beside it.

How a verdict is reached
------------------------
One norm is judged on one problem (``rules.RULES``); the first of these that has an answer decides:

1. *Nothing was measured* (no run separated the data, no solver found the reference): INCONCLUSIVE.
2. *Another norm's* gap is within the bound, and this one's is ``ratio`` times as large or more: FAILS.
3. All that is asked is there (gap within its bound, every other norm's gap ``ratio`` times larger, late steps
   aligned), but a *hypothesis* of the theorem *is unmet*: INCONCLUSIVE.
4. All that is asked is there and the gap *closes*, its slope's whole 95 % interval below FALLING, or is 0 to REACHED:
   HOLDS.
5. All that is asked is there, but the gap *stands*: FAILS if it surely does so above PLATEAU (or may, where steps are
   not the norm's under constant gradients), else INCONCLUSIVE.
6. Only another norm's gap is too near: *not told apart*, INCONCLUSIVE.
7. The gap *may still close*, and the steps do not speak against it: INCONCLUSIVE, with the steps that would decide.
8. Otherwise it is *refuted*: FAILS.

Gaps are the largest over the runs for the norm itself, the smallest for the others; a norm closer than APART on this
problem is no other norm. Late steps may chatter where, under constant gradients, they are the norm's own. Where a
memory asks for more steps than the tier has (``decide``), steps that are the norm's own are not refuted before margins
are LATE_MARGIN, and the quick tier's bounds may decide. Over problems one FAILS is FAILS and HOLDS takes all, and for
each other norm a problem that tells it apart (``conclusion.py``). ``maxmargin list thresholds`` has every number.
"""
