"""The reasons of the rules, and the only place where they are put into words."""

from __future__ import annotations

from enum import Enum

_GAP = "KKT gap {f.gap:.1e} under {f.norm}"
_MOVES = "the gap moves like t^{f.own.slope:.2f} (95 %: {f.own.slope_interval[0]:.2f} … {f.own.slope_interval[1]:.2f})"


class Reason(Enum):
    """A reason; its value is the sentence, filled in from the facts ``f`` that it was found in."""

    NOT_SEPARATED = "no run separated the data with finite weights, so there is no margin to speak of"
    NOT_SOLVED = "the margin problem under {f.norm} could not be solved here"
    NO_GAP = "the KKT gap under {f.norm} could not be measured"
    NO_ALIGNMENT = "the alignment of the last steps under {f.norm} could not be measured"
    ANOTHER_NORMS = (
        "the margin that is maximized is another norm's: KKT gap {f.rival_gap:.1e} under {f.rival}, "
        "{f.rival_told:.2g} times what it is at {f.norm}'s own nearest point, and {f.gap:.1e} under {f.norm}"
    )
    LARGE = f"{_GAP}, needed ≤ {{f.bounds.gap:.0e}}"
    STOPS = f"{_GAP} does not close"
    STOPS_FOREIGN = (
        f"{_GAP} does not close, and under constant gradients its steps are only {{f.steady:.3f}} aligned with "
        "{f.norm}'s"
    )
    STANDS = f"{_GAP} is within its bound, but it is not seen to close"
    ELSEWHERE = "{f.elsewhere}"
    MISALIGNED = (
        "steps are only {f.own.alignment:.3f} aligned with steepest descent under {f.norm}, "
        "needed ≥ {f.bounds.alignment:g}"
    )
    UNMATCHED = "no KKT point under {f.norm} was found near the end of every run, so no other norm is told from it"
    RIVAL_NEAR = (
        "{f.rival}'s gap {f.rival_gap:.1e} is {f.rival_told:.2g} times what it is at {f.norm}'s own nearest point, "
        "needed ≥ {f.least_told:g}: the two norms are not told apart here"
    )
    FAR = "the direction is {f.own.distance:.1e} from the optimal face under {f.norm}, needed ≤ {f.bounds.distance:g}"
    UNMET = "a hypothesis of the theorem is unmet: {f.unmet}"
    UNKNOWN = "a hypothesis of the theorem could not be decided: {f.unknown}"
    NO_THEOREM = "nothing is refuted where a hypothesis of the theorem is unmet: {f.unmet_by_the_run}"
    TOO_EARLY = "too early to tell: margins are {f.margin:.2g}"
    SOME_RUNS = "that is said of {f.separated:.0%} of the runs, as the others did not separate the data"
    SLOWER = "that is said of a run at {f.slower:.2g} times the pace that its memory can follow, after a faster one"
    SMALL = f"{_GAP}; nearest other norm: {{f.nearest}} at {{f.nearest_gap:.1e}}"
    SMALL_ALONE = _GAP
    # How the gap moves
    NO_SLOPE = "too few checkpoints for a slope"
    FLAT = f"{_MOVES}: a plateau"
    NEARLY_FLAT = f"{_MOVES}: a plateau, or nearly"
    CLOSING = f"{_MOVES}: still closing"
    CLOSING_LATE = f"{_MOVES}: still closing, the bound would be met after about {{f.steps_needed:.1e}} steps"
