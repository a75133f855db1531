"""The figures' SVG, read back: what is drawn where, in which color, and that nothing depends on luck."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from maxmargin.reports.curves import Band, Curves
from maxmargin.reports.figures import FLOOR, gap_figure
from maxmargin.reports.palette import FAMILIES, OTHER, styles

STEPS = np.unique(np.geomspace(8, 20_000, 40).astype(int))
SVG = "{http://www.w3.org/2000/svg}"


def curves(**gaps: np.ndarray | Sequence[float]) -> Curves:
    """One run each, the same values as gap and as 1 − alignment."""
    bands = {name: np.asarray(values, dtype=float).reshape(len(STEPS), -1) for name, values in gaps.items()}
    return Curves(
        gap={name: Band.of(STEPS, values) for name, values in bands.items()},
        alignment={name: Band.of(STEPS, 1 - values) for name, values in bands.items()},
        runs=1,
    )


FALLING, FLAT = 5.0 / STEPS, np.full(len(STEPS), 0.2)


def lines(svg: str) -> list[tuple[str, str, np.ndarray]]:
    """(color variable, stroke width, points) of each curve."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        style = path.get("style", "")
        color = re.search(r"stroke: var\((--norm-[a-z0-9]+)\)", style)
        width = re.search(r"stroke-width: ([\d.]+)", style)
        if color and "fill: none" in style:
            points = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
            found.append((color[1], width[1] if width else "", np.array(points, dtype=float)))
    return found


def test_the_matching_norm_is_thick_and_every_norm_has_its_own_color() -> None:
    drawn = lines(gap_figure(curves(l2=FALLING, linf=FLAT), "l2", "t", "s").svg)
    assert sorted({(color, width) for color, width, _ in drawn}) == [("--norm-l2", "2.4"), ("--norm-linf", "1.2")]
    assert len(drawn) == 4  # two panels


def test_without_a_matching_norm_all_lines_are_alike() -> None:
    drawn = lines(gap_figure(curves(l2=FALLING, linf=FLAT), None, "t", "s").svg)
    assert {width for _, width, _ in drawn} == {"2.4"}


def test_a_power_law_is_a_straight_line_of_its_slope() -> None:
    """Both axes are logarithmic, and to scale: t^-1 against t^-2 under one pair of axes."""
    drawn = lines(gap_figure(curves(l2=5.0 / STEPS, linf=40.0 / STEPS**2.0), "l2", "t", "s").svg)
    slopes = {}
    for color, _, points in drawn:
        x, y = points.T
        if x.max() < 400:  # the left panel
            slope, intercept = np.polyfit(x, y, 1)
            np.testing.assert_allclose(y, slope * x + intercept, atol=0.02)
            slopes[color] = slope
    assert slopes["--norm-linf"] / slopes["--norm-l2"] == pytest.approx(2, rel=1e-3)
    assert slopes["--norm-l2"] > 0  # SVG's y points down


@pytest.mark.parametrize("values", [[0.0], [-1e-9], [FLOOR]], ids=["zero", "negative", "at the floor"])
def test_gaps_that_a_log_axis_cannot_show_stand_at_the_floor_with_a_note(values: list[float]) -> None:
    bad = np.concatenate([FALLING[:-1], values])
    drawing = gap_figure(curves(l2=bad, linf=FLAT), "l2", "t", "s")
    assert drawing.notes == ("Gaps at or below 1e-12 are drawn at 1e-12: beyond it float64 cannot tell them from 0.",)
    assert all(np.isfinite(points).all() for _, _, points in lines(drawing.svg))
    box = np.array(ElementTree.fromstring(drawing.svg).get("viewBox", "").split(), dtype=float)
    for _, _, points in lines(drawing.svg):
        assert (points >= 0).all()
        assert (points <= box[2:]).all()


def test_gaps_above_the_floor_need_no_note() -> None:
    assert gap_figure(curves(l2=FALLING), "l2", "t", "s").notes == ()


