"""Contrast: whatever is written in a color can be read on what it stands on, on light and dark pages."""

from __future__ import annotations

import pytest

from maxmargin.reports.figures.palette import FAMILIES, ON, OTHER, PAGE, Color

INKS = {name: PAGE[name] for name in ("ink", "soft", "accent")} | FAMILIES | {"other": OTHER}
PAIRS = [(name, color, ground) for name, color in INKS.items() for ground in ("paper", "card", "shade")]
PAIRS += [(name, PAGE[name], ground) for name, grounds in ON.items() for ground in grounds]


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    """Values of the W3C's own example: black on white is 21, #777777 on white 4.48."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=5e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "color", "ground"), PAIRS)
def test_text_can_be_read(name: str, color: Color, ground: str, scheme: str) -> None:
    assert contrast(getattr(color, scheme), getattr(PAGE[ground], scheme)) >= 4.5, name
