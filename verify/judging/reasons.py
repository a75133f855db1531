"""The reasons of the rules, and the only place where they are put into words."""

from __future__ import annotations

from enum import Enum

_GAP = "KKT gap {f.gap:.1e} under {f.norm}"
_STANDS = f"{_GAP} is within its bound, but it is not seen to close"
_MOVES = "the gap moves like t^{f.own.slope:.2f} (95 %: {f.own.slope_interval[0]:.2f} … {f.own.slope_interval[1]:.2f})"


class Reason(Enum):
    """A reason; its value is the sentence, filled in from the facts ``f`` that it was found in."""

    NOT_SEPARATED = "no run separated the data with finite weights, so there is no margin to speak of"
    NOT_SOLVED = "the margin problem under {f.norm} could not be solved here"
    NO_GAP = "the KKT gap under {f.norm} could not be measured"
    NO_ALIGNMENT = "the alignment of the last steps under {f.norm} could not be measured"
    ANOTHER_NORMS = (
        "the margin that is maximized is another norm's: KKT gap {f.rival_gap:.1e} under {f.rival}, "
        "{f.gap:.1e} under {f.norm}"
    )
    LARGE = f"{_GAP}, needed ≤ {{f.bounds.gap:.0e}}"
    RIVAL_NEAR = (
        "{f.rival}'s gap {f.rival_gap:.1e} is only {f.rival_ratio:.1f} times {f.norm}'s {f.gap:.1e}, "
        "needed ≥ {f.bounds.ratio:g} times"
    )
    MISALIGNED = (
        "steps are only {f.own.alignment:.3f} aligned with steepest descent under {f.norm}, "
        "needed ≥ {f.bounds.alignment:g}"
    )
    UNMET = "the {f.norm} gap closes ({f.gap:.1e}), but a hypothesis of the theorem is unmet: {f.unmet}"
    STANDS = _STANDS
    STANDS_FOREIGN = (
        f"{_STANDS}, and under constant gradients its steps are only {{f.steady:.3f}} aligned with {{f.norm}}'s"
    )
    SMALL = f"{_GAP}; nearest other norm: {{f.rival}} at {{f.rival_gap:.1e}}"
    SMALL_ALONE = _GAP
    NOT_TOLD_APART = "the two norms are not told apart here"
    TOO_EARLY = (
        "too early to tell: margins are {f.margin:.2g}, and its memory asks for {f.short_of:.0f} times more steps"
    )
    QUICK_BOUNDS = (
        "by the quick tier's bounds, as its memory asks for {f.short_of:.0f} times more steps than the {f.tier} tier "
        "has; the {f.tier} tier's gap of {f.asked.gap:.0e} would be met after about {f.steps_asked:.1e}"
    )
    # How the gap moves
    NO_SLOPE = "too few checkpoints for a slope"
    FLAT = f"{_MOVES}: a plateau"
    NEARLY_FLAT = f"{_MOVES}: a plateau, or nearly"
    CLOSING = f"{_MOVES}: still closing"
    CLOSING_LATE = f"{_MOVES}: still closing, the bound would be met after about {{f.steps_needed:.1e}} steps"
