"""Faults of one token in our own source, and the tests that are asked first whether they see it: ``bench_source.py``.

The old text of a mutation stands exactly once in its file (``test_source.py``). ``why`` says what is wrong with the new
one; ``equal``, where it is given, why no test can see it: the mutated program does the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """``old`` → ``new`` in ``file``; ``first``: the tests that should see it, before the folder's own."""

    file: str
    old: str
    new: str
    why: str
    first: tuple[str, ...] = ()
    equal: str = ""


FOLDERS: dict[str, tuple[str, ...]] = {
    "solvers/norms/": (
        "tests/solvers/norms/test_norms.py",
        "tests/solvers/norms/test_lp.py",
        "tests/solvers/norms/test_laws.py",
    ),
    "solvers/linear/": ("tests/solvers/linear/test_optimum.py",),
    "solvers/routes/": ("tests/solvers/routes/test_saddle.py",),
    "solvers/kkt/": ("tests/solvers/kkt/test_gap.py", "tests/solvers/kkt/test_matching.py"),
    "solvers/schedules/": ("tests/solvers/schedules",),
    "models/families/": ("tests/models/test_laws.py",),
    "models/": ("tests/models/test_blocks.py", "tests/models/test_problem.py"),
    "verify/optimizers/core/": (
        "tests/verify/optimizers/core/test_logscale.py",
        "tests/verify/optimizers/test_optimizers.py",
    ),
    "verify/optimizers/relatives/": ("tests/verify/optimizers/test_adams_relatives.py",),
    "verify/optimizers/": (
        "tests/verify/optimizers/test_optimizers.py",
        "tests/verify/optimizers/test_adaptive.py",
        "tests/verify/optimizers/test_matrix.py",
    ),
    "verify/engine/native/": ("tests/verify/engine/native",),
    "verify/engine/": ("tests/verify/engine/test_run.py",),
    "verify/judging/": ("tests/verify/judging",),
    "verify/evidence/": ("tests/verify/evidence",),
    "verify/lab/probe/": ("tests/verify/lab/probe/test_probes.py", "tests/verify/lab/probe/test_memory.py"),
    "verify/lab/norm/": ("tests/verify/lab/norm",),
    "verify/lab/twin/": ("tests/verify/lab/twin/test_search.py",),
    "verify/training/": ("tests/verify/training",),
}
"""The quick tests of a folder, the likely killer first; of several prefixes the longest counts."""

THEORY = ("tests/theory/properties",)
"""What is asked where a folder's own tests see nothing."""


def tests_of(mutation: Mutation) -> list[str]:
    """All tests that a mutation is held against, in order, each as pytest's arguments."""
    prefix = max((p for p in FOLDERS if mutation.file.startswith(p)), key=len)
    return list(dict.fromkeys([*mutation.first, *FOLDERS[prefix], *THEORY]))


def _laws(which: str) -> tuple[str, ...]:
    return (f"tests/solvers/norms/test_laws.py -k 'numpy and ({which})'",)


def _models(which: str) -> tuple[str, ...]:
    return (f"tests/models/test_laws.py -k '{which}'",)


_ADAPTIVE = "tests/verify/optimizers/test_adaptive.py"
_MATRIX = "tests/verify/optimizers/test_matrix.py"


def _rows(file: str, *rows: tuple[str, ...] | Mutation, first: tuple[str, ...] = ()) -> list[Mutation]:
    return [row if isinstance(row, Mutation) else Mutation(file, *row, first=first) for row in rows]


