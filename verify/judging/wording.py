"""What a reader should know of an optimizer beside its verdict, in sentences."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isnan

from maxmargin.verify.blackbox.learning_rate import ANCHORED
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.facts import left_to_the_run
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.harness.sentence import Sentence
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.lab.twin.search import Twin
from maxmargin.verify.progress.report import span
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, ProblemVerdict
from maxmargin.verify.results.verdict import Factor
from maxmargin.verify.thresholds.judging import FINDINGS, INDEPENDENT
from maxmargin.verify.thresholds.probe import BLURRED, EXACT_SCALE, OTHER_STEP


def about_optimizer(about: Probe | None, twin: Twin | None = None) -> dict[str, Hypothesis]:
    """Return what the short experiments say of the theorem's hypotheses on the optimizer; nothing for our own.

    With a twin nobody's state need be rescaled, nor a learning rate set: it is enough that the steps are invariant.
    """
    if about is None:
        return {}
    at_once = True if twin is not None else _none(about.lr_knob_error, about.blur)
    rate = (True, about.lr_constant_error) if about.lr_lags else (at_once, about.lr_knob_error)
    invariant = about.exactly_invariant or (twin is not None and about.floor == 0 and about.defect <= EXACT_SCALE)
    found = {
        "scale invariant": (invariant, about.floor or max(about.defect, about.rescaling_error)),
        "no weight decay": (about.decay == 0, about.decay),
        "independent of the weights": (_none(about.value_dependence, about.blur), about.value_dependence),
        "deterministic": (about.random <= INDEPENDENT, about.random),
        "learning rate honoured": rate,
        "forgets": (about.memory < inf, about.memory),
    }
    judged = {name: Hypothesis(met, value, "optimizer") for name, (met, value) in found.items()}
    if at_once is not True:
        judged["learning rate honoured at once"] = Hypothesis(at_once, about.lr_knob_error, "number")
    if about.lr_knob == ANCHORED.name:  # what a paced run shows is not what it would do
        judged["goes on from its weights"] = Hypothesis(False, None, "theorem")
    return judged


def _none(effect: float, blur: float) -> bool | None:
    """Whether an effect is none; rounding of the weights may explain it, or be so coarse that nobody can tell."""
    if effect <= INDEPENDENT:
        return True
    return False if effect > blur else True if blur <= BLURRED else None


def nearly(norm: str, defect: Mapping[str, float] | None, factor: Factor | None) -> list[str]:
    """How nearly steps follow a norm that is not reached, and what they guarantee nevertheless."""
    if defect is None:
        return []
    bound = ""
    if factor is not None:
        least = factor.rounded
        bound = (
            f"; its late steps guarantee a gap of at most {1 - least.guaranteed:.2f}, "
            f"{1 - least.reached:.2f} was reached"
        )
    return [
        f"Approximately {norm}: under gradients of widely spread singular values its steps are only "
        f"{defect['signature']:.3f} aligned with steepest descent under {norm}, on trajectories "
        f"{defect['alignment']:.3f}, and up to {100 * defect['margin_lost']:.2g} % of that margin is lost{bound}."
    ]


def remarks(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict], tier: str) -> list[str]:
    """Return everything worth saying, most important first.

    Args:
        found: What was measured, one a problem.
        verdicts: The verdict on each.
        tier: ``quick`` or ``full``.
    """
    notes = dict.fromkeys(text for m in found for text in m.exam.notes)
    apart = dict.fromkeys(m.exam.about.unevenly for m in found if m.exam.about is not None and m.exam.about.uneven)
    return [
        *(f"{text[0].upper()}{text[1:]}." for text in apart),
        *_diagnosis(found, verdicts),
        *_warnings(found),
        *notes,
        *_constructor(found),
        *_budget(found, verdicts, tier),
    ]


def _diagnosis(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict]) -> list[str]:
    """What is wrong with the steps, where something is wrong with the outcome; each finding once."""
    if all(v.outcome is Outcome.HOLDS for v in verdicts):
        return []
    alike: dict[Hashable, list[tuple[Finding, str]]] = {}
    for finding, problem in sorted(
        ((f, m.problem.name) for m in found for f in m.exam.findings), key=lambda pair: pair[0].rank
    ):
        alike.setdefault(finding.alike, []).append((finding, problem))
    said = [_said(same) for same in alike.values()]
    rest = len(said) - FINDINGS
    return said[:FINDINGS] + ([f"{rest} more finding{'s' if rest > 1 else ''} in the JSON."] if rest > 0 else [])


def _constructor(found: Sequence[Measured]) -> list[str]:
    """Arguments without effect and code paths that differ: whatever the outcome."""
    exams = [m.exam for m in found]
    said = [[*(k.text for k in e.knobs), *(p.text for p in e.paths.differences)] for e in exams]
    return list(dict.fromkeys(text for texts in said for text in texts))


def _once(sentences: Iterable[Sentence]) -> list[str]:
    """The first of each that differ in numbers alone, where the last of them stands."""
    return [s.text for s in {s.alike: s for s in reversed(list(sentences))}.values()][::-1]


def _said(same: Sequence[tuple[Finding, str]]) -> str:
    """One sentence for findings that differ in block, problem and numbers alone: the most important of them speaks."""
    first, problem = same[0]
    others = list(dict.fromkeys(f.block for f, where in same[1:] if (f.block, where) != (first.block, problem)))
    likewise = f"; likewise on {', '.join(others)}" if any(others) else ""
    text = first.text.rstrip(".")
    return f"{text[:1].upper()}{text[1:]} ({problem}{likewise})."


def _budget(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict], tier: str) -> list[str]:
    """How many steps would decide what is not decided, how long they take here, and whether the full tier has them."""
    open_ = [
        (m, v, v.steps_needed)
        for m, v in zip(found, verdicts, strict=True)
        if v.outcome is Outcome.INCONCLUSIVE
        and v.steps_needed is not None
        and v.steps_needed > v.steps
        and left_to_the_run(v.hypotheses)
    ]
    if not open_:
        return []
    m, v, needed = max(open_, key=lambda row: row[2] / row[1].steps)
    seconds = m.seconds * needed / v.steps
    about = found[0].exam.about
    memory = (
        f"Its slowest moment remembers about {about.memory:.0f} steps, so learning rates must be small: "
        if about is not None and 100 < about.memory < inf
        else ""
    )
    if tier == "full":
        advice = "more than the full tier takes"
    else:
        enough = "" if m.full_steps >= needed else ", which may not be enough"
        advice = f"--tier full takes {m.full_steps:.1e}{enough}"
    return [
        f"{memory}{'t' if memory else 'T'}o decide, {v.problem} needs about {needed:.1e} steps "
        f"(it had {v.steps:.1e}), some {span(seconds)} here; {advice}."
    ]


def stand_in(found: Sequence[Measured]) -> list[str]:
    """Where the engine made the long runs in the optimizer's place, and why it may."""
    with_twin = [m for m in found if m.exam.twin is not None]
    if not with_twin:
        return []
    where = "" if len(with_twin) == len(found) else f" ({', '.join(m.problem.name for m in with_twin)})"
    twin = with_twin[0].exam.twin
    assert twin is not None
    return [f"It {twin.text.rstrip('.')}{where}: the engine made the long runs in its place."]