@pytest.mark.parametrize(
    "drawn",
    [
        Curves({}, {"l2": Band.of(STEPS, np.ones((len(STEPS), 1)))}, 1),
        Curves({"l2": Band.of(STEPS, np.ones((len(STEPS), 1)))}, {}, 1),
        Curves({"l2": Band.of(STEPS[:1], np.ones((1, 3)))}, {"l2": Band.of(STEPS[:1], np.ones((1, 3)))}, 3),
        curves(**{f"schatten:{p}": FLAT * p / 10 for p in range(1, 9)}),
        curves(l2=np.full(len(STEPS), 1e-200)),
    ],
    ids=["no gaps", "no alignment", "one checkpoint", "eight norms", "tiny gaps"],
)
def test_odd_data_make_a_well_formed_figure(drawn: Curves) -> None:
    ElementTree.fromstring(gap_figure(drawn, "l2", "t", "s").svg)


def test_the_same_data_give_the_same_bytes_and_the_salt_keeps_ids_apart() -> None:
    data = curves(l2=FALLING, linf=FLAT)
    one, again, other = (gap_figure(data, "l2", "t", salt).svg for salt in ("a", "a", "b"))
    assert one == again
    ids = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_names_are_text_whatever_they_contain() -> None:
    names = ("$x$", "<b>&amp;", "ℓ2\x00", "a" * 50)
    svg = gap_figure(curves(**dict.fromkeys(names, FLAT)), "$x$", 'title "<&>', "s").svg
    texts = ["".join(e.itertext()).strip() for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "$x$" in texts
    assert "<b>&amp;" in texts
    assert "\\u21132\\x00" in texts
    assert "a" * 17 + "~" in texts
    assert ElementTree.fromstring(svg).get("aria-label") == 'title "<&>'


def test_labels_of_curves_that_end_together_do_not_overlap() -> None:
    data = curves(l1=FLAT, l2=FLAT, linf=FLAT * 1.01, spectral=FLAT * 1.02, nuclear=FLAT, hybrid=FLAT)
    svg = gap_figure(data, "l2", "t", "s").svg
    heights = [
        float(e.get("y", "nan"))
        for e in ElementTree.fromstring(svg).iter(f"{SVG}text")
        if "".join(e.itertext()).strip() in data.gap
    ]
    assert len(heights) == 6
    assert np.diff(sorted(heights)).min() >= 10  # the font's size


def test_a_label_far_from_the_others_stands_at_its_curves_end() -> None:
    """Five labels crowd at the top; the sixth must not be pushed along with them."""
    data = curves(l1=FLAT * 4, linf=FLAT * 4, spectral=FLAT * 4, nuclear=FLAT * 4, hybrid=FLAT * 4, l2=FALLING)
    svg = gap_figure(data, "l2", "t", "s").svg
    (label,) = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if "".join(e.itertext()).strip() == "l2"]
    ends = [points[-1] for color, _, points in lines(svg) if color == "--norm-l2" and points[:, 0].max() < 400]
    assert float(label.get("y", "nan")) == pytest.approx(ends[0][1], abs=5)  # the text's baseline lies a little below


def test_colors_are_the_pages_own() -> None:
    svg = gap_figure(curves(l2=FALLING, linf=FLAT, custom=FLAT), "l2", "t", "s").svg
    assert not re.findall(r"#[0-9a-f]{6}", svg.replace("url(#", "url("))
    assert "currentColor" in svg
    assert "var(--norm-other)" in svg
    assert "<style" not in svg


def test_every_color_is_distinct_in_both_schemes() -> None:
    every = [*FAMILIES.values(), OTHER]
    for scheme in ("light", "dark"):
        assert len({getattr(color, scheme) for color in every}) == len(every)


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("scheme", "paper"), [("light", "#ffffff"), ("dark", "#1a1e22")])
def test_every_color_stands_out_from_the_page(scheme: str, paper: str) -> None:
    """WCAG 2 asks a contrast of 3 of graphical objects."""
    for color in (*FAMILIES.values(), OTHER):
        dark, light = sorted([luminance(getattr(color, scheme)), luminance(paper)])
        assert (light + 0.05) / (dark + 0.05) >= 3, color


def test_members_of_a_family_share_the_color_and_differ_in_dash() -> None:
    found = styles(["schatten:3", "schatten:1.5", "l2"])
    assert found["schatten:3"].color == found["schatten:1.5"].color != found["l2"].color
    assert found["schatten:3"].dash != found["schatten:1.5"].dash
