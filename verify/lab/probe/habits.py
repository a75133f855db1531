"""How an optimizer behaves besides its update rule: what it wants, what it does not honour, what it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from torch import Tensor

from maxmargin.verify.blackbox.conventions import PLAIN, SPLIT
from maxmargin.verify.blackbox.difference import difference, rounding_unit_of
from maxmargin.verify.blackbox.handle import Handle, Path
from maxmargin.verify.blackbox.learning_rate import ANCHORED, GROUPS_LR, OUTSIDE
from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.lab.harness.sentence import Place, Sentence
from maxmargin.verify.lab.harness.session import Session, last_step
from maxmargin.verify.lab.probe.confined import kept_lengths
from maxmargin.verify.lab.probe.precision import blur, format_of, granularity, state_formats, weight_format
from maxmargin.verify.thresholds.adapter import RATE_HONOURED
from maxmargin.verify.thresholds.judging import INDEPENDENT
from maxmargin.verify.thresholds.probe import HABIT_SEEN, WARM_STEPS


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What was found; None where it could not be tried.

    Attributes:
        convention: How the parameters are handed over (:mod:`maxmargin.verify.blackbox.conventions`).
        sparse: Whether it takes sparse gradients alone.
        lr_knob: Where the learning rate is set, by the name of its knob; ``OUTSIDE.name`` where steps are scaled.
        lr_knob_error: Relative error, under that knob, of "twice the rate moves twice as far".
        lr_constant_error: Relative error of "twice the rate from the start on moves twice as far": none where a rate is
            kept in the state, and acts later than it is set; inf where it was not tried, as the other is small.
        lr_error: That error where ``lr`` of the parameter groups is doubled before a step, as a schedule does; NaN
            without such a rate.
        idle_steps: Steps at the start that move nothing.
        stride: Calls of its ``step()`` that count as one step.
        skipped: First calls of another kind than the later ones, left out.
        skips: Of the steps watched, those after the first move that moved nothing.
        reinitialised: Relative change of the weights by the construction alone.
        eval_shift: Relative change of the weights by ``eval()``; 0 where they are the same, None without ``eval``.
        closure_calls: Evaluations of its closure in a step; 0 where it needs none.
        loss_dependence: Relative change of the step when the loss value, not the gradient, is doubled.
        order_dependence: Relative change of the step when the list of parameters is reversed.
        split_dependence: Relative change when every parameter has a group of its own.
        weight_format: Format to which the weights are rounded, if to a coarser one than their own.
        blur: Relative difference of two steps that this rounding explains; 0 for true float64.
        update_granularity: Rounding unit through which the step seems to pass, 4e-3 for bfloat16; 0 for none.
        state_formats: State kept in low precision, "exp_avg in float32".
        unmoved: Parts of the weights that no step moves, in words.
        gradient_change: Relative change of the gradients that it is given, by its step.
        kept: Lengths that no step changes, by block (:mod:`maxmargin.verify.lab.probe.confined`).
    """

    convention: str = PLAIN.name
    sparse: bool = False
    lr_knob: str = GROUPS_LR.name
    lr_knob_error: float = 0.0
    lr_constant_error: float = inf
    lr_error: float = 0.0
    idle_steps: int = 0
    skips: int = 0
    stride: int = 1
    skipped: int = 0
    reinitialised: float = 0.0
    eval_shift: float | None = None
    closure_calls: int = 0
    loss_dependence: float | None = None
    order_dependence: float | None = None
    split_dependence: float | None = None
    weight_format: str | None = None
    blur: float = 0.0
    update_granularity: float = 0.0
    state_formats: tuple[str, ...] = ()
    unmoved: tuple[str, ...] = ()
    gradient_change: float = 0.0
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def lr_lags(self) -> bool:
        """Whether a learning rate is honoured, but later than it is set: it is kept in the state."""
        return self.lr_knob_error > INDEPENDENT >= self.lr_constant_error

    @property
    def remarks(self) -> tuple[Sentence, ...]:
        """What a reader should know of this, most important first."""
        return tuple(_remarks(self))


