"""Short experiments on a black-box optimizer, before any long run: how it scales, remembers, and what it depends on.

Twin runs on gradients g and c·g give each state tensor's degree (momentum 1, second moment 2, counters 0) and the
update's (0 for a scale-invariant optimizer, 1 for SGD). With the degrees known, loss and state can be rescaled
together, exactly, whenever the gradient drifts out of range. An eps shows up as lost invariance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log2, nan, prod

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.handle import Handle, Path
from maxmargin.verify.targets import Target

WARM = 5  # steps of a twin run: some optimizers make no move at first
EXACT = 1e-9  # relative; powers of two rescale exactly, what is left is rounding in sums of different order
VISIBLE = 0.1  # a relative change of the update that is no longer the same optimizer


@dataclass(frozen=True)
class Probe:
    """What the short experiments found.

    Attributes:
        update_degree: d in Δθ(c g) = c^d Δθ(g): 0 scale invariant, 1 like SGD; NaN if no power law fits.
        state_degrees: Degree of each state leaf; NaN where no power law fits.
        defect: Relative error of that scaling at c = 2^-20.
        floor: Gradient norm below which the update departs from it by more than 10 %; 0 if none was found.
        lag_limit: Change of the log-gradient in one step that the state can follow; 1 without memory.
        memory: Steps that its slowest moment remembers; inf where a state never forgets (Adagrad).
        decay: Largest weight decay declared in the parameter groups.
        value_dependence: Relative change of the update when the weights are tripled and the gradients are not.
        random: Relative difference of two runs with different random seeds.
        lr_error: Relative error of "twice the learning rate moves twice as far"; NaN without a learning rate.
        step_per_lr: ‖Δθ‖₂ of a warm step at the groups' own learning rates.
        coupling: Power with which one block's step answers to the size of its own gradient, beside the others': 0 where
            blocks are joined by a maximum, 1 by ℓ2; None with a single block.
        shared_state: Whether a group keeps state tensors of its own.
        rescaling_error: Relative error of a step before which gradient and state were rescaled together: large where
            an optimizer keeps state that cannot be seen in its ``state``.
    """

    update_degree: float
    state_degrees: Mapping[Path, float]
    defect: float
    floor: float
    lag_limit: float
    memory: float
    decay: float
    value_dependence: float
    random: float
    lr_error: float
    step_per_lr: float
    coupling: float | None = None
    shared_state: bool = False
    rescaling_error: float = 0.0

    @property
    def rescalable(self) -> bool:
        """Whether gradient and state can be rescaled together without changing what the optimizer does."""
        known = self.update_degree == self.update_degree and all(d == d for d in self.state_degrees.values())
        return known and self.rescaling_error <= VISIBLE

    @property
    def exactly_invariant(self) -> bool:
        """Whether that rescaling is exact to rounding."""
        return self.rescalable and max(self.defect, self.rescaling_error) <= EXACT and self.floor == 0.0


class _Session:
    """Runs the target on prescribed gradients from a fixed start."""

    def __init__(self, target: Target, shapes: Shapes, seed: int) -> None:
        self.target, self.shapes = target, shapes
        generator = torch.Generator().manual_seed(seed)

        def draw() -> list[Tensor]:
            return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes.values()]

        self.start = [0.3 * b for b in draw()]
        direction = draw()
        # Nearly the same gradient each time, as late in training: a fresh one each step would hide what momentum does.
        self.gradients = [[g + 0.1 * n for g, n in zip(direction, draw(), strict=True)] for _ in range(WARM)]
        self.norm = _size(direction)

    def open(self, start_factor: float = 1.0) -> Handle:
        torch.manual_seed(0)
        return Handle(self.target, [torch.nn.Parameter(start_factor * b) for b in self.start])

    def play_scaled(self, c: float, degree: float) -> list[Tensor]:
        """The last step on c·g at a learning rate that should undo c^degree, so that rounding does not grow."""
        return self.play(c, lr=c**-degree)[1]

    def play(
        self, c: float = 1.0, *, lr: float = 1.0, start_factor: float = 1.0, seed: int = 0, first: float = 1.0
    ) -> tuple[Handle, list[Tensor]]:
        """WARM steps on c·g, the first block's gradient times ``first`` besides; the handle, and the last step."""
        handle = self.open(start_factor)
        torch.manual_seed(seed)
        handle.set_lr(lr)
        before: list[Tensor] = []
        for gradients in self.gradients:
            before = [p.detach().clone() for p in handle.params]
            handle.step([c * g * (first if i == 0 else 1.0) for i, g in enumerate(gradients)])
        return handle, [p.detach() - b for p, b in zip(handle.params, before, strict=True)]

    def one_more(self, handle: Handle, c: float) -> list[Tensor]:
        """The step that follows the warm ones, on −0.3 c times the last gradient."""
        before = [p.detach().clone() for p in handle.params]
        handle.step([-0.3 * c * g for g in self.gradients[-1]])
        return [p.detach() - b for p, b in zip(handle.params, before, strict=True)]


def _size(blocks: Sequence[Tensor]) -> float:
    return float(torch.stack([(b.double() ** 2).sum() for b in blocks]).sum().sqrt())


def _difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    scale = max(_size(a), _size(b))
    if scale == 0:
        return 0.0
    gap = _size([x - y for x, y in zip(a, b, strict=True)])
    return gap / scale if gap == gap else inf


