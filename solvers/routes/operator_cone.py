"""The cone of ‖W‖_op ≤ 1, [I W; Wᵀ I] ⪰ 0, with its multiplier: what the interior-point method needs of one block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.linalg import LinAlgError


@final
@dataclass(frozen=True)
class Layout:
    """Where the blocks are in y: matrices (m, k) one after the other, each row-major, then the box."""

    matrices: tuple[tuple[int, int], ...]
    boxes: int

    @property
    def size(self) -> int:
        """Length of y."""
        return sum(m * k for m, k in self.matrices) + self.boxes

    @property
    def degree(self) -> int:
        """The barrier parameter: order of all cones of the balls together."""
        return sum(m + k for m, k in self.matrices) + 2 * self.boxes

    def split(self, y: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The matrices and the box of y."""
        matrices, start = [], 0
        for m, k in self.matrices:
            matrices.append(y[start : start + m * k].reshape(m, k))
            start += m * k
        return matrices, y[start:]


@final
class MatrixBlock:
    """One matrix block: W and its multiplier Y = [P C; Cᵀ Q]."""

    def __init__(self, W: np.ndarray, mu: float) -> None:
        self.m, self.k = W.shape
        self.move(W)
        self.Y = mu * self.inverse

    def move(self, W: np.ndarray) -> None:
        """Go to W: X and X⁻¹."""
        m, k = self.m, self.k
        U, y, Vt = np.linalg.svd(W)
        if not y[0] < 1:
            raise LinAlgError("left the ball")
        e = (1 - y) * (1 + y)
        r = min(m, k)
        left, right = np.ones(m), np.ones(k)
        left[:r], right[:r] = e, e
        self.W = W
        self.X = np.eye(m + k)
        self.X[:m, m:], self.X[m:, :m] = W, W.T
        self.inverse = np.empty((m + k, m + k))
        self.inverse[:m, :m] = (U / left) @ U.T
        self.inverse[m:, m:] = (Vt.T / right) @ Vt
        self.inverse[:m, m:] = -(U[:, :r] * (y / e)) @ Vt[:r]
        self.inverse[m:, :m] = self.inverse[:m, m:].T

    def hessian(self) -> np.ndarray:
        """H with H ΔW = −2 times the off-diagonal block of ΔY's linear part, (mk, mk)."""
        m, S, Y = self.m, self.inverse, self.Y
        H = np.einsum("ik,jl->ijkl", Y[:m, :m], S[m:, m:]) + np.einsum("ik,jl->ijkl", S[:m, :m], Y[m:, m:])
        twist = np.einsum("il,kj->ijkl", Y[:m, m:], S[:m, m:])
        H += twist
        H += twist.transpose(2, 3, 0, 1)
        return H.reshape(self.m * self.k, self.m * self.k)

    def dX(self, D: np.ndarray) -> np.ndarray:
        """[0 D; Dᵀ 0]."""
        dX = np.zeros_like(self.X)
        dX[: self.m, self.m :], dX[self.m :, : self.m] = D, D.T
        return dX

    def dY(self, dX: np.ndarray, sigma_mu: float, correction: np.ndarray) -> np.ndarray:
        """The HKM direction of Y for a direction of X."""
        M = self.Y @ dX @ self.inverse
        return sigma_mu * self.inverse - self.Y - symmetric(M) - correction

    def lengths(self, dX: np.ndarray, dY: np.ndarray) -> np.ndarray:
        """How far X and Y can go before they leave the cone."""
        L = np.linalg.inv(np.linalg.cholesky(np.stack([self.X, self.Y])))
        least = np.linalg.eigvalsh(L @ np.stack([dX, dY]) @ L.transpose(0, 2, 1))[:, 0]
        return 1 / np.maximum(-least, 1e-300)


def symmetric(M: np.ndarray) -> np.ndarray:
    """(M + Mᵀ) / 2."""
    return (M + M.T) / 2