def habits(
    session: Session,
    handle: Handle,
    update: Sequence[Tensor],
    degrees: Mapping[Path, float],
    random: float,
    lr_error: float,
) -> Habits:
    """Return its habits, found by trying.

    Args:
        session: The target's.
        handle: One that has made the warm steps.
        update: The last of these.
        degrees: Of its state.
        random: How much two runs alike differ; order and rounding are not tried where they do.
        lr_error: As in :class:`Habits`.
    """
    calling = session.target.calling(handle.params)
    convention = calling.convention
    assert convention is not None
    rate, rounded, order = handle.rate, weight_format(session), list(range(len(update)))
    steady, several = random <= HABIT_SEEN, len(update) > 1
    idle = next((i for i, length in enumerate(session.moves) if length != 0), len(session.moves))
    still = [(name, s.numpy()) for name, s in zip(session.shapes, session.still, strict=True) if bool(s.any())]
    return Habits(
        convention=convention.name,
        sparse=calling.sparse,
        lr_knob=rate.knob.name,
        lr_knob_error=rate.error,
        lr_constant_error=_constant_error(session, update) if rate.error > RATE_HONOURED else inf,
        lr_error=lr_error,
        idle_steps=idle,
        skips=sum(length == 0 for length in session.moves[idle:]),
        stride=session.target.stride,
        skipped=session.target.skipped,
        reinitialised=handle.reinitialised,
        eval_shift=_eval_shift(handle),
        closure_calls=handle.closure.calls if handle.closure is not None else 0,
        loss_dependence=_loss_dependence(session, update) if handle.closure is not None else None,
        order_dependence=_arranged(session, update, order[::-1]) if steady and several else None,
        split_dependence=(
            _arranged(session, update, order, split=True) if steady and several and convention is PLAIN else None
        ),
        weight_format=rounded,
        blur=blur(session, update),
        update_granularity=granularity(session, update) if steady and rounded is None else 0.0,
        state_formats=state_formats(handle, degrees),
        unmoved=tuple(name if mask.all() else Place.of(mask).listed(name) for name, mask in still[:8]),
        gradient_change=_gradient_change(session),
        kept=kept_lengths(session, update, rounding_unit_of(rounded)),
    )


def _constant_error(session: Session, update: Sequence[Tensor]) -> float:
    """Relative error of "twice the learning rate, from the start on, moves twice as far"."""
    return difference([2 * u for u in update], session.run(lr=2.0)[1])


def _eval_shift(handle: Handle) -> float | None:
    if not callable(getattr(handle.optimizer, "eval", None)):
        return None
    seen = handle.evaluated()
    return 0.0 if seen is None else difference([p.detach() for p in handle.params], seen)


def _gradient_change(session: Session) -> float:
    """How much of a first gradient the step has changed; 0 where it is gone."""
    handle, gradients = session.open(), session.gradients[0]
    handle.step(gradients)
    fed = handle.fed(gradients)
    left = [g if p.grad is None else p.grad for p, g in zip(handle.params, fed, strict=True)]
    return difference(fed, left)


def _loss_dependence(session: Session, update: Sequence[Tensor]) -> float:
    handle = session.open()
    assert handle.closure is not None
    handle.closure.factor = 2.0
    if session.rate != 1.0:
        handle.set_lr(session.rate)
    return difference(update, last_step(handle, session.gradients))


def _arranged(session: Session, update: Sequence[Tensor], order: list[int], *, split: bool = False) -> float | None:
    try:
        found = difference(update, session.arranged(order, SPLIT if split else None))
    except TargetError:  # it wants one group, or its parameters in this order
        return None
    return 0.0 if found <= HABIT_SEEN else found


def _seen(change: float | None, rounding: float = HABIT_SEEN) -> bool:
    """Whether a change is more than rounding, and a number: where a step is not finite, none of its changes is."""
    return change is not None and rounding < change < inf


