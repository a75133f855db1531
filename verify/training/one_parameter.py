"""All blocks of a run as one parameter: the same steps in half the time, of an optimizer that treats entries alike.

It is tried out, not assumed, and tried again on the way: every CHECKED-th step is made on the blocks, too, from the
state that the run is in. What an optimizer does to a whole tensor (a norm, a rank, a polar factor) makes a difference
in either.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes, size, unflatten
from maxmargin.verify.blackbox.conventions import PLAIN
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.thresholds.probe import ROUNDINGS
from maxmargin.verify.thresholds.training import SAME_JOINTLY, TRIAL
from maxmargin.verify.training.instances import Instances
from maxmargin.verify.training.own_state import first_difference, own_state


class UnlikeError(Exception):
    """A step on the blocks was another one than on the one parameter."""


def one_parameter(target: Target, shapes: Shapes, probe: Probe, seed: int = 0) -> str | None:
    """Return why one parameter cannot stand for all blocks; None where it can, to the last bits and in all state.

    The trial's blocks have gradients of very different sizes.
    """
    if len(shapes) == 1:
        return "there is one block only"
    if probe.convention != PLAIN.name or probe.lr_knob != GROUPS_LR.name or probe.sparse:
        return "it is not given parameters, gradients and learning rates in torch's own way"
    if probe.random > 0 or probe.shared_state or probe.stays:
        return "its steps are random, or its state is the group's, or is to be read off block by block"
    degrees = [{path[1:]: d for path, d in probe.state_degrees.items() if path[0] == i} for i in range(len(shapes))]
    if any(not _same(d, degrees[0]) for d in degrees):
        return "its blocks keep different state"
    try:
        return _trial(target, shapes, probe, seed)
    except Exception as error:  # whatever a black box may raise where it is used in a way that it did not expect
        return f"one parameter for several blocks fails: {error}"


def _trial(target: Target, shapes: Shapes, probe: Probe, seed: int) -> str | None:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(size(shapes), generator=generator, dtype=torch.float64)

    start, direction, sizes = 0.3 * draw(), draw(), torch.ones(size(shapes), dtype=torch.float64)
    for i, block in enumerate(unflatten(sizes, shapes).values()):
        block.mul_(10.0 ** (3 * (i % 3) - 3))
    runs = [_opened(target, [start]), _opened(target, unflatten(start, shapes).values())]
    kept = [own_state(run.optimizer) for run in runs]
    unit = 0.01 / max(probe.step_per_lr, 1e-300)
    for t in range(TRIAL):
        gradient = sizes * (direction + draw())
        for run in runs:
            run.set_lr(unit * (1 + 0.1 * (3 * t % 7)))
        one = unflatten(runs[0].advance([gradient])[0], shapes).values()
        many = runs[1].advance(list(unflatten(gradient, shapes).values()))
        if not all(_close(a, b) for a, b in zip(one, many, strict=True)):
            return f"one parameter for {len(shapes)} blocks moves in another way"
    changed = [first_difference(k, own_state(run.optimizer)) for k, run in zip(kept, runs, strict=True)]
    if any(changed):
        return f"it keeps state that belongs to no parameter ({changed[0] or changed[1]})"
    whole, group = runs[0].params[0], runs[0].optimizer.param_groups
    split = _on_blocks(target, runs[0].optimizer.state[whole], group, whole, shapes)
    same = all(
        _same(split.optimizer.state[p], runs[1].optimizer.state[q])
        for p, q in zip(split.params, runs[1].params, strict=True)
    )
    groups = [{k: v for k, v in h.optimizer.param_groups[0].items() if k != "params"} for h in (split, runs[1])]
    return None if same and _same(*groups) else "its state is not that of its blocks, put together"


class StepsOnBlocks:
    """The next step of runs of one parameter each, as it is made on their blocks."""

    def __init__(self, target: Target, shapes: Shapes, instances: Instances) -> None:
        self._target, self._shapes, self._instances = target, shapes, instances
        self._moves: dict[int, tuple[Tensor, Tensor]] = {}

    def expect(self, fed: Sequence[Sequence[Tensor]]) -> None:
        """Make the step that is next on blocks, and leave the runs as they are."""
        for run in self._instances.active:
            [whole], [gradient] = self._instances.params[run], fed[run]
            state = self._instances.handles[run].optimizer.state[whole]
            blocks = _on_blocks(self._target, state, self._instances.groups(run), whole, self._shapes)
            before = whole.detach().clone()
            moves = blocks.advance(list(unflatten(gradient, self._shapes).values()))
            self._moves[run] = before, torch.cat([m.reshape(-1) for m in moves])

    def compare(self) -> None:
        """Compare the step that was expected, if any, with the one that was made.

        Raises:
            UnlikeError: they differ.
        """
        while self._moves:
            run, (before, expected) = self._moves.popitem()
            moved = self._instances.params[run][0].detach() - before
            if not _close(moved, expected, ROUNDINGS * torch.finfo(before.dtype).eps * float(before.abs().amax())):
                raise UnlikeError("one parameter moves in another way than on its blocks")


def _opened(target: Target, blocks: Iterable[Tensor]) -> Handle:
    return Handle(target, [torch.nn.Parameter(b.detach().clone()) for b in blocks])


def _on_blocks(
    target: Target, state: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], whole: Tensor, shapes: Shapes
) -> Handle:
    """An instance over the blocks of one parameter, in the state that this one's instance is in."""
    blocks = _opened(replace(target, skipped=0), unflatten(whole.detach(), shapes).values())
    [theirs], [ours] = groups, blocks.optimizer.param_groups
    ours.update({k: copy.deepcopy(v) for k, v in theirs.items() if k != "params"})
    for i, p in enumerate(blocks.params):
        blocks.optimizer.state[p] = _part(state, i, whole, shapes)
    return blocks


def _part(value: Any, i: int, whole: Tensor, shapes: Shapes) -> Any:
    """What belongs to one block of the state of the parameter that holds them all."""
    if isinstance(value, Tensor) and value.shape == whole.shape:
        return list(unflatten(value.detach(), shapes).values())[i].clone()
    if isinstance(value, Mapping):
        return {k: _part(v, i, whole, shapes) for k, v in value.items()}
    if isinstance(value, list):
        return [_part(v, i, whole, shapes) for v in value]
    return copy.deepcopy(value)


def _same(a: Any, b: Any) -> bool:
    """Whether two states are the same, tensors to rounding."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and _close(a.detach(), b.detach())
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b or a != a)


def _close(a: Tensor, b: Tensor, rounding: float = 0.0) -> bool:
    """Whether they differ by no more than rounding does."""
    bound = SAME_JOINTLY * float(b.double().nan_to_num().abs().amax()) + rounding
    return torch.allclose(a.double(), b.double(), rtol=0.0, atol=bound, equal_nan=True)
