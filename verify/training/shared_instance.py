"""Whether one optimizer instance can step several runs: tried out against separate instances, not assumed.

Global norms, randomness and state that belongs to no parameter make a difference; they show on runs of very different
sizes, or in what the optimizer object keeps besides its per-parameter state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.thresholds.training import SAME_JOINTLY, TRIAL
from maxmargin.verify.training.instances import Instances
from maxmargin.verify.training.own_state import first_difference, own_state


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
    before_trial = own_state(instances.handles[0].optimizer)
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
    return torch.stack(steps), first_difference(before_trial, own_state(instances.handles[0].optimizer))