def _degree(small: object, large: object, c: float) -> float:
    """The power d with small = c^d · large, entry by entry; NaN if there is none; 0 for zeros."""
    a = torch.as_tensor(small, dtype=torch.float64).reshape(-1)
    b = torch.as_tensor(large, dtype=torch.float64).reshape(-1)
    if a.shape != b.shape:
        return nan
    top, bottom = float(b.abs().amax()) if b.numel() else 0.0, float(a.abs().amax()) if a.numel() else 0.0
    if top == 0 and bottom == 0:
        return 0.0
    if top == 0 or bottom == 0:
        return nan
    ratio = bottom / top
    if not (isfinite(ratio) and ratio > 0):
        return nan
    d = round(log2(ratio) / log2(c) * 12) / 12  # Shampoo's roots are quarters
    return d if float((a - c**d * b).abs().amax()) <= 1e-2 * bottom else nan


def probe(target: Target, shapes: Shapes, seed: int = 0) -> Probe:
    """Return the findings of the short experiments on parameters of these shapes.

    Raises:
        TargetError: when the optimizer cannot be built or stepped on them.
    """
    session = _Session(target, shapes, seed)
    handle, update = session.play()
    c = 2.0**-20
    scaled_handle, _ = session.play(c)
    large = {leaf.path: leaf for leaf in handle.leaves()}
    small = {leaf.path: leaf for leaf in scaled_handle.leaves()}
    degrees = {
        path: _degree(small[path].value, leaf.value, c) if path in small else nan for path, leaf in large.items()
    }
    update_degree, defect = _update_degree(session, update, c)
    lag, memory = _lag(session, degrees)
    has_lr = handle.has_lr
    return Probe(
        update_degree=update_degree,
        state_degrees=degrees,
        defect=defect,
        floor=_floor(session, update, update_degree),
        lag_limit=lag,
        memory=memory,
        decay=handle.weight_decay(),
        value_dependence=_difference(update, session.play(start_factor=3.0)[1]),
        random=_difference(update, session.play(seed=1)[1]),
        lr_error=_difference([2 * u for u in update], session.play(lr=2.0)[1]) if has_lr else nan,
        step_per_lr=_size(update),
        coupling=_coupling(session, update),
        shared_state=any(leaf.parameter is None for leaf in large.values()),
        rescaling_error=_rescaling_error(session, degrees, update_degree, 1 / c),
    )


def _update_degree(session: _Session, update: Sequence[Tensor], c: float) -> tuple[float, float]:
    """0 or 1, whichever fits better, and how well at c; NaN if neither fits, nor at 2^-5 where an eps weighs less."""
    fits = {d: _difference(update, session.play_scaled(c, d)) for d in (0.0, 1.0)}
    near = fits if min(fits.values()) < 0.5 else {d: _difference(update, session.play_scaled(2.0**-5, d)) for d in fits}
    best = min(near, key=lambda d: near[d])
    return (best, fits[best]) if near[best] < 0.5 else (nan, inf)


def _rescaling_error(session: _Session, degrees: Mapping[Path, float], degree: float, c: float) -> float:
    """Rescale gradient and state by c after the warm steps, as a long run does, and compare the step that follows.

    That step's gradient is turned round: along the old one, a sign would not show what its momentum has lost. And c is
    large: a small one would leave a state that was not rescaled in charge, which decides as a rescaled one does.

    Returns:
        The relative error of that step; inf where no degrees are known by which to rescale.
    """
    if degree != degree or any(d != d for d in degrees.values()):
        return inf
    plain, _ = session.play()
    wanted = session.one_more(plain, 1.0)
    scaled, _ = session.play()
    for leaf in scaled.leaves():
        if d := degrees.get(leaf.path, 0.0):
            leaf.multiply(c**d)
    scaled.set_lr(c**-degree)
    return _difference(wanted, session.one_more(scaled, c))


def _floor(session: _Session, update: Sequence[Tensor], degree: float) -> float:
    """The largest gradient norm, to a factor of 2 and down to 2^-120, at which the update has changed by 10 %."""
    if degree != degree:
        return session.norm

    def changed(k: int) -> bool:
        return _difference(update, session.play_scaled(2.0**-k, degree)) > VISIBLE

    coarse = next((k for k in range(0, 121, 5) if changed(k)), None)
    if coarse is None:
        return 0.0
    return session.norm * 2.0 ** -next(k for k in range(coarse - 4, coarse + 1) if k == coarse or changed(k))


def _coupling(session: _Session, update: Sequence[Tensor]) -> float | None:
    """Scale the first block's gradient by 2^-4 alone, and see how its step shrinks relative to the others'."""
    if len(update) == 1:
        return None
    other = session.play(first=2.0**-4)[1]
    sizes = [_size(update[:1]), _size(update[1:]), _size(other[:1]), _size(other[1:])]
    if min(sizes) == 0:
        return None
    return log2((sizes[0] / sizes[1]) / (sizes[2] / sizes[3])) / 4


def _lag(session: _Session, degrees: Mapping[Path, float]) -> tuple[float, float]:
    """(lag limit, memory) from an impulse: after the warm steps the gradient drops by 2^-60, and each state decays."""
    handle, _ = session.play()
    sizes: list[dict[Path, float]] = []
    for _ in range(3):
        handle.step([2.0**-60 * g for g in session.gradients[-1]])
        sizes.append(
            {
                leaf.path: float(torch.as_tensor(leaf.value).double().abs().amax())
                for leaf in handle.leaves()
                if prod(torch.as_tensor(leaf.value).shape)
            }
        )
    lag, memory = 1.0, 1.0
    for path, d in degrees.items():
        if d != d or d <= 0 or path not in sizes[-1] or sizes[-2].get(path, 0.0) == 0:
            continue
        kept = sizes[-1][path] / sizes[-2][path]
        if kept >= 1 - 1e-12:
            memory = inf
            continue
        lag = min(lag, (1 - kept) / d)
        memory = max(memory, 1 / (1 - kept))
    return lag, memory