MUTATIONS: tuple[Mutation, ...] = (
    *_rows(
        "solvers/norms/lp.py",
        ("else p / (p - 1)\n", "else p / (p + 1)\n", "the dual exponent with the wrong sign"),
        ("xp.sum((v / m) ** p) ** (1 / p)", "xp.sum((v / m) ** p) ** (1 * p)", "ℓ_p without its root"),
        ("return factor * np.sign(x)", "return np.sign(x)", "the sign's factor is missing in numpy"),
        (".max)).clamp(-1, 1)", ".max)).clamp(0, 1)", "negative entries have sign 0 in torch"),
        ("z = (v / peak(v)) ** (1 / (p - 1))", "z = (v / peak(v)) ** (1 / p)", "power of the maximiser"),
        ("nonzero(xp.sum(z**p) ** (1 / p))", "nonzero(xp.sum(z**p) ** (2 / p))", "the maximiser's length"),
        ("& (flat > 0)", "& (flat >= 0)", "ℓ_1's maximiser moves at zero"),
        ("index == xp.argmax(flat)", "index == xp.argmin(flat)", "the smallest entry for the largest"),
        ("nonzero(xp.maximum(norm, rho", "nonzero(xp.minimum(norm, rho", "points of the ball are moved to its sphere"),
        ("tau = xp.min((radius + moment)", "tau = xp.max((radius + moment)", "max for min in ℓ_1's threshold"),
        ("inside = tau >= top", "inside = tau <= top", "inside and outside of ℓ_1's ball exchanged"),
        (
            "count + c if math.isinf(p) else c * count + 1",
            "count + c if math.isinf(p) else c * count - 1",
            "a sign in a closed form",
        ),
        ("middle = (low + high) / 2", "middle = (low - high) / 2", "the middle of a bracket"),
        first=("tests/solvers/norms/test_lp.py",),
    ),
    *_rows(
        "solvers/norms/schatten.py",
        ("return -polar(G)", "return polar(G)", "ascent for descent"),
        ("cut = max(G.shape) * float(", "cut = min(G.shape) * float(", "a lower cut of singular values"),
        (
            "(spoilt - lp.maximiser(sigma, self.p))",
            "(spoilt + lp.maximiser(sigma, self.p))",
            "ascent for Schatten norms",
        ),
        ("dominates = [cp.sum(t[: k + 1]) >= fan", "dominates = [cp.sum(t[: k + 1]) <= fan", "majorization reversed"),
        ("return top * xp.linalg.svdvals(y) + spoilt", "return xp.linalg.svdvals(y) + spoilt", "a scale is missing"),
        first=_laws("spectral or schatten"),
    ),
    *_rows(
        "solvers/norms/entrywise.py",
        (
            "return lp.sign(G, -1.0) * lp.maximiser",
            "return lp.sign(G, 1.0) * lp.maximiser",
            "ascent for entrywise norms",
        ),
        (
            "return n ** (1 - 1 / self.p)",
            "return n ** (1 + 1 / self.p)",
            "a sign in a bound",
        ),
        first=_laws("l1 or entrywise"),
    ),
    *_rows(
        "solvers/norms/axes.py",
        ("norm = xp.linalg.vector_norm(y, axis=1", "norm = xp.linalg.vector_norm(y, axis=0", "columns for rows"),
        ("top * norm, (-1,)", "norm, (-1,)", "a scale is missing in the rows' norms"),
        first=_laws("maxrow or rows"),
    ),
    *_rows(
        "solvers/norms/parameter.py",
        ("_times(1 / weight, norm.lmo(G[name]))", "_times(weight, norm.lmo(G[name]))", "a block's weight upside down"),
        ("r.norm.dual_norm, 1 / r.weight)", "r.norm.dual_norm, r.weight)", "the dual norm's weight"),
        ("[-xp.sum(G[name] * step)", "[xp.sum(G[name] * step)", "what a block offers, with the wrong sign"),
        (
            "share = lp.maximiser(offers, self.aggregation)",
            "share = lp.maximiser(offers, lp.conjugate(self.aggregation))",
            "the dual exponent for the aggregation's",
        ),
        ('for wanted in (name, kind, "*")', 'for wanted in ("*", kind, name)', "the most general rule wins"),
        (
            "lp.conjugate(self.aggregation) if dual else",
            "lp.conjugate(self.aggregation) if not dual else",
            "norm and dual exchanged",
        ),
        first=_laws("blocks"),
    ),
    *_rows(
        "solvers/norms/aggregation.py",
        ("nu * w**2 / radius) * w", "nu * w / radius) * w", "power of a weight"),
        ("duals = xp.stack([norm.dual(x) / w", "duals = xp.stack([norm.dual(x) * w", "a weight upside down"),
        (
            "inside = lp.value(values, p) <= radius",
            "inside = lp.value(values, p) >= radius",
            "inside and outside exchanged",
        ),
        first=_laws("l2 or blocks"),
    ),
    *_rows(
        "solvers/norms/hybrid.py",
        ("Schatten(math.inf), ratio)", "Schatten(math.inf), 1 / ratio)", "the ratio upside down"),
    ),
    *_rows(
        "solvers/norms/shaped.py",
        ("max(1.0, rows / columns)", "max(1.0, columns / rows)", "rows and columns exchanged"),
        ("math.sqrt(max(rows, columns))", "math.sqrt(min(rows, columns))", "min for max in a shape's factor"),
        first=("tests/solvers/norms/test_shaped.py",),
    ),
    *_rows(
        "solvers/norms/polar/factor.py",
        ("kept = sigma > max(A.shape[-2:])", "kept = sigma < max(A.shape[-2:])", "noise is kept, and nothing else"),
        ("return svd_polar(scaled) + spoilt", "return svd_polar(scaled)", "a NaN is hidden"),
        first=("tests/solvers/norms/polar/test_factor.py",),
    ),
    *_rows(
        "solvers/norms/polar/jacobi.py",
        Mutation(
            "solvers/norms/polar/jacobi.py",
            "swap = a - t * c < b + t * c",
            "swap = a - t * c > b + t * c",
            "the shorter column first",
            ("tests/solvers/norms/polar/test_factor.py",),
            "columns in ascending order instead: the same factor, with the same errors on spectra of up to 100 decades",
        ),
        ("sin = cos * t", "sin = -cos * t", "a rotation the wrong way"),
        first=("tests/solvers/norms/polar/test_factor.py",),
    ),
    *_rows(
        "solvers/linear/optimum.py",
        ("gap = 1 - margin / upper if", "gap = 1 - upper / margin if", "a bracket upside down"),
        Mutation(
            "solvers/linear/optimum.py",
            "margin = float(problem.min_margin(theta)) / length",
            "margin = float(problem.min_margin(theta)) * length",
            "a norm that multiplies",
            equal="the routes' θ has norm 1 already, so the quotient and the product differ by rounding",
        ),
        ("max(0.0, float(gap))", "min(0.0, float(gap))", "a gap that is never positive"),
    ),
    *_rows(
        "solvers/routes/saddle.py",
        (
            "lower = float((self._A @ unit).min())",
            "lower = float((self._A @ unit).max())",
            "the largest margin for the smallest",
        ),
        ("if upper < self._upper or", "if upper > self._upper or", "the worst multipliers are kept"),
        (
            "lam = np.maximum(lam, 0.0)",
            "lam = np.abs(lam)",
            "negative multipliers folded over",
        ),
        (
            "np.argsort(A @ first)[: _WORKING // 2]",
            "np.argsort(A @ first)[_WORKING // 2 :]",
            "the large margins are worked on",
        ),
    ),
    *_rows(
        "solvers/kkt/gap.py",
        ("value = 1 - pull / bounds.upper\n", "value = 1 - pull / bounds.lower\n", "the wrong end of a bracket"),
        ("        pull = problem.degree * q\n", "        pull = q\n", "Γ without its degree"),
        ("slack = max(0.0, pull", "slack = min(0.0, pull", "a slack that is never positive"),
    ),
    *_rows(
        "solvers/kkt/residual.py",
        ("point + h * (size / pull)", "point - h * (size / pull)", "the gradient's sign in the residual"),
        ("lam - margins / margins.min()", "lam + margins / margins.min()", "complementarity's sign"),
        ("np.arange(1, len(z) + 1)", "np.arange(0, len(z))", "an index of the simplex's projection"),
        first=("tests/solvers/kkt/test_matching.py",),
    ),
    *_rows(
        "models/blocks.py",
        ("name: block + factor * b[name]", "name: block - factor * b[name]", "a sum that subtracts"),
        ("torch.cat(parts, dim=-1)", "torch.cat(parts[::-1], dim=-1)", "blocks in the opposite order"),
    ),
    *_rows(
        "models/problem.py",
        ("(2.0 * index - 1.0)", "(1.0 - 2.0 * index)", "the classes' signs exchanged"),
        ("eye[c] - np.delete(eye, c, axis=0)", "np.delete(eye, c, axis=0) - eye[c]", "contrasts with the wrong sign"),
        ("(self.contrasts @ flat)", "(self.contrasts.abs() @ flat)", "contrasts without their signs"),
        first=_models("jacobian"),
    ),
    *_rows(
        "models/model.py",
        ("/ shape[-1] ** 0.5", "/ shape[0] ** 0.5", "fan-out for fan-in"),
        first=_models("init"),
    ),
    *_rows(
        "models/families/networks.py",
        ('back = q * theta["a"] * below', 'back = theta["a"] * below', "a derivative without its power"),
        ("-r[..., self.positive :]], dim=-1)", "r[..., self.positive :]], dim=-1)", "output weights all positive"),
        (
            "** (self.power - 1) * (r > 0)",
            "** (self.power - 1) * (r >= 0)",
            "sleeping neurons count",
        ),
        first=_models("relu"),
    ),
    *_rows(
        "models/families/deep_linear.py",
        (
            'back = back @ theta[f"W{layer}"]\n        return {**dict',
            'back = theta[f"W{layer}"] @ back\n        return {**dict',
            "a transposed product",
        ),
        ("back.unsqueeze(-1) * forward[layer - 1]", "back.unsqueeze(-1) * forward[layer]", "a layer's index"),
        first=_models("deep-linear"),
    ),
    *_rows(
        "models/families/diagonal.py",
        ("before[layer - 1] * after", "before[layer] * after", "a layer's index"),
        first=_models("diagonal"),
    ),
    *_rows(
        "models/families/convolution.py",
        ("torch.cat([w[d - j :], w[: d - j]])", "torch.cat([w[j:], w[:j]])", "rotations the wrong way"),
        first=_models("conv"),
    ),
    *_rows(
        "models/families/attention.py",
        ('"K": query.T @ keys', '"K": keys.T @ query', "a transposed gradient"),
        first=_models("attention"),
    ),
    *_rows(
        "models/families/tied.py",
        (
            "sum(parts[1:], start=parts[0])",
            "sum(parts[2:], start=parts[0])",
            "a use of the shared weights is forgotten",
        ),
        first=_models("tied"),
    ),
    *_rows(
        "verify/optimizers/core/logscale.py",
        ("_common(rms, keep**0.5, gradient)", "_common(rms, keep, gradient)", "β for √β"),
        ("(take**0.5 * new)", "(take * new)", "1 − β for its root"),
        ("s = torch.maximum(top, b.log_scale)", "s = torch.minimum(top, b.log_scale)", "the smaller scale is kept"),
        (
            "numerator.log_scale - denominator.log_scale)",
            "numerator.log_scale + denominator.log_scale)",
            "a quotient's scale",
        ),
        ("(take * new) * g for", "(new) * g for", "1 − β is missing: a heavy ball"),
    ),
    *_rows(
        "verify/optimizers/core/moments.py",
        ("k: torch.maximum(left * a.blocks[k]", "k: torch.minimum(left * a.blocks[k]", "the smaller moment"),
        ("{k: -torch.exp(step.log_scale) * b", "{k: torch.exp(step.log_scale) * b", "ascent"),
        first=(_ADAPTIVE,),
    ),
    *_rows(
        "verify/optimizers/core/blockwise.py",
        ("(norm, weight / factor)", "(norm, weight * factor)", "a factor upside down"),
        first=("tests/verify/lab/twin/test_search.py -k blockwise",),
    ),
    *_rows(
        "verify/optimizers/steepest.py",
        (
            'self.kind == "heavy-ball" else 1.0 - self.beta\n',
            'self.kind == "heavy-ball" else self.beta\n',
            "β for 1 − β",
        ),
        (
            "combine(moment, self.beta, gradient, 1.0 - self.beta) if",
            "combine(state, self.beta, gradient, 1.0 - self.beta) if",
            "Nesterov's step along the old momentum",
        ),
        (
            "return self.of.lmo(ahead.blocks), moment",
            "return self.of.lmo(ahead.blocks), ahead",
            "Nesterov's look ahead is kept",
        ),
        ("lag_limit=1.0 - self.beta", "lag_limit=self.beta", "β for 1 − β in the pace"),
        first=("tests/verify/optimizers/test_optimizers.py -k 'second_step or numpy'",),
    ),
    *_rows(
        "verify/optimizers/core/two_moments.py",
        (
            "return 1.0 - torch.pow(self.beta1, step)",
            "return 1.0 - torch.pow(self.beta2, step)",
            "β₂ for β₁ in a correction",
        ),
        ("combine_rms(state.root, self.beta2,", "combine_rms(state.root, self.beta1,", "β₁ for β₂"),
        ("torch.sqrt(1.0 - torch.pow(self.beta2, step))", "(1.0 - torch.pow(self.beta2, step))", "a root is missing"),
        first=("tests/verify/optimizers/test_optimizers.py -k torchs",),
    ),
    *_rows(
        "verify/optimizers/adam.py",
        ("return {k: -r / c1", "return {k: r / c1", "ascent"),
        ("{k: b / c2 for", "{k: b * c2 for", "a correction upside down"),
        first=("tests/verify/optimizers/test_optimizers.py -k torchs",),
    ),
    *_rows(
        "verify/optimizers/composite.py",
        ("return block.ndim >= 2", "return block.ndim > 2", "matrices are vectors"),
        ("k: self.ratio * b for", "k: b / self.ratio for", "the ratio upside down"),
        first=("tests/verify/optimizers/test_optimizers.py -k 'composites'",),
    ),
    *_rows(
        "verify/optimizers/muon.py",
        (
            "tall = m.shape[0] > m.shape[1]\n",
            "tall = m.shape[0] < m.shape[1]\n",
            "wide matrices are turned, not tall ones",
        ),
        ("gram, gram, gram, beta=b, alpha=c", "gram, gram, gram, beta=c, alpha=b", "coefficients exchanged"),
        (
            "abs(self.a + 3 * self.b + 5 * self.c) < 1",
            "abs(self.a + 3 * self.b + 5 * self.c) > 1",
            "attracting for repelling",
        ),
        first=(f"{_MATRIX} -k 'muon or newton or coefficients'",),
    ),
    *_rows(
        "verify/optimizers/shampoo.py",
        ("** (-2 * exponent))", "** (-1 * exponent))", "a root of the preconditioner"),
        (
            "V, right[k] = grown(fade * state.right[k], new * g.mT)",
            "V, right[k] = grown(fade * state.left[k], new * g.mT)",
            "left statistics on the right",
        ),
        first=(f"{_MATRIX} -k 'shampoo'",),
    ),
    *_rows(
        "verify/optimizers/lion.py",
        (
            "combine(state, self.beta2, gradient, 1.0 - self.beta2)",
            "combine(state, self.beta1, gradient, 1.0 - self.beta2)",
            "β₁ for β₂",
        ),
        first=("tests/verify/optimizers/test_optimizers.py -k 'second_step or hand'",),
    ),
    *_rows(
        "verify/optimizers/amsgrad.py",
        ("peak = maximum(state.peak, kept.root)", "peak = maximum(kept.root, kept.root)", "the maximum forgets"),
        first=(f"{_ADAPTIVE} -k 'amsgrad'",),
    ),
    *_rows(
        "verify/optimizers/decay.py",
        ("1.0 - self.decay * eta", "1.0 + self.decay * eta", "weights grow"),
        first=(f"{_ADAPTIVE} -k 'decay'",),
    ),
    *_rows(
        "verify/optimizers/rescaling.py",
        ("(1.0 + k) ** self.power", "(1.0 + k) * self.power", "a product for a power"),
        first=(f"{_MATRIX} -k 'rescaling'",),
    ),
    *_rows(
        "verify/optimizers/aggregated.py",
        ("share[0 if u.ndim == 2 else 1] * u", "share[1 if u.ndim == 2 else 0] * u", "shares exchanged"),
        first=(f"{_MATRIX} -k 'max'",),
    ),
    *_rows(
        "verify/optimizers/relatives/laprop.py",
        (
            "ratio = safe_ratio(times(gradient, c2), root",
            "ratio = safe_ratio(gradient, root",
            "a correction is missing",
        ),
        first=("tests/verify/optimizers/test_adams_relatives.py -k laprop",),
    ),
    *_rows(
        "verify/engine/losses.py",
        ("    return -margins\n", "    return margins\n", "the largest margins weigh most"),
        ("s = logw.amax()", "s = logw.amin()", "the smallest weight for the largest"),
        ("c = -w * contrasts[..., 0]", "c = w * contrasts[..., 0]", "ascent in binary problems"),
        ("torch.exp(-top) + ", "", "the 1 of log(1 + Σ e^−m) is missing"),
        first=("tests/verify/engine/test_losses.py",),
    ),
    *_rows(
        "verify/engine/schedules.py",
        ("self.eta * step**-self.a * torch", "self.eta * step**self.a * torch", "a rate that grows"),
        ("torch.minimum(self.at(step) / speed", "torch.maximum(self.at(step) / speed", "the faster of two limits"),
        ("(1 + step / self.knee) ** -self.decay", "(1 + step / self.knee) ** -self.pace", "the pace for its decay"),
        first=("tests/verify/engine/test_schedules.py",),
    ),
    *_rows(
        "verify/engine/stepping.py",
        (
            "return self.optimizer.move(theta, u, eta, t), state, t + 1",
            "return self.optimizer.move(theta, u, eta, t), state, t",
            "steps are not counted",
        ),
        ("return vmap(dual)(rows).amax() *", "return vmap(dual)(rows).amin() *", "the slowest margin sets the pace"),
        (
            "margins_of(self.model, theta, X, C).amin(), u",
            "margins_of(self.model, theta, X, C).amax(), u",
            "the largest margin is kept",
        ),
        ("self.degree * margins.amin() *", "margins.amin() *", "growth without its degree"),
        first=("tests/verify/engine/test_run.py -k 'paced or plain'",),
    ),
    *_rows(
        "verify/engine/batches.py",
        ("at = done % self.epoch", "at = (done + 1) % self.epoch", "batches one step late"),
        first=("tests/verify/engine/test_batches.py",),
    ),
    *_rows(
        "verify/engine/ways.py",
        ("now.travelled + CHUNK * eta)", "now.travelled + eta)", "the way of one step for eight"),
        ("agree = size <= CLOSE\n", "agree = size >= CLOSE\n", "what differs is taken, what agrees is not"),
        first=("tests/verify/engine/test_ways.py -k every_schedule",),
    ),
    *_rows(
        "verify/engine/native/reductions.py",
        ("{'ugt' if largest else 'olt'} double", "{'olt' if largest else 'ugt'} double", "smallest for largest"),
    ),
    *_rows(
        "verify/engine/native/algebra.py",
        (
            "times(x, beta, meta), times(found, alpha, meta)",
            "times(x, alpha, meta), times(found, beta, meta)",
            "α and β exchanged",
        ),
        ('_reduction("max", aten.amax.default', '_reduction("min", aten.amax.default', "min for max"),
        first=("tests/verify/engine/native/test_lowering.py -k 'addmm or amax'",),
    ),
    *_rows(
        "verify/engine/native/pointwise.py",
        ('_binary("fsub", "sub")', '_binary("fadd", "sub")', "a difference that adds"),
        first=("tests/verify/engine/native/test_lowering.py -k sub",),
    ),
    *_rows(
        "verify/engine/implicit_step.py",
        ("new = ball(y - g_y / curvature)", "new = ball(y + g_y / curvature)", "ascent"),
        ("return 1.0 + float(g @ v) / steepest", "return 1.0 - float(g @ v) / steepest", "the deficit's sign"),
        first=("tests/verify/engine/test_flow.py -k 'implicit_step_is'",),
    ),
    *_rows(
        "verify/engine/flow.py",
        ("x + 2 * (first + second) - whole", "x + 2 * (first + second) + whole", "extrapolation's sign"),
        first=("tests/verify/engine/test_flow.py -k two_integrators",),
    ),
    # What judges: a fault here is a wrong verdict on everybody.
    *_rows(
        "verify/judging/facts.py",
        ("return self.gap <= self.bounds.gap", "return self.gap >= self.bounds.gap", "a bound the wrong way round"),
        ("return self.own.kkt_gap_range[1]", "return self.own.kkt_gap_range[0]", "the best run is judged"),
        ("(self.led and not self.early)", "(self.led and self.early)", "early gaps refute"),
        ("(self.led and not self.early)", "(not self.early)", "runs refute that are led by nobody"),
        ("self.misaligned and (self.foreign_steps or stands)", "self.misaligned and stands", "steps alone are nothing"),
        ("self.rival_told <= LEFT and", "self.rival_told >= LEFT and", "every rival has won"),
        ("not self.closing and self.gap > REACHED", "self.closing and self.gap > REACHED", "what closes is open"),
        (
            "exp(log(gap / bounds.gap) / -own.slope)",
            "exp(log(gap / bounds.gap) / own.slope)",
            "fewer steps for larger gaps",
        ),
        ("max(1.0, far, exp", "max(1.0, exp", "a direction far from its face has arrived"),
        ("row.apart >= APART", "row.apart <= APART", "near norms are the controls"),
        first=("tests/verify/judging/test_rules.py",),
    ),
    *_rows(
        "verify/judging/rules.py",
        ("        if f.unmet_by_the_run:", "        if not f.unmet_by_the_run:", "unmet hypotheses refute"),
        ("<= _STANDS and f.slower == 1.0", "<= _STANDS and f.slower < 1.0", "a first run is believed, a slow one not"),
        first=("tests/verify/judging/test_rules.py",),
    ),
    *_rows(
        "verify/judging/no_norm.py",
        ("own.slope_interval[1] < FALLING", "own.slope_interval[1] > FALLING", "chance is excused where nothing falls"),
        ("2 * since <= path.steps[-1]", "2 * since >= path.steps[-1]", "who stops early has not stopped"),
        ("set(m.problem.shapes) <= set(kept)", "set(m.problem.shapes) >= set(kept)", "free weights are confined"),
        first=("tests/verify/judging/test_no_norm.py",),
    ),
    *_rows(
        "verify/judging/guarantee.py",
        ("share >= r - BOUND_SLACK", "share <= r - BOUND_SLACK", "a bound that must be broken"),
        ("Factor(min(guaranteed)", "Factor(max(guaranteed)", "the best problem's guarantee"),
        ("series[steps >= max(1, steps[-1] / 10)]", "series[steps <= max(1, steps[-1] / 10)]", "early for late"),
        first=("tests/verify/judging/test_guarantee.py",),
    ),
    *_rows(
        "verify/judging/regimes.py",
        ("first = 0 if both_claimed", "first = 1 if both_claimed", "claims in the wrong order"),
        ("return 1 if floor >= STARTS_ABOVE", "return 1 if floor < STARTS_ABOVE", "the other regime"),
        ("floor > exp(-LATE_MARGIN)", "floor < exp(-LATE_MARGIN)", "who stops early holds in regimes"),
        first=("tests/verify/judging/test_regimes.py",),
    ),
    *_rows(
        "verify/judging/conclusion.py",
        ("<= min(signature) < PERFECT", "<= max(signature) < PERFECT", "the best problem's steps"),
        ("if blind and outcome is Outcome.HOLDS", "if blind and outcome is Outcome.FAILS", "blind spots hold"),
        first=("tests/verify/judging/test_conclusion.py",),
    ),
    *_rows(
        "verify/judging/own_norm.py",
        ("if set(CANDIDATES) - told:", "if told - set(CANDIDATES):", "no fixed norm has to be told"),
        ("about.random > INDEPENDENT or (", "about.random > INDEPENDENT and (", "chance alone does not disturb"),
        first=("tests/verify/judging/test_own_norm.py",),
    ),
    *_rows(
        "verify/evidence/apartness.py",
        ("[-1, runs] / there", "[-1, runs] * there", "a share that is a product"),
        ("np.clip(1.0 - np.array(ratios)", "np.clip(np.array(ratios)", "the margin for the gap"),
        ("for point in (*alone, alike)]", "for point in alone]", "how blocks are joined is not seen"),
        first=("tests/verify/evidence/test_apartness.py",),
    ),
    *_rows(
        "verify/evidence/measure.py",
        ("gap = np.clip(1.0 - ratio,", "gap = np.clip(ratio,", "the margin for the gap"),
        ("values**problem.degree)", "values)", "a margin without its degree"),
        ("sqrt((1 + rho) / (1 - rho))", "sqrt((1 - rho) / (1 + rho))", "waves make a slope surer"),
        first=("tests/verify/evidence/test_measure.py",),
    ),
    *_rows(
        "verify/evidence/kappa.py",
        ("{name: top / k.value for", "{name: k.value / top for", "a weight upside down"),
        first=("tests/verify/evidence/test_kappa.py",),
    ),
    *_rows(
        "verify/evidence/hypotheses.py",
        ("last <= SHRINKS * before", "last >= SHRINKS * before", "what speeds up has settled"),
        ("if max(restless) > RESTLESS else None", "if max(restless) > RESTLESS else True", "unknown is met"),
        ("Hypothesis(worst <= 1 + RADIUS_SLACK", "Hypothesis(worst >= 1 + RADIUS_SLACK", "R the wrong way round"),
        ("bool(max(shares) == 0)", "bool(min(shares) == 0)", "A1 of the best run"),
        first=("tests/verify/evidence/test_hypotheses.py",),
    ),
    *_rows(
        "verify/lab/probe/floor.py",
        ("return session.norm * 2.0**-other,", "return session.norm * 2.0**other,", "a floor above the gradients"),
    ),
    *_rows(
        "verify/lab/probe/memory.py",
        ("lags.append((d, (1 - kept) / d))", "lags.append((d, (1 - kept) * d))", "squares may lag more"),
        ("memory = max(memory, 1 / (1 - kept))", "memory = min(memory, 1 / (1 - kept))", "the shortest memory"),
    ),
    *_rows(
        "verify/lab/probe/confined.py",
        ("<= (1.0 + rounding) * least).all()", "<= (1.0 + rounding) * least).any()", "one row that is kept"),
        first=("tests/verify/lab/probe/test_confined.py",),
    ),
    *_rows(
        "verify/lab/norm/weights.py",
        ("> max(self.error, WEIGHT_ERRORS", "> min(self.error, WEIGHT_ERRORS", "scatter is a weight"),
        first=("tests/verify/lab/norm/test_weights.py", "tests/verify/lab/norm/test_fingerprint.py"),
    ),
    *_rows(
        "verify/lab/norm/large_shapes.py",
        (
            "and here < 1.0 - LARGE_APART\n        return",
            "and here > 1.0 - LARGE_APART\n        return",
            "who agrees is apart",
        ),
        first=("tests/verify/lab/norm/test_large_shapes.py",),
    ),
    *_rows(
        "verify/lab/twin/search.py",
        ("freely, target.skipped) is None", "freely, target.skipped) is not None", "whoever differs is the twin"),
    ),
    *_rows(
        "verify/training/blackbox_run.py",
        ("factor / 2.0 ** (self.degree", "factor * 2.0 ** (self.degree", "rates that shrink with the gradient"),
        ("abs(log2_scale - self.scale2) > DRIFT", "abs(log2_scale - self.scale2) < DRIFT", "units that do not follow"),
        first=("tests/verify/training/test_blackbox_run.py",),
    ),
    *_rows(
        "verify/training/one_parameter.py",
        ("return None if same and _same(*groups) else", "return None if True else", "state need not be that of blocks"),
        ("raise UnlikeError(", "UnlikeError(", "steps that differ on the way"),
        first=("tests/verify/training/test_one_parameter.py",),
    ),
    *_rows(
        "verify/lab/probe/strides.py",
        ("along < -GOES_BACK", "along > GOES_BACK", "going on is going back"),
        first=("tests/verify/lab/probe/test_strides.py",),
    ),
    *_rows(
        "verify/lab/harness/session.py",
        ("there = weights - 2.0 *", "there = weights + 2.0 *", "weights along their gradient"),
        first=("tests/verify/lab/norm/test_signature.py",),
    ),
)
