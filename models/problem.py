"""A problem: a homogeneous model and data, seen through its margins m_i(θ) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import Array, Blocks, as_torch, check_shapes, flatten, unflatten
from maxmargin.models.errors import InputError
from maxmargin.models.memory import require
from maxmargin.models.model import HomogeneousModel


class DataError(InputError):
    """Data that cannot make a problem: NaN, one class, wrong shapes."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Model + data → margins.

    ``m_i(θ) = y_i f(θ; x_i)`` for a binary model, ``f_{y_i} − f_c`` for every c ≠ y_i for a multiclass one.
    All margins of sample i stand together: margin index = sample · contrasts + contrast. ``n_margins`` counts
    them all.

    Every method takes one set of parameters and answers in its kind: torch in, torch out (and may be
    vmapped); numpy in, numpy out.

    Attributes:
        name: How the command line and the reports call it.
        model: The homogeneous model.
        X: Inputs, (n, features), float64.
        contrasts: (n, c, outputs): row (i, j) times the scores of sample i is one margin; ±1 for two classes.
        labels: The labels as given, (n,), for display.
        note: Where the data come from.
    """

    name: str
    model: HomogeneousModel
    X: Tensor
    contrasts: Tensor
    labels: np.ndarray
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        model: HomogeneousModel,
        X: Any,
        y: Any,
        note: str = "",
        classes: Sequence[Any] | None = None,
    ) -> Problem:
        """Return the problem of inputs X (n, features) and labels y (n,).

        A binary model (one output) takes exactly two classes, the larger label is +1; a multiclass model
        takes as many classes as it has outputs, in sorted order.

        Args:
            name: How the command line and the reports call it.
            model: The homogeneous model.
            X: Inputs, (n, features).
            y: Labels, (n,): integers, text or ±1.
            note: Where the data come from.
            classes: All the classes, where y need not show every one of them (a single point has one label).

        Raises:
            DataError: X or y of the wrong shape or kind, NaN or infinite entries, a wrong number of classes.
        """
        X, y = _as_inputs(name, X), np.asarray(y)
        if X.ndim != 2 or X.shape[0] == 0:
            raise DataError(f"{name}: X has shape {X.shape}; needed is (samples, features), at least one sample")
        if y.shape != X.shape[:1]:
            raise DataError(f"{name}: y has shape {y.shape}, X has {X.shape[0]} samples; give one label a sample")
        if X.shape[1] != model.features:
            raise DataError(f"{name}: X has {X.shape[1]} features, the model {model.name!r} takes {model.features}")
        if not np.isfinite(X).all():
            i, j = np.argwhere(~np.isfinite(X))[0]
            raise DataError(f"{name}: X[{i}, {j}] is {X[i, j]}; every entry must be finite — drop or impute the sample")
        return cls(name, model, torch.as_tensor(X), _contrasts(name, model, y, classes), y, note)

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"Problem({self.name!r}, n={n}, d={d}, margins={self.n_margins}, L={self.degree})"

    @property
    def degree(self) -> float:
        """Degree of homogeneity L."""
        return self.model.degree

    @property
    def linear(self) -> bool:
        """Whether the margins are linear in θ (then the margin problem is convex)."""
        return self.model.linear

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each block."""
        return self.model.shapes

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.X.shape[0])

    @property
    def n_margins(self) -> int:
        """Number of margins, n · (classes − 1)."""
        return int(self.contrasts.shape[0] * self.contrasts.shape[1])

    def to(self, device: torch.device | str) -> Problem:
        """The same problem with its data on ``device``."""
        return replace(self, X=self.X.to(device), contrasts=self.contrasts.to(device))

    def margins(self, theta: Blocks) -> Array:
        """All margins m(θ), shape (n_margins,)."""
        blocks, back = self._accept(theta)
        return back(self._margins(blocks))

    def min_margin(self, theta: Blocks) -> Array:
        """The smallest margin, q(θ) = min_i m_i(θ)."""
        m = self.margins(theta)
        return m.min() if isinstance(m, np.ndarray) else m.amin()

    def pullback(self, theta: Blocks, lam: Array) -> dict[str, Array]:
        """Σ λ_i g_i(θ) with g_i = ∇m_i, for λ of shape (n_margins,): one array a block."""
        blocks, back = self._accept(theta)
        lam = torch.as_tensor(lam, dtype=torch.float64, device=self.X.device)
        c = torch.einsum("nc,nco->no", lam.reshape(self.contrasts.shape[:2]), self.contrasts)
        return {name: back(g) for name, g in self.model.pullback(blocks, self.X, c).items()}

    def jacobian(self, theta: Blocks) -> dict[str, Array]:
        """All g_i(θ) = ∇m_i(θ): one array (n_margins, *block shape) a block."""
        blocks, back = self._accept(theta)
        n, _, outputs = self.contrasts.shape
        numbers = (self.n_margins + n * outputs) * sum(int(np.prod(s)) for s in self.shapes.values())
        require(
            8 * numbers, f"{self.name}: the gradients of {self.n_margins} margins", "fewer samples, or a smaller model"
        )
        inputs = self.X.repeat_interleave(outputs, 0)
        units = torch.eye(outputs, dtype=torch.float64, device=self.X.device).repeat(n, 1)

        def of_score(x: Tensor, output: Tensor) -> dict[str, Tensor]:  # one sample at a time: the others' would be 0
            return self.model.pullback(blocks, x.unsqueeze(0), output.unsqueeze(0))

        def of_margins(scores: Tensor) -> Tensor:  # (n · outputs, *block) → (n_margins, *block)
            flat = scores.reshape(n, outputs, -1)
            return (self.contrasts @ flat).reshape(self.n_margins, *scores.shape[1:])

        stack = torch.func.vmap(of_score)(inputs, units)
        return {name: back(of_margins(g)) for name, g in stack.items()}

    def hessian_of(self, theta: Blocks, lam: Array) -> np.ndarray:
        """The Hessian of Σ λ_i m_i at θ as a (p, p) numpy matrix, blocks in order, each row-major."""
        blocks = as_torch(theta, self.X.device)
        weights = torch.as_tensor(lam, dtype=torch.float64, device=self.X.device)

        def gradient(vector: Tensor) -> Tensor:
            g = self.pullback(unflatten(vector, self.shapes), weights)
            return flatten(g, self.shapes)

        return torch.func.jacrev(gradient)(flatten(blocks, self.shapes)).detach().cpu().numpy()

    def _margins(self, theta: Blocks) -> Tensor:
        scores = self.model.scores(theta, self.X)
        return torch.einsum("nco,no->nc", self.contrasts, scores).reshape(-1)

    def _accept(self, theta: Blocks) -> tuple[Blocks, Any]:
        """Torch blocks, and the map that brings a result back into the caller's kind."""
        if all(isinstance(block, torch.Tensor) for block in theta.values()):
            return theta, lambda a: a
        check_shapes(theta, self.shapes)
        return as_torch(theta, self.X.device), lambda a: a.detach().cpu().numpy()


