"""From evidence to an answer: facts, thresholds, rules, reasons in words, and the conclusion over problems.

Imports evidence, results and the table of thresholds. Read ``rules.py`` first, with ``facts.py`` beside it.

In short
--------
A direction belongs to the norm N whose set of KKT points it reaches. **HOLDS** takes evidence for N and against every
other norm: the KKT gap under N is at most {gap_linear} on linear models ({gap_network} on networks) and closes, like
a power of the steps whose whole 95 % interval is below {FALLING}; each other norm whose gap at N's own point is
{APART} or more still has {TOLD} of that gap; steps are {steps_linear} ({steps_network}) aligned with steepest descent
under N; each hypothesis of the theorem, and each probe of the optimizer, is met. **FAILS** takes evidence too:
another norm's set is reached (at most {LEFT} of its gap is left), or the gap stands still above {PLATEAU} at margins
of {LATE_MARGIN}, or steps are plainly not N's; an unmet hypothesis of the theorem forbids it. All else is
**INCONCLUSIVE**, with what is missing. Less evidence never makes a verdict easier.

How a verdict is reached
------------------------
One norm N is judged on one problem. Its own point θ* is the one nearest to a run's end θ: on the optimal face of a
linear model, or the KKT point that is matched to the end on a network. Another norm N' counts where Γ_N'(θ*) is APART
or more; Γ_N'(θ) / Γ_N'(θ*) is then 1 if θ has reached N's set and 0 if it has reached that of N', whichever norms they
are, while the gaps of two norms, one linear in the direction's error and one quadratic, cannot be compared.

HOLDS takes all of these:

- Γ_N is within its bound in every run, and *closes*: the whole 95 % interval of its slope is below FALLING, or it is 0
  to REACHED; on a linear model θ is within the bound of the optimal face;
- θ* is known, and every norm that counts has at least TOLD of its gap there;
- late steps are aligned with N's steepest descent, or steps under constant gradients are (their mean, where single
  ones go on changing);
- every hypothesis that is judged is met: of the theorem (run, schedule, model), and of the optimizer (probes).

FAILS takes one of these, and no hypothesis of the theorem unmet:

- *another norm's* set is reached: its gap is within the bound and at most LEFT of what it is at θ*, while Γ_N does not
  close;
- Γ_N *stands still* above PLATEAU: none of the interval of its slope is below FALLING (where steps under constant
  gradients are not N's: not all of it), and margins are LATE_MARGIN in a run whose learning rate is honoured, or those
  steps are not N's;
- steps are *misaligned*, late in training and under constant gradients; where the latter were not taken, or are made
  by chance, late in training, with margins of LATE_MARGIN in such a run, while Γ_N is seen to stand still, or nearly;
- they leave *no norm a chance elsewhere*: at a realistic shape they plainly miss the norm that they follow exactly on
  small blocks, or move otherwise far; parameters of one shape are mixed up; far below a floor they follow the weights;
  or as gradients vanish some blocks stand still beside others.

Everything else is INCONCLUSIVE, with what is missing. Over problems one FAILS is FAILS; HOLDS takes all problems, and
for each other norm that is not the same on all of them one problem where it counts (``conclusion.py``).
``maxmargin list thresholds`` has every number.
"""