def _remarks(found: Habits) -> Iterator[Sentence]:
    say = Sentence.of
    if found.stride > 1:
        yield say(
            "Every {ordinal} call of step() is of another kind than those between (a block moves only there, or goes "
            "back): each gradient is shown {stride} times, and {stride} calls count as one step.",
            ordinal={2: "second", 3: "third"}.get(found.stride, f"{found.stride}th"),
            stride=found.stride,
        )
    if found.skipped:
        yield say(
            "Its first {calls} calls of step() answer to the gradient's size in another way than all later ones, and "
            "are left out: their moves are taken back.",
            calls=found.skipped,
        )
    if found.idle_steps > WARM_STEPS:
        yield say("It moves nothing in its first {steps} steps.", steps=found.idle_steps)
    if found.unmoved:
        yield say("It never moves {parts}.", parts="; ".join(found.unmoved))
    for length in dict.fromkeys(found.kept.values()):
        yield say(
            "No step changes the {length} of {block}, however far it goes: weights that do not grow keep the loss "
            "above 0, and what is made small is the loss at that length.",
            length=length,
            block=", ".join(name for name, kept in found.kept.items() if kept == length),
        )
    yield from _of_rate(found)
    if _seen(found.reinitialised, 0.0):
        yield say(
            "Its constructor changes the weights (by {by:.1e}, relative): runs start from there.",
            by=found.reinitialised,
        )
    if _seen(found.eval_shift, 0.0):
        yield say(
            "eval() swaps the weights (by {by:.1e}, relative, after a few steps): the model that it returns is not "
            "the one that its steps move.",
            by=found.eval_shift,
        )
    if found.closure_calls > 1:
        yield say(
            "It evaluates its closure {calls} times a step; here every evaluation gives one gradient.",
            calls=found.closure_calls,
        )
    if _seen(found.loss_dependence):
        yield say(
            "Its step depends on the loss value (twice the loss: {by:.1e}); the gradient's norm is shown in its place.",
            by=found.loss_dependence,
        )
    if _seen(found.order_dependence):
        yield say("Its step changes by {by:.1e} when the list of parameters is reversed.", by=found.order_dependence)
    if _seen(found.split_dependence):
        yield say(
            "Its step changes by {by:.1e} when every parameter has a group of its own: what it computes is shared over "
            "a group.",
            by=found.split_dependence,
        )
    yield from _of_precision(found)
    if found.idle_steps == 1:
        yield say("Its first step moves nothing.")
    elif 1 < found.idle_steps <= WARM_STEPS:
        yield say("Its first {steps} steps move nothing.", steps=found.idle_steps)
    if found.skips:
        yield say("{steps} of its later steps, of those watched, moved nothing.", steps=found.skips)
    if _seen(found.gradient_change, 0.0):
        yield say("It changes the gradients that it is given (by {by:.1e}, relative).", by=found.gradient_change)
    if found.convention != PLAIN.name:
        yield say("Parameters are handed over as {convention}.", convention=found.convention)
    if found.sparse:
        yield say("It takes sparse gradients alone; here they hold every row.")


def _of_rate(found: Habits) -> Iterator[Sentence]:
    say, has_own = Sentence.of, found.lr_error == found.lr_error
    unheard = "Setting lr in its parameter groups is not honoured (error {own:.1e})"
    error = max(found.lr_knob_error, found.lr_error if has_own else 0.0)
    if error == inf:
        return
    outside = {
        OUTSIDE.name: "its steps are scaled from outside.",
        ANCHORED.name: "each step puts the weights anew from what its state keeps. What it does to those that it put "
        "is scaled from outside, so that a run is not as it would make it.",
    }.get(found.lr_knob)
    if outside and has_own:
        yield say(f"{unheard}, nor anything else that looks like a learning rate; {outside}", own=found.lr_error)
    elif outside:
        yield say(f"It has no learning rate that answers; {outside}")
    elif has_own and found.lr_knob != GROUPS_LR.name:
        yield say(
            f"{unheard}; {{knob}} is heard instead, and is used (error {{error:.1e}}).",
            own=found.lr_error,
            knob=found.lr_knob,
            error=found.lr_knob_error,
        )
    elif error > max(RATE_HONOURED, found.blur):
        later = "; set from the start on it does: a change acts later" if found.lr_lags else ""
        text = "Twice the learning rate, set on the way, does not move twice as far (error {by:.1e})"
        yield say(f"{text}{later}.", by=error)
    elif not has_own:
        yield say("Its learning rate is found elsewhere: {knob}.", knob=found.lr_knob)


def _of_precision(found: Habits) -> Iterator[Sentence]:
    if found.weight_format is not None:
        yield Sentence.of(
            "It rounds the weights to {format}: what changes a step by less than {blur:.0e} is that rounding.",
            format=found.weight_format,
            blur=found.blur,
        )
    if found.update_granularity > 0:
        name = format_of(found.update_granularity)
        yield Sentence.of(
            "Its step answers to small changes of the gradient in jumps, {through} (rounding unit about {unit:.0e}).",
            through=f"as if it passed through {name}" if name else "as if it were rounded",
            unit=found.update_granularity,
        )
    if found.state_formats:
        yield Sentence.of("It keeps state in low precision: {what}.", what=", ".join(found.state_formats))
