"""The figures' SVG, read back: what is drawn where, in which color, and that nothing depends on luck."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from maxmargin.reports.figures.alignment import alignment_figure
from maxmargin.reports.figures.curves import Band, Curves
from maxmargin.reports.figures.gap import FLOOR, gap_figure
from maxmargin.reports.figures.palette import FAMILIES, styles
from maxmargin.reports.figures.panel import LEADING, Axis, Drawing
from maxmargin.reports.figures.profile import SAYS, profile_figure
from maxmargin.reports.figures.strip import dots

STEPS = np.unique(np.geomspace(8, 20_000, 40).astype(int))
SVG = "{http://www.w3.org/2000/svg}"
FALLING, FLAT = 5.0 / STEPS, np.full(len(STEPS), 0.2)


def curves(**gaps: np.ndarray | Sequence[float]) -> Curves:
    """One run each, the same values as gap and as 1 − alignment."""
    bands = {name: np.asarray(values, dtype=float).reshape(len(STEPS), -1) for name, values in gaps.items()}
    return Curves(
        gap={name: Band.of(STEPS, values) for name, values in bands.items()},
        alignment={name: Band.of(STEPS, 1 - values) for name, values in bands.items()},
        runs=1,
    )


def gaps(data: Curves, norm: str | None = "l2", title: str = "t") -> Drawing:
    return gap_figure(data, norm, title, styles(data.gap))


def lines(svg: str) -> list[tuple[str, bool, np.ndarray]]:
    """(color variable, whether it is thick, points) of each curve."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        kind = path.get("class", "").split()
        if "c" in kind:
            points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
            color = path.get("stroke", "").removeprefix("var(").removesuffix(")")
            found.append((color, "t" in kind, np.array(points, dtype=float)))
    return found


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("figure", [gap_figure, alignment_figure])
def test_the_judged_norm_is_thick_and_every_norm_has_its_own_color(figure: object) -> None:
    data = curves(l2=FALLING, linf=FLAT)
    drawn = lines(figure(data, "l2", "t", styles(data.gap)).svg)
    assert [(color, thick) for color, thick, _ in drawn] == [("--norm-linf", False), ("--norm-l2", True)]


def test_without_a_judged_norm_all_lines_are_alike() -> None:
    assert not any(thick for _, thick, _ in lines(gaps(curves(l2=FALLING, linf=FLAT), None).svg))


def test_a_power_law_is_a_straight_line_of_its_slope() -> None:
    """Both axes are logarithmic, and to scale: t^-1 against t^-2 under one pair of axes."""
    slopes = {}
    for color, _, points in lines(gaps(curves(l2=5.0 / STEPS, linf=40.0 / STEPS**2.0)).svg):
        x, y = points[:, 0], points[:, 1]
        slope, intercept = np.polyfit(x, y, 1)
        np.testing.assert_allclose(y, slope * x + intercept, atol=0.15)
        slopes[color] = slope
    assert slopes["--norm-linf"] / slopes["--norm-l2"] == pytest.approx(2, rel=1e-2)
    assert slopes["--norm-l2"] > 0  # SVG's y points down


def test_a_decade_is_as_long_between_ticks_as_on_a_curve() -> None:
    axis = Axis.logarithmic(1e-4, 1.0)
    places = [float(axis.part(value)) for value, _ in axis.ticks]
    np.testing.assert_allclose(places, [1, 0.75, 0.5, 0.25, 0], atol=1e-12)
    assert [name for _, name in axis.ticks] == ["1", "10⁻¹", "10⁻²", "10⁻³", "10⁻⁴"]


@pytest.mark.parametrize("decades", range(1, 40))
def test_an_axis_has_neither_no_ticks_nor_too_many(decades: int) -> None:
    assert 2 <= len(Axis.logarithmic(10.0**-decades, 1.0).ticks) <= 7


@pytest.mark.parametrize("values", [[0.0], [-1e-9], [FLOOR]], ids=["zero", "negative", "at the floor"])
def test_gaps_that_a_log_axis_cannot_show_stand_at_the_floor_with_a_note(values: list[float]) -> None:
    drawing = gaps(curves(l2=np.concatenate([FALLING[:-1], values]), linf=FLAT))
    assert drawing.notes == ("Gaps at or below 1e-12 are drawn at 1e-12: beyond it float64 cannot tell them from 0.",)
    box = np.array(ElementTree.fromstring(drawing.svg).get("viewBox", "").split(), dtype=float)
    for _, _, points in lines(drawing.svg):
        assert ((points >= 0) & (points <= box[2:])).all()


