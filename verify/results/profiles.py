"""What the weights at the end of training look like under each norm: sizes of entries, and singular values by block.

At a KKT point under ℓ∞ every entry has the largest size, but where the multipliers' combined gradient vanishes; under
the spectral norm every singular value, but in that gradient's null directions. Sorted, such a profile is a plateau.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

POINTS = 64
"""Most values that are kept of a profile: evenly spread ranks, the first and the last among them."""


def profiles(theta: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sort the sizes of the weights of B runs, each run divided by its largest.

    Args:
        theta: block → (B, *shape), the weights at the end.

    Returns:
        "profile:entries" (B, at most ``POINTS``): |θ_j|, the largest first; and for matrices
        "profile:singular values:BLOCK" (B, ranks): σ_k(W) over the largest of all blocks. Runs that are not finite, or
        are 0, are NaN.

    Example:
        >>> found = profiles({"W": np.array([[[2.0, 0.0], [0.0, 1.0]]]), "b": np.array([[-4.0, 3.0]])})
        >>> for name, values in found.items():
        ...     print(name, values.tolist())
        profile:entries [[1.0, 0.75, 0.5, 0.25, 0.0, 0.0]]
        profile:singular values:W [[1.0, 0.5]]
    """
    flat = [np.abs(block).reshape(len(block), -1) for block in theta.values()]
    entries = np.concatenate(flat, axis=1) if flat else np.zeros((0, 0))
    if not entries.size:
        return {}
    out = {"profile:entries": _relative(entries, entries.max(axis=1))}
    matrices = {name: np.asarray(block, dtype=float) for name, block in theta.items() if block.ndim > 2}
    if matrices:
        spectra = {name: _spectra(block.reshape(len(block), block.shape[1], -1)) for name, block in matrices.items()}
        largest = np.max([s[:, 0] for s in spectra.values()], axis=0)
        out |= {f"profile:singular values:{name}": _relative(s, largest) for name, s in spectra.items()}
    return out


def _spectra(matrices: np.ndarray) -> np.ndarray:
    finite = np.isfinite(matrices).all(axis=(1, 2))
    out = np.full((len(matrices), min(matrices.shape[1:])), np.nan)
    out[finite] = np.linalg.svd(matrices[finite], compute_uv=False)
    return out


def _relative(sizes: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Sorted, thinned, over the largest."""
    falling = -np.sort(-sizes, axis=1)
    kept = np.unique(np.linspace(0, falling.shape[1] - 1, POINTS).round().astype(int))
    usable = np.isfinite(largest) & (largest > 0)
    out = np.full((len(sizes), len(kept)), np.nan)
    return np.divide(falling[:, kept], largest[:, None], where=usable[:, None], out=out)
