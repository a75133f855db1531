"""Numbers as the page shows them: one format everywhere."""

from __future__ import annotations

import math
import re

from maxmargin.verify.results import shown

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def known(value: float | None) -> float | None:
    """The value where something was measured, else None."""
    return value if value is not None and math.isfinite(value) else None


def num(value: float | None, digits: int = 2) -> str:
    """Return a number for people; – where nothing was measured.

    Example:
        >>> num(0.0123), num(0.00123), num(-2e-5), num(12345.6), num(1.0), num(None)
        ('0.012', '1.2×10⁻³', '−2.0×10⁻⁵', '1.2×10⁴', '1', '–')
    """
    value = known(value)
    if value is None:
        return "–"
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return (f"{value:.{digits}g}" if abs(value) < 99.5 else f"{value:.0f}").replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".replace("-", "−", value < 0).split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPT)}"


def prose(text: str) -> str:
    """Return a stored sentence with its numbers in the page's format; one with a program in it stays as it is.

    Example:
        >>> prose("KKT gap 1.4e-04 under l2, another at 8.2e-02 after 3e+05 steps")
        'KKT gap 1.4×10⁻⁴ under l2, another at 0.082 after 3.0×10⁵ steps'
    """
    if "\n" in text:
        return text
    return re.sub(r"(?<![\w.])\d(?:\.\d+)?e[-+]\d\d+(?!\w)", lambda found: num(float(found[0])), text)


def power(value: float) -> str:
    """A power of ten as the tick of an axis: 1, 10, 10², 10⁻³."""
    exponent = round(math.log10(value))
    return f"{value:g}" if 0 <= exponent <= 1 else "10" + str(exponent).translate(SUPERSCRIPT)


def fixed(value: float | None, digits: int) -> str:
    """With so many digits after the point."""
    value = known(value)
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no −0.00


def ratio(value: float | None) -> str:
    """How many times as large."""
    if value is None:
        return "–"
    if value >= 1e4:
        return "> 10⁴" if math.isfinite(value) else "∞"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def angle(distance: float | None) -> str:
    """Return the angle between two directions whose unit vectors lie so far apart (ℓ2), in degrees.

    Example:
        >>> angle(2 ** 0.5), angle(1e-3), angle(None)
        ('90°', '0.057°', '–')
    """
    distance = known(distance)
    if distance is None:
        return "–"
    return f"{num(math.degrees(2 * math.asin(min(max(distance, 0.0) / 2, 1.0))))}°"


def count(value: float | None) -> str:
    """A whole number, as sentences and tables write it."""
    return "–" if value is None else shown.count(value)


def duration(seconds: float | None) -> str:
    """A time, to the second or minute."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


FILTERS = {f.__name__: f for f in (num, prose, fixed, ratio, angle, count, duration)}
"""By their names in the templates."""