def _as_inputs(name: str, X: Any) -> np.ndarray:
    """X as a float64 array that nobody else holds; refused where entries are not real numbers."""
    given = np.asarray(X)
    if given.dtype.kind not in "biuf":
        raise DataError(f"{name}: X has entries of type {given.dtype}; needed are real numbers")
    return np.array(given, dtype=np.float64)


def _contrasts(name: str, model: HomogeneousModel, y: np.ndarray, classes: Sequence[Any] | None) -> Tensor:
    """The rows (n, c, outputs) that turn scores into margins; refused for classes that are not the model's."""
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"{name}: y[{int(np.argmin(np.isfinite(y)))}] is not finite; labels must be")
    if y.dtype.kind not in "biufSU":
        raise DataError(f"{name}: y has entries of type {y.dtype}; needed are integers or text")
    known = np.unique(y if classes is None else np.asarray(classes))
    if classes is not None and not np.isin(y, known).all():
        stray = y[~np.isin(y, known)][0]
        raise DataError(f"{name}: y has the label {stray}, which is not among the classes {known.tolist()}")
    needed = max(2, model.outputs)
    if len(known) != needed:
        shown = ", ".join(map(str, known[:6])) + ("…" if len(known) > 6 else "")
        raise DataError(
            f"{name}: y has {len(known)} distinct label(s) ({shown}); the model {model.name!r} needs {needed}"
        )
    index = np.searchsorted(known, y)
    if model.outputs == 1:
        return torch.as_tensor((2.0 * index - 1.0).reshape(-1, 1, 1))
    require(8.0 * len(y) * model.outputs**2, f"{name}: the contrasts of its classes", "take fewer samples or classes")
    eye = np.eye(model.outputs)
    return torch.as_tensor(np.stack([eye[c] - np.delete(eye, c, axis=0) for c in index]))
