"""Roundings to low precision: of the state, of the weights, and within the computation of the step.

A step computed in float64 answers to a relative change ε of the gradient in proportion to ε, down to 1e-11. One that
passes through float32 or bfloat16 stands still, or jumps by a rounding unit, once ε is below that unit; a sign or a
quantizer stands still at every ε, and is not a cast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import torch
from torch import Tensor

from maxmargin.verify.handle import Handle, Path
from maxmargin.verify.session import Session, advance, difference

REFERENCE = (3, 4, 5)  # ε = 2^−k at which a bfloat16 still answers smoothly
LADDER = tuple(range(7, 37, 2))
UNEVEN = 3.0  # an answer per ε that is so many times too small or too large is a rounding
MOST = 0.8  # of the answers below a rounding unit are uneven
FORMATS: Mapping[str, float] = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def weight_format(session: Session) -> str | None:
    """The coarsest format that holds all weights after the warm steps, exactly; None if they are true float64."""
    handle = session.open()
    for gradients in session.gradients:
        advance(handle, gradients)
    weights = torch.cat([p.detach().reshape(-1) for p in handle.params])
    moved = weights[weights != torch.cat([b.reshape(-1) for b in session.start])]
    if moved.numel() < 2:
        return None
    return next((n for n, d in _DTYPES.items() if bool((moved.to(d).double() == moved).all())), None)


def state_formats(handle: Handle, degrees: Mapping[Path, float]) -> tuple[str, ...]:
    """Names of state tensors, not counters, that are kept in less than float64: ``exp_avg in float32``."""
    found: dict[str, None] = {}
    for leaf in handle.leaves():
        value = leaf.value
        counts = degrees.get(leaf.path, 0.0) == 0.0 and isinstance(value, Tensor) and value.numel() == 1
        if isinstance(value, Tensor) and value.dtype != torch.float64 and not counts:
            name = next((str(part) for part in reversed(leaf.path) if isinstance(part, str)), "state")
            found[f"{name} in {str(value.dtype).removeprefix('torch.')}"] = None
    return tuple(found)


def granularity(session: Session, update: Sequence[Tensor]) -> float:
    """The rounding unit through which the step seems to pass; 0 where it answers evenly, or not smoothly at all.

    About 4e-3 for bfloat16, 6e-8 for float32. Of entries rounded to a unit u a share ε/u jumps by u when the gradient
    changes by ε: the answer per ε, over the even one, is then √(u/ε) in the mean square, from which u is read.

    Args:
        session: The target's.
        update: Its last warm step.

    Returns:
        The unit, relative.
    """
    generator = torch.Generator().manual_seed(1)

    def answer(k: int) -> float:
        noise = [torch.randn(u.shape, generator=generator, dtype=torch.float64) for u in update]
        step = 2.0**-k
        return difference(update, session.play(change=lambda i, g: g * (1 + step * noise[i]))[1]) / step

    usual = median(answer(k) for k in REFERENCE)
    if not 1e-3 < usual < 1e3:  # where single entries jump, as signs do, nothing can be told
        return 0.0
    last = answer(LADDER[-1])
    if usual / UNEVEN <= last <= usual * UNEVEN:
        return 0.0
    ratios = {k: answer(k) / usual for k in LADDER}
    uneven = [k for k, ratio in ratios.items() if not 1 / UNEVEN <= ratio <= UNEVEN]
    rest = [k for k in uneven if sum(j >= k for j in uneven) >= MOST * sum(j >= k for j in LADDER)]
    if len(rest) < 3:
        return 0.0
    jumps = [2.0**-k * ratios[k] ** 2 for k in rest if ratios[k] > UNEVEN]
    return median(jumps) if jumps else 2.0 ** -rest[0]


def format_of(unit: float) -> str | None:
    """The format whose rounding unit is nearest a granularity; None where there is none."""
    if unit <= 0:
        return None
    logs = {name: abs(torch.tensor(unit / u).log2().item()) for name, u in FORMATS.items()}
    best = min(logs, key=lambda name: logs[name])
    return best if logs[best] <= 5 else None
