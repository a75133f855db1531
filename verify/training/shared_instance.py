"""Whether one optimizer instance can step several runs: tried out against separate instances, not assumed.

Global norms, randomness and state that belongs to no parameter make a difference; they show on runs of very different
sizes, or in what the optimizer object keeps besides its per-parameter state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.thresholds.training import SAME_JOINTLY, TRIAL
from maxmargin.verify.training.instances import Instances


class Arrangement(NamedTuple):
    """How the runs of a black box are stepped.

    Attributes:
        joint: Whether one instance steps them all.
        why: The reason, in a line.
    """

    joint: bool
    why: str


def arrange(target: Target, shapes: Shapes, runs: int, probe: Probe, seed: int = 0) -> Arrangement:
    """Return whether one instance can step all runs, making the very steps of separate instances, with the reason.

    The trial's runs have gradients of very different sizes and learning rates of their own; one is rescaled on the
    way, and one is given up.
    """
    if runs == 1:
        return Arrangement(False, "there is one run only")
    if probe.random > 0:
        return Arrangement(False, "its steps are random")
    if probe.shared_state:
        return Arrangement(False, "it keeps state that belongs to no parameter")
    try:
        together, changed = _trial(target, shapes, runs, probe, seed, joint=True)
    except Exception as error:  # whatever a black box may raise where it is used in a way that it did not expect
        return Arrangement(False, f"one instance for several runs fails: {error}")
    if changed:
        return Arrangement(False, f"it keeps state that belongs to no parameter ({changed})")
    apart, _ = _trial(target, shapes, runs, probe, seed, joint=False)
    scale = float(apart.abs().amax())
    difference = float((together - apart).abs().amax()) / scale if scale else 0.0
    if not difference <= SAME_JOINTLY:
        return Arrangement(False, f"one instance for {runs} runs differs from {runs} instances by {difference:.1e}")
    return Arrangement(
        True, f"one instance for {runs} runs equals {runs} instances to {SAME_JOINTLY:g} over {TRIAL} steps"
    )


def _trial(
    target: Target, shapes: Shapes, runs: int, probe: Probe, seed: int, joint: bool
) -> tuple[Tensor, str | None]:
    """The steps (TRIAL, numbers) of all runs per unit of learning rate, and what the object itself keeps."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> list[list[Tensor]]:
        return [
            [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes.values()] for _ in range(runs)
        ]

    params = [[torch.nn.Parameter(0.3 * b) for b in run] for run in draw()]
    directions = draw()
    sizes = [10.0 ** (3 * (i % 3) - 3) for i in range(runs)]
    torch.manual_seed(seed)
    instances = Instances(target, params, joint)
    before_trial = _own_state(instances.handles[0].optimizer)
    degree = probe.update_degree if probe.update_degree == probe.update_degree else 0.0
    unit = 0.01 / max(probe.step_per_lr, 1e-300)
    steps = []
    for t in range(TRIAL):
        noise = draw()
        if t == 2 * TRIAL // 3:
            instances.drop(0)
        if t == TRIAL // 3:
            sizes[-1] *= 2.0 ** instances.rescale(runs - 1, 20, probe.state_degrees)
        rates = [unit * (1 + 0.1 * ((3 * i + t) % 7)) for i in range(runs)]
        before = [[p.detach().clone() for p in run] for run in params]
        for i in instances.active:
            instances.set_lr(i, rates[i] / sizes[i] ** degree)
        instances.step(
            [[sizes[i] * (g + n) for g, n in zip(directions[i], noise[i], strict=True)] for i in range(runs)]
        )
        steps.append(
            torch.cat(
                [
                    ((p.detach() - b) / rates[i]).reshape(-1)
                    for i in range(runs)
                    for p, b in zip(params[i], before[i], strict=True)
                ]
            )
        )
    return torch.stack(steps), _first_difference(before_trial, _own_state(instances.handles[0].optimizer))


_KNOWN = frozenset({"state", "param_groups", "defaults"})


def _own_state(optimizer: Any) -> dict[str, Any]:
    """Everything that an optimizer object, or its class, keeps besides its per-parameter state, by name."""
    found: dict[str, Any] = {}
    seen: set[int] = {id(p) for group in optimizer.param_groups for p in group["params"]}

    def walk(name: str, value: Any, depth: int) -> None:
        if isinstance(value, (bool, int, float, str, bytes, type(None))):
            found[name] = value
        elif id(value) in seen or depth > 6 or callable(value):
            return
        elif isinstance(value, torch.Generator):
            found[name] = value.get_state()
        elif isinstance(value, Tensor):
            found[name] = value.detach().clone()
        elif isinstance(value, np.ndarray):
            found[name] = torch.as_tensor(value.copy()) if value.dtype.kind in "biuf" else value.tolist()
        else:
            seen.add(id(value))
            inner: Any = getattr(value, "__dict__", {})
            if isinstance(value, Mapping):
                inner = value
            elif isinstance(value, (list, tuple, set)):
                inner = dict(enumerate(value))
            for key, entry in inner.items():
                walk(f"{name}.{key}", entry, depth + 1)

    for key, entry in vars(optimizer).items():
        if key not in _KNOWN:
            walk(key, entry, 0)
    for kind in type(optimizer).__mro__:
        if kind is not object and kind is not torch.optim.Optimizer:
            for key, entry in vars(kind).items():
                if not key.startswith("__"):
                    walk(f"{kind.__name__}.{key}", entry, 0)
    return found


def _first_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    for name in sorted({*before, *after}):
        a, b = before.get(name), after.get(name)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if not torch.equal(a, b):
                return name
        elif isinstance(a, Tensor) or isinstance(b, Tensor) or a != b or type(a) is not type(b):
            return name
    return None