def test_gaps_above_the_floor_need_no_note() -> None:
    assert gaps(curves(l2=FALLING)).notes == ()


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
def test_odd_data_make_well_formed_figures(drawn: Curves) -> None:
    style = styles([*drawn.gap, *drawn.alignment])
    for figure in (gap_figure, alignment_figure):
        svg = figure(drawn, "l2", "t", style).svg
        ElementTree.fromstring(svg)
        assert "nan" not in svg


def test_names_are_text_whatever_they_contain() -> None:
    names = ("$x$", "<b>&amp;", "ℓ2\x00", "a" * 50)
    svg = gaps(curves(**dict.fromkeys(names, FLAT)), "$x$", 'title "<&>').svg
    assert {"$x$", "<b>&amp;", "\\u21132\\x00", "a" * 17 + "~"} <= set(texts(svg))
    assert ElementTree.fromstring(svg).get("aria-label") == 'title "<&>'


def test_labels_of_curves_that_end_together_do_not_overlap() -> None:
    data = curves(l1=FLAT, l2=FLAT, linf=FLAT * 1.01, spectral=FLAT * 1.02, nuclear=FLAT, hybrid=FLAT)
    found = ElementTree.fromstring(gaps(data).svg).iter(f"{SVG}text")
    heights = sorted(float(e.get("y", "nan")) for e in found if e.text in data.gap)
    assert len(heights) == 6
    assert np.diff(heights).min() >= LEADING - 0.11


def test_a_label_far_from_the_others_stands_at_its_curves_end() -> None:
    """Five labels crowd at the top; the sixth must not be pushed along with them."""
    crowd = dict.fromkeys(("l1", "linf", "spectral", "nuclear", "hybrid"), FLAT * 4)
    svg = gaps(curves(**crowd, l2=FALLING)).svg
    (label,) = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.text == "l2"]
    (end,) = [points[-1] for color, _, points in lines(svg) if color == "--norm-l2"]
    assert float(label.get("y", "nan")) == pytest.approx(end[1] + 4, abs=0.2)  # the text's baseline


def test_colors_are_the_pages_own() -> None:
    svg = gaps(curves(l2=FALLING, linf=FLAT, custom=FLAT)).svg
    assert not re.findall(r"#[0-9a-f]{3,6}|rgb", svg)
    assert "var(--norm-other)" in svg
    assert "<style" not in svg
    assert " id=" not in svg


def test_members_of_a_family_share_the_color_and_differ_in_dash() -> None:
    found = styles(["schatten:3", "schatten:1.5", "l2"])
    assert found["schatten:3"].color == found["schatten:1.5"].color != found["l2"].color
    assert found["schatten:3"].dash != found["schatten:1.5"].dash


def test_a_profile_is_drawn_sorted_and_its_norm_is_thick() -> None:
    profiles = {"entries": np.array([[1.0, 1.0, 0.5]]), "singular values:W": np.array([[1.0, 0.25]])}
    drawing = profile_figure(profiles, "linf", "t")
    assert drawing is not None
    assert drawing.notes == (SAYS["linf"],)
    curve = [(color, thick, points) for color, thick, points in lines(drawing.svg) if len(points) > 1]
    assert {(color, thick) for color, thick, _ in curve} == {("--norm-linf", True), ("--norm-spectral", False)}
    by_color = {color: points for color, _, points in curve if len(points) > 1}
    heights = by_color["--norm-linf"][:, 1]
    assert heights[0] == heights[1] < heights[2], "a plateau, then a fall"


def test_a_profile_of_runs_that_are_not_finite_is_none() -> None:
    assert profile_figure({"entries": np.full((2, 3), np.nan)}, "l2", "t") is None
    assert profile_figure({}, "l2", "t") is None


def test_dots_lie_on_a_log_scale_and_the_judged_norms_is_on_top() -> None:
    found = dots(
        [("l2", 1e-3, True, False), ("linf", 1.0, False, False), ("l1", 1e-9, False, True), ("x", np.nan, 0, 0)]
    )
    assert [(dot.norm, dot.x) for dot in found] == [("l1", 4.0), ("linf", 124.0), ("l2", 64.0)]


def test_every_family_has_a_color_of_its_own() -> None:
    for scheme in ("light", "dark"):
        assert len({getattr(color, scheme) for color in FAMILIES.values()}) == len(FAMILIES)
