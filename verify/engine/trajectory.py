"""What a run leaves behind: the weights, gradients and steps of B runs at T checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maxmargin.verify.engine.response import Response


@dataclass(frozen=True)
class Trajectory:
    """B runs of one optimizer on one problem, kept at T log-spaced checkpoints; all arrays numpy float64.

    Checkpoint 0 is the start (step 0). ``gradient`` is the loss's gradient at θ as a mantissa whose largest sample
    weight is 1, times e^{log_scale}; ``update`` is the step Δθ that the optimizer takes *from* that checkpoint.

    Attributes:
        problem: The problem's name.
        optimizer: The optimizer, for display.
        steps: (T,) increasing.
        theta: block → (T, B, *shape).
        gradient: block → (T, B, *shape), mantissa.
        update: block → (T, B, *shape), Δθ; zero where no step followed.
        log_scale: (T, B) natural logarithm of the gradient's scale.
        margin: (T, B) q(θ) = min_i m_i(θ), not normalized.
        eta: (T, B) learning rate of the step from the checkpoint.
        travelled: (T, B) N = Σ η so far.
        separated_at: (B,) first step seen with q > 0; −1 if never.
        alive: (B,) whether the weights stayed finite.
        undefined: (B,) how many weights, at most in one step, an optimizer left undefined (0/0 := 0 was applied).
        broken: (B,) the step that was not finite though its gradient was, from 1; 0 where all were finite.
        responses: What the next steps made of gradients a decade before the end and at the end, where that was asked.

    Raises:
        ValueError: arrays whose shapes do not fit together.
    """

    problem: str
    optimizer: str
    steps: np.ndarray
    theta: dict[str, np.ndarray]
    gradient: dict[str, np.ndarray]
    update: dict[str, np.ndarray]
    log_scale: np.ndarray
    margin: np.ndarray
    eta: np.ndarray
    travelled: np.ndarray
    separated_at: np.ndarray
    alive: np.ndarray | None = None
    undefined: np.ndarray | None = None
    broken: np.ndarray | None = None
    responses: tuple[Response, ...] = ()

    def __post_init__(self) -> None:
        lead = self.margin.shape
        if lead[0] != len(self.steps):
            raise ValueError(f"Trajectory.margin leads with {lead}, but there are {len(self.steps)} checkpoints")
        for field in ("theta", "gradient", "update"):
            for name, block in getattr(self, field).items():
                if block.shape[:2] != lead:
                    raise ValueError(
                        f"Trajectory.{field}[{name!r}] leads with {block.shape[:2]}, margin is {lead} = (T, B)"
                    )
        for field in ("log_scale", "eta", "travelled"):
            if (shape := getattr(self, field).shape) != lead:
                raise ValueError(f"Trajectory.{field} has shape {shape}, margin is {lead} = (T, B)")
        for field in ("separated_at", "alive", "undefined", "broken"):
            if (value := getattr(self, field)) is not None and value.shape != lead[1:]:
                raise ValueError(f"Trajectory.{field} has shape {value.shape}, needed is one entry a run, {lead[1:]}")

    @property
    def runs(self) -> int:
        """Number of runs B."""
        return int(self.margin.shape[1])

    @property
    def separated(self) -> np.ndarray:
        """(B,) whether a run ends with every sample on its right side and finite weights."""
        finite = np.ones(self.runs, dtype=bool) if self.alive is None else self.alive.copy()
        for block in self.theta.values():
            finite &= np.isfinite(block[-1]).reshape(self.runs, -1).all(axis=1)
        return finite & (self.margin[-1] > 0)

    def lengths(self, field: str = "theta") -> np.ndarray:
        """(B,) ℓ2 norms of the blocks together, at the last checkpoint."""
        ends = [(block[-1] ** 2).reshape(self.runs, -1).sum(axis=1) for block in getattr(self, field).values()]
        return np.asarray(np.sqrt(sum(ends)))

    def at(self, t: int, run: int, field: str = "theta") -> dict[str, np.ndarray]:
        """The blocks of one run at checkpoint index ``t``."""
        return {name: block[t, run] for name, block in getattr(self, field).items()}
