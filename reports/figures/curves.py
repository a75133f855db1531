"""The arrays behind the figures: KKT gap and alignment at each checkpoint, one column a run, and the last profiles."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from maxmargin.verify.results.encoding import ReportError

MAX_POINTS = 200
MAX_BYTES = 256_000_000


@final
@dataclass(frozen=True)
class Band:
    """Median and range over the runs at each step where at least one run has a value."""

    steps: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, steps: np.ndarray, values: np.ndarray) -> Band:
        """Reduce ``values`` (T, B) over runs; steps ≤ 0 and rows without a finite value are dropped."""
        finite = np.isfinite(values)
        kept = finite.any(axis=1) & (steps > 0)
        rows = [row[ok] for row, ok in zip(values[kept], finite[kept], strict=True)]
        low, median, high = (np.array([f(r) for r in rows]) for f in (np.min, np.median, np.max))
        return cls(steps[kept], low, median, high)


@final
@dataclass(frozen=True)
class Curves:
    """Curves of one optimizer on one problem, one band a norm.

    Attributes:
        gap: KKT gaps.
        alignment: Alignments with steepest descent.
        runs: Their number.
        profiles: What the last weights look like (:mod:`maxmargin.verify.results.profiles`), each (runs, ranks).
    """

    gap: Mapping[str, Band]
    alignment: Mapping[str, Band]
    runs: int
    profiles: Mapping[str, np.ndarray] = field(default_factory=dict)


def load_curves(path: Path) -> Curves:
    """Read one npz, at most ``MAX_POINTS`` checkpoints a curve.

    Returns:
        The bands of every norm that has a finite value somewhere.

    Raises:
        ReportError: when the file is missing, damaged, or holds anything but plain arrays of fitting shapes.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise ReportError(f"{path} unpacks to {size:,} bytes; a file of curves has at most {MAX_BYTES:,}")
            with np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ReportError(f"{path} does not exist, but results.json refers to it") from None
    except ReportError:
        raise
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ReportError(f"{path} is not an npz of plain arrays ({error})") from None
    if "steps" not in arrays:
        raise ReportError(f"{path} has no array 'steps'; it has {', '.join(sorted(arrays)) or 'none'}")
    steps = arrays["steps"]
    if steps.ndim != 1 or steps.dtype.kind not in "iuf" or not (np.diff(steps) > 0).all():
        raise ReportError(f"{path}: 'steps' must be one increasing row of numbers")
    kept = _thin(steps)
    found: dict[str, dict[str, Band]] = {"kkt_gap": {}, "alignment": {}}
    runs, profiles = 0, {}
    for name, values in arrays.items():
        quantity, colon, norm = name.partition(":")
        if not colon or quantity not in {*found, "profile"}:
            continue
        if quantity == "profile":
            if values.ndim != 2 or not values.size or values.dtype.kind not in "iuf":
                found_instead = f"shape {values.shape}, dtype {values.dtype}"
                raise ReportError(f"{path}: {name!r} has {found_instead}; needed are numbers, (runs, ranks)")
            profiles[norm] = values.astype(np.float64)
            continue
        if values.ndim != 2 or len(values) != len(steps) or values.dtype.kind not in "iuf":
            raise ReportError(
                f"{path}: {name!r} has shape {values.shape}, dtype {values.dtype}; needed are numbers, "
                f"({len(steps)} checkpoints, runs)"
            )
        runs = max(runs, values.shape[1])
        band = Band.of(steps[kept], values[kept].astype(np.float64))
        if len(band.steps):
            found[quantity][norm] = band
    return Curves(found["kkt_gap"], found["alignment"], runs, profiles)


def _thin(steps: np.ndarray) -> np.ndarray:
    """Indices of at most ``MAX_POINTS`` steps, evenly spread in log t, first and last among them."""
    if len(steps) <= MAX_POINTS:
        return np.arange(len(steps))
    places = np.log(np.maximum(steps.astype(np.float64), 1.0))
    wanted = np.linspace(places[0], places[-1], MAX_POINTS - 2)  # two more: the ends, whatever rounding does
    inner = np.searchsorted(places, wanted).clip(max=len(steps) - 1)
    return np.unique(np.append(inner, [0, len(steps) - 1]))
