"""Steepest descent with momentum, exact or not, keeps a rate and an alignment that are proved for every step.

With the exponential loss L, separable data of margin γ* and B = max ‖g_i‖_*, and any u_t with ‖u_t‖ ≤ 1 and
⟨m, u_t⟩ ≤ −(1 − c) ‖m‖_*, where m is a convex combination of past gradients: over the way N_st from step s to step t a
weight changes by a factor e^(B N_st) at most, so ‖m − ∇L‖_* ≤ B L ε_t with ε_t the average of e^(B N_st) − 1, and

    log L(t+1) ≤ log L(t) − η (1 − c) ‖∇L‖_*/L + 2 η B ε_t + η² B² e^(ηB)/2,      ‖∇L‖_* ≥ γ* L.

Hence q ≥ (1 − c) γ* N − Σ(2 η B ε + η² B² e^(ηB)/2) − log L(0) while ‖θ‖ ≤ ‖θ(0)‖ + N: limsup Γ ≤ c for decaying η, and
each step's alignment is at least (1 − c) − 2 ε_t B L/‖∇L‖_*. Without momentum: Gunasekar et al. 1802.08246; with it the
argument of Fan, Schmidt & Thrampoulidis 2502.04664; the constants, and c, are our own derivation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from theory.properties.drawn import NORMS, Data, data, over
from typing_extensions import override

from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent
from maxmargin.verify.results.alignment import alignment

RUNS, STEPS, L2 = 3, 4000, get_norm("l2")


@dataclass(frozen=True)
class Mixed(MomentumSteepestDescent):
    """An inexact lmo: (1 − share) of it, and ``share`` of another norm's, brought to this norm's sphere."""

    share: float = 0.0
    other: Norm = L2

    @override
    def direction(self, state, gradient, step):
        u, after = super().direction(state, gradient, step)
        if not self.share:
            return u, after
        v, _ = replace(self, share=0.0, of=self.other).direction(state, gradient, step)
        size = self.of.value(v)
        return {k: (1 - self.share) * u[k] + self.share / size * v[k] for k in u}, after


@dataclass(frozen=True)
class Descent:
    """Runs of one optimizer on data sets of one shape, at η₀ t^(−a); η₀ is ``pace`` of what makes the rate best."""

    data: Data
    norm: str
    beta: float = 0.0
    kind: str = "ema"
    a: float = 0.5
    pace: float = 1.0
    share: float = 0.0
    other: str = "l2"


@st.composite
def descents(draw):
    share = draw(st.sampled_from([0.0, 0.0, 0.1, 0.3]))
    return Descent(
        draw(data()),
        draw(NORMS),
        draw(st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95])),
        draw(st.sampled_from(["ema", "heavy-ball", "nesterov"])),
        draw(st.floats(0, 0.7).map(lambda x: round(x, 2))),
        draw(st.sampled_from([0.3, 1.0])),
        share,
        draw(st.sampled_from(["l2", "linf", "spectral"])) if share else "l2",
    )


def optimizer(case):
    return Mixed(get_norm(case.norm), case.beta, case.kind, case.share, get_norm(case.other))


def proved(case, largest, samples):
    """η₀, each step's η, and its ε: η is held for 8 steps at a time."""
    unit = (8 * (np.arange(STEPS) // 8) + 1.0) ** -case.a
    worst = 0.5 + 2 * case.beta / (1 - case.beta)
    eta0 = case.pace * min(0.3 * (1 - case.beta), (np.log(samples + 1) / worst / (unit**2).sum()) ** 0.5) / largest
    etas, epsilon = eta0 * unit, np.zeros(STEPS)
    total, weight = 0.0, 0.0  # Σ β^(t−s) e^(B N_st) and Σ β^(t−s)
    for t in range(STEPS):
        total = 1 + case.beta * np.exp(largest * etas[t - 1]) * total if t else 1.0
        weight = 1 + case.beta * weight
        # Nesterov's step adds the newest gradient once more.
        epsilon[t] = (
            (case.beta * total + 1) / (case.beta * weight + 1) - 1 if case.kind == "nesterov" else total / weight - 1
        )
    return eta0, etas, epsilon


def steps_keep_the_rate_and_alignment_that_are_proved(case):
    norm = get_norm(case.norm)
    problems = [case.data.problem(i) for i in range(RUNS)]
    origin = {name: np.zeros(shape) for name, shape in problems[0].shapes.items()}
    rows = [problem.jacobian(origin) for problem in problems]
    largest = max(float(norm.dual({k: g[k][i] for k in g})) for g in rows for i in range(problems[0].n_margins))
    eta0, etas, epsilon = proved(case, largest, problems[0].n_margins)
    start = starts(problems[0], RUNS, seed=case.data.seed, scale=0.01 / largest)
    path = run(
        problems,
        optimizer(case),
        start,
        steps=STEPS,
        schedule=PowerLaw(eta0, case.a),
        loss="exponential",
        checkpoints=8,
    )
    travelled = np.concatenate([[0.0], etas.cumsum()])[path.steps]
    np.testing.assert_allclose(path.travelled, np.repeat(travelled[:, None], RUNS, 1), rtol=1e-12)
    spent = np.concatenate(
        [[0.0], (2 * etas * largest * epsilon + (etas * largest) ** 2 * np.exp(etas * largest) / 2).cumsum()]
    )
    for i, problem in enumerate(problems):
        best = solve_margin(problem, norm).margin
        first = path.at(0, i)
        log_loss = np.logaddexp.reduce(-problem.margins(first))
        for t in range(1, len(path.steps)):
            theta, g, step = (path.at(t, i, field) for field in ("theta", "gradient", "update"))
            promised = (1 - case.share) * best * travelled[t] - spent[path.steps[t]] - log_loss
            assert path.margin[t, i] >= promised - 1e-9 * (1 + abs(promised)), "the margin lags behind what is proved"
            assert norm.value(theta) <= (travelled[t] + norm.value(first)) * (1 + 1e-9), "θ is longer than its way"
            length = float(norm.value(step)) / path.eta[t, i]
            assert (1 - case.share) * (1 - 1e-9) <= length <= 1 + 1e-9, "a step's length is not its learning rate"
            m = problem.margins(theta)
            pull = float(norm.dual(g)) / np.exp(m.min() - m).sum()
            late = epsilon[min(path.steps[t], STEPS - 1)]
            aligned = (1 - case.share) - 2 * late * largest / pull
            assert alignment(norm, g, step) >= aligned - 1e-9, "a step is less aligned than is proved"


test_steps_keep_the_rate_and_alignment_that_are_proved = over(descents(), 100)(
    steps_keep_the_rate_and_alignment_that_are_proved
)
