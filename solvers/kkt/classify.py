"""What kind of KKT point: global maximum, local maximum, saddle with a witness, or not known.

First-order conditions do not tell (Vardi, Shamir & Srebro 2110.02732: trajectories often end at KKT points that are
not even local maxima of the margin). Only what is shown is said: ``"global"`` by an upper bound that the margin
attains, ``"saddle"`` by nearby points of equal norm with a larger margin, ``"local maximum"`` by the second-order
sufficient condition. A search that finds nothing proves nothing, and the class is then ``"unknown"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Literal, final

import numpy as np

from maxmargin.models.blocks import Blocks, as_numpy, scale
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.bounds import upper_bound
from maxmargin.solvers.kkt.escape import NOISE, Search, Witness
from maxmargin.solvers.kkt.residual import natural_residual, project_simplex
from maxmargin.solvers.kkt.second_order import Curvature, curvature
from maxmargin.solvers.norms import Norm

Kind = Literal["global", "local maximum", "saddle", "unknown"]

ATTAINED = 1e-7  # relative: a margin this near a proved bound attains it
KKT = 1e-6  # natural residual above which a point is not classified
STRUCTURED, RANDOM = 60, 40  # perturbations tried


@final
@dataclass(frozen=True)
class Class:
    """The class of a KKT point, with what it rests on.

    Attributes:
        kind: ``"global"``, ``"local maximum"``, ``"saddle"`` or ``"unknown"``.
        evidence: One sentence: the bound, the curvature, the gains, or what was tried in vain.
        witness: For a saddle, the points that improve on it.
        curvature: The second-order test, where it was made.
        tries: Perturbations tried.
    """

    kind: Kind
    evidence: str
    witness: Witness | None = None
    curvature: Curvature | None = None
    tries: int = 0


def classify(problem: Problem, theta: Blocks, lam: np.ndarray, norm: Norm, *, seed: int = 0) -> Class:
    """Classify the KKT point θ with multipliers λ.

    In turn: an upper bound that the margin attains (every linear problem; nonlinear ones by
    :func:`maxmargin.solvers.kkt.bounds.upper_bound`); the second-order sufficient condition; a search for an ascent
    along the direction of most positive curvature, along idle parameters, and at random.

    Args:
        problem: The problem.
        theta: The point, of any length.
        lam: Its multipliers.
        norm: The norm.
        seed: Of the random directions.

    Returns:
        The class. A point that is no KKT point (natural residual above 1e-6) is ``"unknown"``.
    """
    blocks = as_numpy(theta)
    blocks = scale(blocks, 1 / float(norm.value(blocks)))
    lam = project_simplex(np.asarray(lam, dtype=np.float64))
    residual = natural_residual(problem, norm, blocks, lam)
    if not residual <= KKT:
        return Class("unknown", f"not a KKT point: its natural residual is {residual:.1e}")
    margin = float(problem.min_margin(blocks))
    bound = upper_bound(problem, norm)
    if bound is not None and margin >= bound * (1 - ATTAINED):
        return Class("global", f"the margin attains an upper bound of all margins, {bound:.10g}")
    form = curvature(problem, blocks, lam, norm) if problem.model.smooth else None
    if form is not None and form.proves_maximum:
        return Class("local maximum", _second_order(form), curvature=form)
    search = Search(problem, blocks, norm, seed)
    floor = max(NOISE, 100 * residual)
    curved = []
    if form is not None and form.direction is not None:
        curved = [("most positive curvature", sign * form.direction) for sign in (1.0, -1.0)]
    witness = search.run(chain(curved, search.structured()), STRUCTURED, floor) or search.run(
        search.random(), RANDOM, floor
    )
    if witness is not None:
        reached = ", ".join(f"{g:.1e} at {e:.1e}" for g, e in zip(witness.gains, witness.epsilons, strict=True))
        return Class("saddle", f"{witness.kind}: relative gains {reached}", witness, form, search.tries)
    why = "the model is not smooth" if form is None else _undecided(form)
    return Class("unknown", f"no ascent found in {search.tries} tries; {why}", None, form, search.tries)


def _second_order(form: Curvature) -> str:
    inert = f", {form.inert} inert parameters left out" if form.inert else ""
    if form.dimension == 0:
        return f"second-order condition: no critical direction{inert}"
    return (
        f"second-order condition: largest curvature {form.largest:.1e} on {form.dimension} critical directions{inert}"
    )


def _undecided(form: Curvature) -> str:
    if form.jump > 1e-3:
        return f"second derivatives jump by {form.jump:.1e} here, the largest curvature is {form.largest:.1e}"
    return f"the largest curvature on the critical directions is {form.largest:.1e}"
