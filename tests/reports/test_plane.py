"""The picture of the theory: its optima are those of the solvers, and its ways go where theory says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from maxmargin.reports.figures.plane import BALLS, NORMS, OPTIMA, SAMPLES, descent, plane_figures, value
from maxmargin.solvers.norms import get_norm


def test_the_optima_under_l1_and_linf_are_those_of_linear_programs() -> None:
    """Maximize t subject to ⟨z, w⟩ ≥ t and, under ℓ1 with w = a − b, Σ a + b ≤ 1."""
    margin = np.hstack([-SAMPLES, np.ones((2, 1))])
    linf = linprog([0, 0, -1], margin, [0, 0], bounds=[(-1, 1), (-1, 1), (None, None)])
    np.testing.assert_allclose(linf.x[:2], OPTIMA["linf"], atol=1e-9)
    both = np.vstack([np.hstack([-SAMPLES, SAMPLES, np.ones((2, 1))]), [1, 1, 1, 1, 0]])
    l1 = linprog([0, 0, 0, 0, -1], both, [0, 0, 1], bounds=[(0, None)] * 4 + [(None, None)])
    np.testing.assert_allclose(l1.x[:2] - l1.x[2:4], OPTIMA["l1"], atol=1e-9)


def test_the_optimum_under_l2_is_the_best_of_all_directions() -> None:
    angles = np.linspace(0, 2 * np.pi, 36_001)
    margins = (SAMPLES @ np.array([np.cos(angles), np.sin(angles)])).min(axis=0)
    assert float((SAMPLES @ np.array(OPTIMA["l2"])).min()) == pytest.approx(margins.max(), abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_lengths_and_steps_are_those_of_the_solvers_norms(norm: str) -> None:
    reference = get_norm(norm)
    for w in np.random.default_rng(0).standard_normal((20, 2)):
        assert value(norm, w) == pytest.approx(float(reference.value({"w": w})))
    for point in BALLS[norm]:
        assert value(norm, point) == pytest.approx(1)
    way = descent(norm)
    w = torch.tensor(way[7], requires_grad=True)
    torch.exp(-torch.tensor(SAMPLES) @ w).sum().backward()
    assert w.grad is not None
    step = reference.lmo({"w": w.grad.numpy()})["w"]
    np.testing.assert_allclose((way[8] - way[7]) / np.abs(way[8] - way[7]).max(), step / np.abs(step).max(), atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", NORMS)
def test_a_way_ends_at_the_optimum_of_its_own_norm_alone(norm: str, method: str) -> None:
    end = descent(method)[-1]
    cosine = float(end @ np.array(OPTIMA[norm]) / np.linalg.norm(end) / np.linalg.norm(OPTIMA[norm]))
    angle = np.degrees(np.arccos(min(cosine, 1)))
    assert angle < 2.5 if norm == method else angle > 15


def test_the_drawings_are_three_and_small() -> None:
    drawn = plane_figures()
    assert [way.norm for way in drawn] == list(NORMS)
    assert all(len(way.svg) < 6000 for way in drawn)
