"""Which samples each step of a stochastic run sees: epochs without replacement, shuffled or always in turn.

The order is a function of (seed, run, epoch) alone. So it needs no state: a resumed run finds its place from the step
count, and a run in a batch draws what it would draw alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Order = Literal["shuffled", "cyclic"]


class OrderError(ValueError):
    """A batch size or an order that does not exist."""


@dataclass(frozen=True)
class SampleOrder:
    """Batches of ``size`` of ``samples`` samples, for ``runs`` runs; an epoch's last batch may be smaller.

    Attributes:
        samples: How many there are, n.
        size: Samples a batch, 1 ≤ size ≤ n.
        runs: Runs, B; each has an order of its own unless the order is cyclic.
        seed: Of the shuffling.
        order: ``shuffled``: a new permutation each epoch; ``cyclic``: samples 0, 1, 2, … in every epoch (the
            incremental gradient method).

    Example:
        >>> rows, absent = SampleOrder(samples=5, size=2, runs=1, order="cyclic").steps(0, 4)
        >>> rows[0].tolist()
        [[0, 1], [2, 3], [4, 4], [0, 1]]
        >>> absent[0].tolist()
        [[0.0, 0.0], [0.0, 0.0], [0.0, -inf], [0.0, 0.0]]
    """

    samples: int
    size: int
    runs: int
    seed: int = 0
    order: Order = "shuffled"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.samples:
            raise OrderError(f"batch_size is {self.size}; needed is 1 … {self.samples}, the number of samples")
        if self.order not in ("shuffled", "cyclic"):
            raise OrderError(f"batch order is {self.order!r}; needed is 'shuffled' or 'cyclic'")
        if self.seed < 0:
            raise OrderError(f"seed is {self.seed}; needed is seed >= 0")

    @property
    def epoch(self) -> int:
        """Steps of one epoch."""
        return -(-self.samples // self.size)

    def steps(self, done: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The batches of the ``count`` steps that follow ``done`` steps.

        Returns:
            Sample indices (runs, count, size), int64, and the logarithm of each one's presence, float64: 0, or −inf
            for an entry that only fills up an epoch's last batch.
        """
        last = (done + count - 1) // self.epoch
        rows = np.concatenate([_epoch(self, e) for e in range(done // self.epoch, last + 1)], axis=1)
        at = done % self.epoch
        absent = np.zeros((self.epoch, self.size))
        absent.reshape(-1)[self.samples :] = -np.inf
        pattern = absent[np.arange(at, at + count) % self.epoch]
        return rows[:, at : at + count], np.broadcast_to(pattern, (self.runs, *pattern.shape))


@lru_cache(maxsize=2)  # an epoch longer than a chunk is asked for several times in turn
def _epoch(order: SampleOrder, epoch: int) -> np.ndarray:
    """Batches of one epoch, (runs, steps, size); what fills up the last batch repeats its last sample."""
    if order.order == "cyclic":
        turns = np.broadcast_to(np.arange(order.samples), (order.runs, order.samples))
    else:
        # Drawn row by row: the first rows are the same however many runs there are.
        turns = np.random.default_rng([order.seed, epoch]).random((order.runs, order.samples)).argsort(axis=1)
    short = order.epoch * order.size - order.samples
    full = np.concatenate([turns, np.repeat(turns[:, -1:], short, axis=1)], axis=1)
    return full.reshape(order.runs, order.epoch, order.size)
