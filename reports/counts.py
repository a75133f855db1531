"""Counts with what they can say: how often something happens at most, of what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

CONFIDENCE = 0.95


def at_most(seen: int, tried: int) -> float:
    """Return the one-sided 95 % bound above a rate, exact for independent cases; 1 where it happened in all.

    The largest rate at which no more than ``seen`` of ``tried`` would still happen in 5 % of such samples (Clopper and
    Pearson, Biometrika 26, 1934): the 95 % quantile of Beta(seen + 1, tried − seen).

    Args:
        seen: How often it happened.
        tried: In how many cases.

    Raises:
        ValueError: for counts that cannot be.

    Example:
        >>> [f"{at_most(*n):.3f}" for n in ((0, 51), (1, 51), (51, 51))]
        ['0.057', '0.090', '1.000']
    """
    if not 0 <= seen <= tried or tried == 0:
        raise ValueError(f"{seen} of {tried} is no count")
    if seen == tried:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(CONFIDENCE, seen + 1, tried - seen))


def rate(right: int, tried: int, verb: str, wrong: str) -> str:
    """Say a count, with the bound on what it leaves.

    Args:
        right: How many went as they should.
        tried: Of how many.
        verb: What they did.
        wrong: What the others did.

    Returns:
        The count, and the bound in brackets.

    Example:
        >>> rate(51, 51, "caught", "missed")
        '51 of 51 caught (at most 5.7 % missed)'
        >>> rate(0, 0, "caught", "missed")
        'none to be caught'
    """
    if tried == 0:
        return f"none to be {verb}"
    return f"{right} of {tried} {verb} (at most {100 * at_most(tried - right, tried):.1f} % {wrong})"


IF_INDEPENDENT = "Bounds in brackets hold with 95 % confidence, if cases were independent."


def by_class(answers: Iterable[str]) -> str:
    """Count the answers of each class.

    Returns:
        The counts, the most frequent first.

    Example:
        >>> by_class(["holds", "refuted", "holds"])
        '2 holds · 1 refuted'
    """
    return " · ".join(f"{n} {answer}" for answer, n in Counter(answers).most_common())
