"""The runs of a black box: weights as rows of one tensor, stepped by one optimizer instance or by one each.

One instance for all runs is made of the parameter groups of separate instances, put together: ``step()`` is called
once, and each run keeps groups, and so learning rates, of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite, log2
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes, unflatten
from maxmargin.verify.blackbox.handle import Handle, Leaf, Path
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.thresholds.training import REACH


class Weights:
    """The weights of B runs as rows of one tensor (B, p), of which the optimizers' parameters are views."""

    def __init__(self, start: Tensor, shapes: Shapes) -> None:
        self.flat = start.clone()
        views = [list(unflatten(row, shapes).values()) for row in self.flat]
        self.params = [[torch.nn.Parameter(view) for view in run] for run in views]
        self._views = [
            (p, view, view.data_ptr())
            for own, run in zip(self.params, views, strict=True)
            for p, view in zip(own, run, strict=True)
        ]

    def gather(self) -> None:
        """Take back the weights of parameters to which the optimizer gave tensors of their own."""
        for p, view, where in self._views:
            if p.data_ptr() != where:
                view.copy_(p.data)
                p.data = view

    def settle(self, run: int, before: Tensor, gradient: Tensor) -> tuple[bool, int]:
        """Make a step that left a run's weights undefined harmless: 0/0 := 0, or else undo it.

        Adam without eps divides 0/0 where a gradient is exactly 0 for long (a dead neuron, an absent feature); such
        a weight stays where it is.

        Returns:
            Whether the weights are defined now, without undoing the step; and how many were 0/0.
        """
        row = self.flat[run]
        undefined = torch.isnan(row) & (gradient == 0)
        row.copy_(torch.where(undefined, before, row))
        defined = bool(torch.isfinite(torch.linalg.vector_norm(row - before)))
        if not defined:
            row.copy_(before)
        return defined, int(undefined.sum())


class Instances:
    """The optimizer instances of B runs: one for all of them if ``joint``, else one each."""

    def __init__(self, target: Target, params: Sequence[Sequence[torch.nn.Parameter]], joint: bool) -> None:
        self.params = [list(own) for own in params]
        if joint:
            shared = Handle(_joined(target, len(self.params[0])), [p for own in self.params for p in own])
            self.handles = [shared] * len(self.params)
            groups = shared.optimizer.param_groups
            size = len(groups) // len(self.params)
            self._groups = [groups[i * size : (i + 1) * size] for i in range(len(self.params))]
            self._rates = [[group.get("lr") for group in own] for own in self._groups]
            self._unit = 2.0**target.units.rate if target.units is not None else 1.0
        else:
            self.handles = [Handle(target, own) for own in self.params]
        self.joint = joint
        self.active = list(range(len(self.params)))

    def groups(self, run: int) -> Sequence[Mapping[str, Any]]:
        """The parameter groups of one run."""
        return self._groups[run] if self.joint else self.handles[run].optimizer.param_groups

    def set_lr(self, run: int, factor: float) -> None:
        """Set the learning rates of one run to ``factor`` times their own."""
        if not self.joint:
            self.handles[run].set_lr(factor)
            return
        for group, lr in zip(self._groups[run], self._rates[run], strict=True):
            if lr is not None:
                group["lr"] = lr * factor * self._unit

    def step(self, gradients: Sequence[Sequence[Tensor]]) -> None:
        """One step of every active run along its gradients (of all B runs, one a block)."""
        if self.joint:
            self.handles[0].step([g for run in self.active for g in gradients[run]])
            return
        for run in self.active:
            self.handles[run].step(gradients[run])

    def drop(self, run: int) -> None:
        """Step this run no more."""
        self.active.remove(run)
        if self.joint:
            shared = self.handles[0]
            shared.params = [p for i in self.active for p in self.params[i]]
            shared.optimizer.param_groups[:] = [g for i in self.active for g in self._groups[i]]

    def leaves(self, run: int) -> Iterator[tuple[Path, Leaf]]:
        """The floating-point leaves of one run's state, each with the path it has where that run is alone."""
        if not self.joint:
            yield from ((leaf.path, leaf) for leaf in self.handles[run].leaves())
            return
        blocks, place = len(self.params[run]), self.active.index(run)
        for leaf in self.handles[0].leaves():
            if leaf.parameter is not None and leaf.parameter // blocks == place:
                yield (leaf.parameter % blocks, *leaf.path[1:]), leaf

    def rescale(self, run: int, move: int, degrees: Mapping[Path, float]) -> int:
        """Multiply a run's state as if all its gradients had been multiplied by 2^move.

        State far below what floating point holds becomes 0, as it should: the gradients to come outweigh it by as
        much. State that would overflow is not: the move stops short of that, and what comes of the gradient until the
        state has decayed is as little as it ought to be.

        Returns:
            The move that was made, at most ``move``.
        """
        scaled = [(d, leaf) for path, leaf in self.leaves(run) if (d := degrees.get(path, 0.0)) == d and d != 0]
        if move > 0:
            for d, leaf in scaled:
                top = float(torch.as_tensor(leaf.value).abs().amax()) if torch.as_tensor(leaf.value).numel() else 0.0
                if d > 0 and top > 0 and isfinite(top):
                    move = min(move, max(0, int((REACH - log2(top)) / d)))
        for d, leaf in scaled:
            left = d * move
            while left:
                part = max(-REACH, min(REACH, left))
                leaf.multiply(2.0**part)
                left -= part
        return move


def _joined(target: Target, blocks: int) -> Target:
    """A target that gives one instance with the groups and the state of instances over ``blocks`` parameters each."""

    def build(params: Sequence[torch.nn.Parameter]) -> Any:
        first, *others = [target.build(params[i : i + blocks]) for i in range(0, len(params), blocks)]
        for other in others:
            first.param_groups.extend(other.param_groups)
            first.state.update(other.state)
        return first

    units = None if target.units is None else replace(target.units, rate=0)  # rates are set here, group by group
    plain = Target(target.spec, MappingProxyType({}), factory=build, given=True)
    return replace(plain, stride=target.stride, skipped=target.skipped, units=units)
