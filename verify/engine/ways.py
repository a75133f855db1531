"""Two ways to take runs forward: compiled to native code, or operator by operator in torch.

On a CPU the first, run after run: a step costs a microsecond, where torch's overhead alone is a hundred. The second
serves a GPU, whose overhead CUDA graphs take away, and whatever the first cannot do.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from typing_extensions import override

from maxmargin.verify.engine.batches import SampleOrder
from maxmargin.verify.engine.native.graph import UnsupportedError, record
from maxmargin.verify.engine.native.loop import Loop, Pieces
from maxmargin.verify.engine.schedules import Schedule
from maxmargin.verify.engine.stepping import CHUNK, OneRun, Stepping
from maxmargin.verify.engine.tracing import captured, traced

CLOSE = 1e-12  # largest difference between native steps and torch's, relative to each tensor's largest number
NOISE = 100  # times that is allowed where rounding alone takes torch's own steps further apart
TRIED = 2  # chunks that are compared before a run; all must agree
TRIED_COARSE = 8  # chunks where a step rounds to shorter numbers; one must agree
EARLY = 256 * CHUNK  # steps in which the speed is measured at every chunk
REFRESH = 8 * CHUNK  # steps between two measurements later
_log = logging.getLogger(__name__)


class Now(NamedTuple):
    """All that the next step depends on."""

    theta: Any
    state: Any
    t: Tensor
    travelled: Tensor
    speed: Tensor
    length: Tensor
    growth: Tensor


@dataclass(frozen=True)
class Task:
    """B runs to be made.

    Attributes:
        one: One run's pieces.
        schedule: Learning rates.
        theta0: Starts, block → (B, *shape).
        X: Samples, of all runs or (B, …).
        C: Contrasts, likewise.
        data_dim: 0 where each run has data of its own.
        batches: The order of the samples, None for the whole loss.
    """

    one: OneRun
    schedule: Schedule
    theta0: Mapping[str, Tensor]
    X: Tensor
    C: Tensor
    data_dim: int | None
    batches: SampleOrder | None

    @property
    def runs(self) -> int:
        """How many runs."""
        return next(iter(self.theta0.values())).shape[0]

    def alone(self) -> Task:
        """Its first run."""
        theta0 = {k: b[:1] for k, b in self.theta0.items()}
        X, C = (x if self.data_dim is None else x[:1] for x in (self.X, self.C))
        batches = None if self.batches is None else replace(self.batches, runs=1)
        return replace(self, theta0=theta0, X=X, C=C, batches=batches)

    def turned(self) -> Task:
        """The same with the samples in the opposite order."""
        return replace(self, X=self.X.flip(-2), C=self.C.flip(-3))

    def drawn(self, done: int, count: int = CHUNK) -> tuple[Tensor, ...]:
        """The batches of the next steps."""
        if self.batches is None:
            return ()
        return tuple(torch.as_tensor(np.array(a)).to(self.X.device) for a in self.batches.steps(done, count))

    def rate(self, step: Any, speed: Tensor, length: Tensor, growth: Tensor) -> Tensor:
        """η from measurements in the norm of the pace."""
        unit = self.one.optimizer.step_norm
        return self.schedule.rate(step, speed * unit, length / unit, growth * unit)


class Way(ABC):
    """Runs under way.

    Attributes:
        name: For a snapshot's identity.
    """

    name: ClassVar[str]

    def __init__(self, task: Task) -> None:
        self.task = task
        self.stepping = Stepping(task.one, task.runs, task.data_dim, task.batches is not None)
        theta = {k: b.to(task.X.device, torch.float64).clone() for k, b in task.theta0.items()}
        ones = torch.ones(task.runs, dtype=torch.float64, device=task.X.device)
        self.start = Now(
            theta, self.stepping.init(theta), ones[0].clone(), torch.zeros_like(ones), ones,
            torch.full_like(ones, torch.inf), torch.zeros_like(ones),
        )  # fmt: skip

    @property
    @abstractmethod
    def done(self) -> int:
        """Steps taken."""

    @property
    @abstractmethod
    def now(self) -> Now:
        """Where the runs stand."""

    @abstractmethod
    def resume(self, done: int, now: Now) -> None:
        """Go on from there."""

    @abstractmethod
    def rates(self) -> Tensor:
        """Measure the speeds where that is due, and choose the next learning rates (B,)."""

    @abstractmethod
    def advance(self, until: int) -> None:
        """Take all runs further, for about a second at most and not beyond ``until`` steps."""

    def look(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        eta, now = self.rates(), self.now
        t = now.t.reshape(-1)[0]
        g, s, q, u = self.stepping.look(
            now.theta, now.state, t, self.task.X, self.task.C, *self.task.drawn(self.done)
        )  # fmt: skip
        return {
            "theta": {k: b.clone() for k, b in now.theta.items()},
            "gradient": g,
            "log_scale": s,
            "margin": q,
            "eta": eta.clone(),
            "travelled": now.travelled.clone(),
            "update": {k: b * eta.reshape(-1, *[1] * (b.ndim - 1)) for k, b in u.items()},
        }


class Interpreted(Way):
    """Operator by operator, all runs at once; on a GPU as a CUDA graph of one chunk."""

    name = "torch"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._at = 0, self.start  # in one piece: whatever breaks off a step leaves it whole
        self._chunk, self._speed, self._growth = self._steps, self.stepping.speed, self.stepping.growth
        if task.X.device.type == "cuda":
            now, ones = self.start, torch.ones_like(self.start.speed)
            data = task.X, task.C
            self._chunk = captured(self.stepping.step, *now[:3], ones, *data, *task.drawn(0), times=CHUNK)
            if task.schedule.needs_speed:
                self._growth = traced(self._growth, now.theta, *data)
                self._speed = traced(self._speed, now.theta, *data)

    @property
    @override
    def done(self) -> int:
        return self._at[0]

    @property
    @override
    def now(self) -> Now:
        return self._at[1]

    @override
    def resume(self, done: int, now: Now) -> None:
        self._at = done, now

    @override
    def rates(self) -> Tensor:
        done, now = self._at
        task, one = self.task, self.task.one
        if task.schedule.needs_speed and (done < EARLY or done % REFRESH == 0):
            if done == 0 or not one.fixed_speed:
                worst, length, grows = self._speed(now.theta, task.X, task.C)
            else:
                (length, grows), worst = self._growth(now.theta, task.X, task.C), now.speed
            # A linear model may start at 0, and its margins change as fast as predicted: no cap.
            now = now._replace(speed=worst, length=now.length if one.linear else length, growth=grows)
            self._at = done, now
        return task.rate(done + 1, now.speed, now.length, now.growth)

    @override
    def advance(self, until: int) -> None:
        eta = self.rates()
        done, now = self._at
        batch = self.task.drawn(done)
        theta, state, t = self._chunk(now.theta, now.state, now.t, eta, self.task.X, self.task.C, *batch)
        self._at = done + CHUNK, now._replace(theta=theta, state=state, t=t, travelled=now.travelled + CHUNK * eta)

    def _steps(self, theta: Any, state: Any, t: Tensor, *rest: Tensor) -> tuple[Any, Any, Tensor]:
        for _ in range(CHUNK):
            theta, state, t = self.stepping.step(theta, state, t, *rest)
        return theta, state, t


class Native(Way):
    """Compiled, run after run.

    Raises:
        UnsupportedError: naming an operator that has no native form.
    """

    name = "native"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        one, paced = task.one, task.schedule.needs_speed
        length = "" if one.linear else "length"  # no cap: it stays infinite
        pieces = Pieces(
            step=one.step,
            measure=None if not paced else one.growth if one.fixed_speed else one.speed,
            measures=(length, "growth") if one.fixed_speed else ("speed", length, "growth"),
            rate=self._traceable_rate(),
            refresh=(EARLY, REFRESH),
            chunk=CHUNK,
        )
        now = self.start
        t = now.t.expand(task.runs)
        self.loop = Loop(pieces, (now.theta, now.state, t), task.X, task.C, task.drawn(0), shared=task.data_dim is None)
        if paced and one.fixed_speed:
            self.start = now._replace(speed=self.stepping.speed(now.theta, task.X, task.C)[0])
        self.resume(0, self.start)

    def _traceable_rate(self) -> Any:
        """The schedule as a function of tensors; None where it looks at values and has to be asked chunk by chunk."""
        schedule = self.task.schedule
        try:
            record(self.task.rate, *torch.ones(4, dtype=torch.float64).unbind())
        except (UnsupportedError, TypeError, RuntimeError) as error:
            if schedule.needs_speed:
                raise UnsupportedError(f"the rate of {type(schedule).__name__} ({error})") from error
            return None
        return self.task.rate

    @property
    def coarsest(self) -> torch.dtype:
        """The shortest kind of number that a step computes in."""
        return self.loop.coarsest

    @property
    @override
    def done(self) -> int:
        return int(self.loop.now[2][0]) - 1

    @property
    @override
    def now(self) -> Now:
        theta, state, t = self.loop.now
        numbers = self.loop.numbers
        return Now(theta, state, t, numbers["travelled"], numbers["speed"], numbers["length"], numbers["growth"])

    @override
    def resume(self, done: int, now: Now) -> None:
        for mine, x in zip(pytree.tree_leaves(self.now), pytree.tree_leaves(now), strict=True):
            mine.copy_(x)  # t, which torch's way shares, too

    @override
    def rates(self) -> Tensor:
        self.loop.measure(self.done)
        return self.loop.numbers["eta"] if self.loop.pieces.rate is not None else self._given(self.done, 1)[:, 0]

    @override
    def advance(self, until: int) -> None:
        self.loop.advance(self.done, until, self.task.drawn, self._given)

    def _given(self, done: int, count: int) -> Tensor:
        now = self.now
        each = [self.task.rate(done + 1 + i * CHUNK, now.speed, now.length, now.growth) for i in range(count)]
        return torch.stack(each, dim=1)


def chosen(task: Task, *, native: bool) -> Way:
    """The way that is fast and right: native code on a CPU, unless an operator is unknown or the first steps differ."""
    if not native or task.X.device.type != "cpu":
        return Interpreted(task)
    try:
        way = Native(task)
    except UnsupportedError as missing:
        _log.warning("%s has no native form: torch runs the steps, a hundred times slower", missing)
        return Interpreted(task)
    apart = _difference(way, Interpreted(task.alone()))
    if apart is not None:
        _log.warning("native steps differ from torch's (%s): torch runs them, a hundred times slower", apart)
        return Interpreted(task)
    way.resume(0, way.start)
    return way


def _difference(way: Native, plain: Interpreted) -> str | None:
    """Take runs some chunks natively, and the first run by torch's operators, from the same states.

    Sums in another order are rounded differently. In float64 that is 1e-16, and what steps make of it is measured: by
    how much torch's own come apart with the samples in another order, from a state with other last digits (Muon on a
    nearly singular matrix takes 1e-16 to 1e-6). Where a step rounds to bfloat16, now and then the next number comes
    out, which Newton-Schulz steps make large; so there agreement in one chunk to the last digits is asked for, which
    no wrong code reaches.

    Returns:
        The tensor that differs most, and by how much; None where they agree.
    """
    coarse, apart = way.coarsest != torch.float64, ""
    plain.rates()
    for _ in range(TRIED_COARSE if coarse else TRIED):
        done, before = plain.done, plain.now
        way.resume(done, before)
        for each in (way, plain):
            each.advance(done + CHUNK)
            each.rates()
        size, name = _farthest(way.now, plain.now)
        agree = size <= CLOSE
        if agree and coarse:
            return None
        if not agree and not coarse:
            other = Interpreted(plain.task.turned() if plain.task.batches is None else plain.task)
            other.resume(done, _other_digits(before))
            other.advance(done + CHUNK)
            other.rates()
            agree = size <= NOISE * _farthest(other.now, plain.now)[0]
        if not agree:
            apart = f"{name} by {size:.1e} of its size after {plain.done} steps"
            if not coarse:
                break
    return apart or None


def _other_digits(now: Now) -> Now:
    """The same weights and state, some eps away."""
    draw = torch.Generator().manual_seed(0)

    def moved(x: Tensor) -> Tensor:
        signs = torch.randint(0, 2, x.shape, generator=draw) * 2.0 - 1.0
        return x * (1.0 + 4 * torch.finfo(x.dtype).eps * signs) if x.is_floating_point() else x

    return now._replace(theta=pytree.tree_map(moved, now.theta), state=pytree.tree_map(moved, now.state))


def _farthest(now: Now, plain: Now) -> tuple[float, str]:
    """The largest difference of the first run from the only one, relative to each tensor's size; and where."""
    worst = 0.0, ""
    for (path, a), b in zip(pytree.tree_flatten_with_path(now)[0], pytree.tree_leaves(plain), strict=True):
        first = a[:1].reshape(b.shape) if a.ndim else a  # t, which torch's runs share, has no axis of runs there
        mine, theirs, name = first.to(torch.float64), b.to(torch.float64), pytree.keystr(path)
        same = (mine == theirs) | (torch.isnan(mine) & torch.isnan(theirs))
        if not bool(same.all()):
            # The growth of a margin is 0 where it changes its sign; the speed is its scale.
            scale = torch.cat([theirs.flatten(), plain.speed]) if name == ".growth" else theirs
            size = float(torch.where(torch.isfinite(scale), scale.abs(), 0.0).amax())
            size = max(size, 1.0) if name.endswith("log_scale") else size  # a logarithm's own size says nothing
            apart = float(torch.where(same, 0.0, (mine - theirs).abs()).nan_to_num(torch.inf).amax())
            worst = max(worst, (apart / size if size else torch.inf, name))
    return worst
