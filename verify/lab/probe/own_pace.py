"""What an optimizer does to its own step's length, and our pacing undoes: a schedule of its own, a trust ratio.

Gradients and learning rate stay as they are, and the weights are put back before each call; what changes then from
call to call is the optimizer's own. Averages that fill up lengthen or shorten the first steps too, by what their memory
tells; only what is more than that is a schedule.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from math import inf, isfinite, log, log2

from maxmargin.verify.blackbox.difference import size
from maxmargin.verify.blackbox.handle import Path
from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import OWN_CALLS, OWN_POWER


def own_schedule(session: Session, memory: float, copies: Collection[Path] = ()) -> float:
    """The power of the call's number with which steps change by themselves; 0 where they do not.

    Args:
        session: The target's.
        memory: Steps that its slowest moment remembers.
        copies: Parts of its state that are places among the weights.

    Returns:
        The power, where it is largest: −2 for a learning rate divided by t², 1 for a linear warm-up.
    """
    if memory == inf:
        return 0.0  # a state that never forgets shortens its steps for ever, which is said elsewhere
    handle = session.open()
    handle.set_lr(session.rate)
    marks = [OWN_CALLS // 2**i for i in (3, 2, 1, 0)]
    seen: list[float] = []
    try:
        for call in range(1, OWN_CALLS + 1):
            handle.put(session.start, copies)
            moved = handle.advance(session.gradients[-1])
            if call in marks:
                seen.append(size(moved))
    except TargetError:
        return 0.0
    if not all(length > 0 and isfinite(length) for length in seen):
        return 0.0
    kept = 1 - 1 / max(memory, 1.0)
    found = [0.0]
    for (early, short), (late, long) in pairwise(zip(marks, seen, strict=True)):
        power, filling = log2(long / short), log2((1 - kept**late) / (1 - kept**early))
        if abs(power) > OWN_POWER + 2 * filling:
            found.append(power)
    return max(found, key=abs)


def trust_power(session: Session, length: float) -> float:
    """The power of the weights' length with which a step's length goes; 1 for a trust ratio, 0 for none.

    Args:
        session: The target's.
        length: Of its last warm step.

    Returns:
        The power, to a tenth; 0 where there is none, or no step.
    """
    other = size(session.run(start_factor=3.0)[1])
    if not (other > 0 and length > 0 and isfinite(other) and isfinite(length)):
        return 0.0
    return round(log(other / length) / log(3.0), 1) + 0.0
