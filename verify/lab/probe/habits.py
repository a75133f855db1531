"""How an optimizer behaves besides its update rule: what it wants, what it does not honour, what it depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maxmargin.verify.blackbox.conventions import PLAIN, SPLIT
from maxmargin.verify.blackbox.feeding import seed_all
from maxmargin.verify.blackbox.handle import Handle, Path
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR, HONOURED
from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.lab.harness.session import WARM, Session, advance, difference
from maxmargin.verify.lab.probe.precision import format_of, granularity, state_formats, weight_format

SEEN = 1e-9  # relative; smaller differences are rounding in sums of another order


@dataclass(frozen=True)
class Manners:
    """What was found; None where it could not be tried.

    Attributes:
        convention: How the parameters are handed over.
        lr_knob: Where the learning rate is set; begins with "none" where no knob is honoured, and steps are scaled.
        lr_knob_error: Relative error, under that knob, of "twice the rate moves twice as far".
        idle_steps: Steps at the start that move nothing.
        stride: Calls of its ``step()`` that count as one step.
        skips: Of the steps watched, those after the first move that moved nothing.
        reinitialised: Relative change of the weights by the construction alone.
        eval_shift: Relative change of the weights by ``eval()``; 0 where they are the same, None without ``eval``.
        closure_calls: Evaluations of its closure in a step; 0 where it needs none.
        loss_dependence: Relative change of the step when the loss value, not the gradient, is doubled.
        order_dependence: Relative change of the step when the list of parameters is reversed.
        split_dependence: Relative change when every parameter has a group of its own.
        weight_format: Format to which the weights are rounded, if to a coarser one than their own.
        update_granularity: Rounding unit through which the step seems to pass, 4e-3 for bfloat16; 0 for none.
        state_formats: State kept in low precision, "exp_avg in float32".
        unmoved: Parts of the weights that no step moves, in words.
    """

    convention: str
    lr_knob: str
    lr_knob_error: float
    idle_steps: int
    skips: int
    stride: int
    reinitialised: float
    eval_shift: float | None
    closure_calls: int
    loss_dependence: float | None
    order_dependence: float | None
    split_dependence: float | None
    weight_format: str | None
    update_granularity: float
    state_formats: tuple[str, ...]
    unmoved: tuple[str, ...]


def manners(
    session: Session, handle: Handle, update: Sequence[Tensor], degrees: dict[Path, float], random: float
) -> Manners:
    """Try them.

    Args:
        session: The target's.
        handle: One that has made the warm steps.
        update: The last of these.
        degrees: Of its state.
        random: How much two runs alike differ; order and rounding are not tried where they do.

    Returns:
        What was found.
    """
    convention = session.target.calling(handle.params).convention
    assert convention is not None
    rate = handle.rate
    rounded = weight_format(session)
    steady = random <= SEEN
    idle = next((i for i, length in enumerate(session.moves) if length != 0), len(session.moves))
    count = len(update)
    return Manners(
        convention=convention.name,
        lr_knob=rate.knob.name,
        lr_knob_error=rate.error,
        idle_steps=idle,
        skips=sum(length == 0 for length in session.moves[idle:]),
        reinitialised=handle.reinitialised,
        eval_shift=_eval_shift(handle),
        closure_calls=handle.closure.calls if handle.closure is not None else 0,
        loss_dependence=_loss_dependence(session, update) if handle.closure is not None else None,
        order_dependence=_arranged(session, update, list(reversed(range(count)))) if steady and count > 1 else None,
        split_dependence=(
            _arranged(session, update, list(range(count)), split=True)
            if steady and count > 1 and convention is PLAIN
            else None
        ),
        weight_format=rounded,
        update_granularity=granularity(session, update) if steady and rounded is None else 0.0,
        state_formats=state_formats(handle, degrees),
        unmoved=_unmoved(session),
        stride=session.target.stride,
    )


def _eval_shift(handle: Handle) -> float | None:
    if not callable(getattr(handle.optimizer, "eval", None)):
        return None
    seen = handle.evaluated()
    return 0.0 if seen is None else difference([p.detach() for p in handle.params], seen)


def _loss_dependence(session: Session, update: Sequence[Tensor]) -> float:
    handle = session.open()
    assert handle.closure is not None
    handle.closure.factor = 2.0
    moved: list[Tensor] = []
    for gradients in session.gradients:
        moved = advance(handle, gradients)
    return difference(update, moved)


def _arranged(session: Session, update: Sequence[Tensor], order: list[int], *, split: bool = False) -> float | None:
    try:
        found = difference(update, session.play_arranged(order, SPLIT if split else None))
    except TargetError:  # it wants one group, or its parameters in this order
        return None
    return 0.0 if found <= SEEN else found


def _unmoved(session: Session) -> tuple[str, ...]:
    """Blocks, rows, columns and entries of which no step moves a bit."""
    handle = session.open()
    seed_all(0)
    still_so_far = [torch.ones_like(p, dtype=torch.bool) for p in handle.params]
    for gradients in session.gradients:
        for still, moved in zip(still_so_far, advance(handle, gradients), strict=True):
            still &= moved == 0  # not the weights at the end: equal steps there and back cancel
    out: list[str] = []
    for name, still in zip(session.shapes, still_so_far, strict=True):
        if bool(still.any()) and len(out) < 8:
            out.append(_parts(name, still))
    return tuple(out)


def _parts(name: str, still: Tensor) -> str:
    """Name the unmoved parts of a block."""
    if bool(still.all()):
        return name
    if still.ndim == 2:
        rows, columns = still.all(dim=1), still.all(dim=0)
        lines = [("row", rows, still[rows].numel()), ("column", columns, still[:, columns].numel())]
        for word, mask, covered in lines:
            if covered and covered == int(still.sum()):
                return f"{_listed(word, mask)} of {name}"
    where = torch.nonzero(still)[:3].tolist()
    count = int(still.sum())
    return f"{count} of {still.numel()} entries of {name} ({', '.join(map(str, where))}{', ...' if count > 3 else ''})"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _listed(word: str, mask: Tensor) -> str:
    where = [str(int(i)) for i in torch.nonzero(mask).reshape(-1)]
    return f"{word}{'s' if len(where) > 1 else ''} {', '.join(where)}"


def sentences(found: Manners, own_lr_error: float) -> tuple[str, ...]:
    """The findings that a reader should know, one sentence each, most important first."""
    out = []
    if found.stride > 1:
        out.append(
            f"Each block moves only in every {_ordinal(found.stride)} call of step(): each gradient is shown "
            f"{found.stride} times, and {found.stride} calls count as one step."
        )
    if found.idle_steps > WARM:
        out.append(f"It moves nothing in its first {found.idle_steps} steps.")
    if found.unmoved:
        out.append(f"It never moves {'; '.join(found.unmoved)}.")
    out += _rate_sentences(found, own_lr_error)
    if found.reinitialised > 0:
        out.append(
            f"Its constructor changes the weights (by {found.reinitialised:.1e}, relative): runs start from there."
        )
    if found.eval_shift:
        out.append(
            f"eval() swaps the weights (by {found.eval_shift:.1e}, relative, after a few steps): the model that it "
            "returns is not the one that its steps move."
        )
    out += _closure_sentences(found)
    if found.order_dependence:
        out.append(f"Its step changes by {found.order_dependence:.1e} when the list of parameters is reversed.")
    if found.split_dependence:
        out.append(
            f"Its step changes by {found.split_dependence:.1e} when every parameter has a group of its own: what it "
            "computes is shared over a group."
        )
    out += _precision_sentences(found)
    if found.idle_steps and found.idle_steps <= WARM:
        steps = "step" if found.idle_steps == 1 else f"{found.idle_steps} steps"
        out.append(f"Its first {steps} move{'s' if found.idle_steps == 1 else ''} nothing.")
    if found.skips:
        out.append(f"{found.skips} of its later steps, of those watched, moved nothing.")
    if found.convention != PLAIN.name:
        out.append(f"Parameters are handed over as {found.convention}.")
    return tuple(out)


def _rate_sentences(found: Manners, own_lr_error: float) -> list[str]:
    has_own = own_lr_error == own_lr_error
    said = f"Setting lr in its parameter groups is not honoured (error {own_lr_error:.1e})"
    if found.lr_knob.startswith("none"):
        if has_own:
            return [f"{said}, nor anything else that looks like a learning rate; its steps are scaled from outside."]
        return ["It has no learning rate that answers; its steps are scaled from outside."]
    if has_own and found.lr_knob != GROUPS_LR.name:
        return [f"{said}; {found.lr_knob} is heard instead, and is used (error {found.lr_knob_error:.1e})."]
    error = max(found.lr_knob_error, own_lr_error if has_own else 0.0)
    if error > HONOURED:
        return [f"Twice the learning rate, set on the way, does not move twice as far (error {error:.1e})."]
    return [] if has_own else [f"Its learning rate is found elsewhere: {found.lr_knob}."]


def _closure_sentences(found: Manners) -> list[str]:
    out = []
    if found.closure_calls > 1:
        out.append(
            f"It evaluates its closure {found.closure_calls} times a step; here every evaluation gives one gradient."
        )
    if found.loss_dependence is not None and found.loss_dependence > SEEN:
        out.append(
            f"Its step depends on the loss value (twice the loss: {found.loss_dependence:.1e}); the gradient's norm is "
            "shown in its place."
        )
    return out


def _precision_sentences(found: Manners) -> list[str]:
    out = []
    if found.weight_format is not None:
        out.append(f"It rounds the weights to {found.weight_format}.")
    if found.update_granularity > 0:
        name = format_of(found.update_granularity)
        through = f"as if it passed through {name}" if name else "as if it were rounded"
        out.append(
            f"Its step answers to small changes of the gradient in jumps, {through} "
            f"(rounding unit about {found.update_granularity:.0e})."
        )
    if found.state_formats:
        out.append(f"It keeps state in low precision: {', '.join(found.state_formats)}.")
    return out