def reach(found: Sequence[Measured]) -> list[str]:
    """How far what is said of the optimizer reaches: what our pacing undid, and what was not tried."""
    seen = [heaviest for m in found if (heaviest := _heaviest(m)) < inf]
    far = [f"Weights of norms above {min(seen):.0e} were not tried."] if seen else []
    return [*_once(sentence for m in found for sentence in m.exam.scope), *far]


def _heaviest(m: Measured) -> float:
    """The largest norm of the weights at which a black box was stepped; inf for our own."""
    if m.exam.twin is not None:
        return m.exam.twin.heaviest
    return inf if m.exam.about is None else float(m.trajectory.lengths().max())


def _worst(probes: Sequence[Probe]) -> Probe:
    """The largest of each finding over the problems' shapes."""
    first = probes[0]
    largest = {
        name: max(getattr(p, name) for p in probes)
        for name in ("defect", "floor", "memory", "decay", "value_dependence", "random", "rescaling_error", "blur")
    }
    degrees = [p.update_degree for p in probes]
    return replace(
        first,
        **largest,
        update_degree=next((d for d in degrees if isnan(d)), first.update_degree),
        lag_limit=min(p.lag_limit for p in probes),
    )


def _warnings(found: Sequence[Measured]) -> list[str]:
    """What the short experiments found, in sentences."""
    probes = [m.exam.about for m in found if m.exam.about is not None]
    if not probes:
        return []
    about = _worst(probes)
    out = []
    if about.update_degree != about.update_degree and not about.uneven:
        out.append(
            "Its step is neither independent of the gradient's scale nor proportional to it "
            "(clipping, a floor, a cast): "
            "what it does at one scale says nothing of another."
        )
    elif about.floor > 0 and not about.stays:  # beside a state that stays, gradients shrink without an eps, too
        out.append(_floor_text(about.floor))
    if about.decay > 0:
        out.append(
            f"Weight decay {about.decay:g} is set in its parameter groups, which changes the limit point; "
            "pass --kw weight_decay=0."
        )
    elif max(INDEPENDENT, about.blur) < about.value_dependence < inf:
        out.append(
            f"Its update changes by {about.value_dependence:.1e} (relative) when the weights are tripled: "
            "a hidden decay or a trust ratio."
        )
    shared = any(f.kind is Kind.SHARED for m in found for f in m.exam.findings)
    if INDEPENDENT < about.random < inf and not shared:
        out.append(f"It is random: two runs with different seeds differ by {about.random:.1e}.")
    if OTHER_STEP < about.rescaling_error < inf and any(m.exam.twin is None for m in found):  # a twin needs none
        out.append(
            f"A step changes by {about.rescaling_error:.1e} (relative) when gradient and state are rescaled together: "
            "it keeps state outside optimizer.state, or casts to a format that does not hold them (float16), and long "
            "runs cannot follow it exactly."
        )
    if about.memory == inf:
        out.append("Its state never forgets (a sum or a maximum over all steps): no fixed norm is to be expected.")
    return [*out, *_once(r for p in probes for r in p.remarks)]


def _floor_text(floor: float) -> str:
    """Of an optimizer whose regimes could not be told apart and measured."""
    return (
        f"Once the gradient's norm falls below {floor:.0e} its steps are others (an eps, a clipping threshold, a "
        "decay), and what they are there was not measured."
    )
