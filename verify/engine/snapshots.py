"""Snapshots of a run under way: everything its next step depends on, so that a resumed run is the same bit for bit.

A snapshot is one npz without pickle, written whole or not at all. It names the run that it belongs to, part by part;
a run that differs in any part is not resumed from it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from maxmargin.models.problem import Problem
from maxmargin.solvers.versions import versions
from maxmargin.verify.results.store import write_atomically


class SnapshotError(ValueError):
    """A snapshot of another run, or one that cannot be read."""


def identity(problems: Sequence[Problem], theta0: Mapping[str, Tensor], **parts: Any) -> dict[str, str]:
    """What determines a run's every bit, in words and hashes.

    Args:
        problems: The data sets and their model.
        theta0: The starts.
        **parts: Whatever else, by its ``repr``.

    Returns:
        Part → text; two runs with equal texts are equal.
    """
    data = [(repr(p.model), _hash(p.X), _hash(p.contrasts)) for p in problems]
    return {
        "data": hashlib.sha256(repr(data).encode()).hexdigest()[:16],
        "start": _hash(*theta0.values()),
        **{name: repr(part) for name, part in parts.items()},
        "threads": str(torch.get_num_threads()),  # a sum over threads is rounded in their order
        "machine": platform.machine(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def _hash(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(repr(tuple(tensor.shape)).encode())
        found.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return found.hexdigest()[:16]


def save(path: Path, who: Mapping[str, str], done: int, now: Any, kept: Sequence[Any]) -> None:
    """Write a snapshot atomically.

    Args:
        path: Where.
        who: The run's :func:`identity`.
        done: Steps taken.
        now: A tree of tensors, all that the next step needs.
        kept: Trees of tensors of one structure, the checkpoints so far.
    """
    arrays = {f"now:{i}": leaf.cpu().numpy() for i, leaf in enumerate(pytree.tree_leaves(now))}
    columns = zip(*(pytree.tree_leaves(one) for one in kept), strict=True)
    arrays |= {f"kept:{i}": torch.stack(leaves).cpu().numpy() for i, leaves in enumerate(columns)}
    buffer = BytesIO()
    np.savez(buffer, who=np.array(json.dumps(dict(who))), done=np.array(done), **arrays)
    write_atomically(path, buffer.getvalue())


def load(path: Path, who: Mapping[str, str], now: Any, kept: Any) -> tuple[int, Any, list[Any]] | None:
    """Read a snapshot.

    Args:
        path: Where.
        who: The identity of the run that is to go on.
        now: A tree like the one that was saved: it gives structure, shapes and device.
        kept: A tree like one checkpoint.

    Returns:
        Steps taken, the tree of tensors, and the checkpoints; None where there is no such file.

    Raises:
        SnapshotError: when it belongs to another run, or is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = dict(file)
        other = json.loads(str(arrays["who"]))
        differ = sorted(part for part in {*who, *other} if who.get(part) != other.get(part))
        if not differ:
            done = int(arrays["done"])
            return done, _fill(now, arrays, "now"), _checkpoints(kept, arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise SnapshotError(f"{path} is no snapshot, or a damaged one ({error}); delete it to start afresh") from error
    shown = "; ".join(f"{part}: there {other.get(part, 'nothing')}, here {who.get(part, 'nothing')}" for part in differ)
    raise SnapshotError(f"{path} belongs to another run ({shown}); delete it, or give another path, to start afresh")


def _fill(like: Any, arrays: Mapping[str, np.ndarray], kind: str) -> Any:
    leaves, spec = pytree.tree_flatten(like)
    found = []
    for i, leaf in enumerate(leaves):
        array = arrays[f"{kind}:{i}"]
        if array.shape != tuple(leaf.shape):
            raise ValueError(f"{kind}:{i} has shape {array.shape}, needed is {tuple(leaf.shape)}")
        found.append(torch.as_tensor(array).to(device=leaf.device, dtype=leaf.dtype))
    return pytree.tree_unflatten(found, spec)


def _checkpoints(like: Any, arrays: Mapping[str, np.ndarray]) -> list[Any]:
    count = len(arrays["kept:0"]) if "kept:0" in arrays else 0
    return [_fill(like, {k: a[t] for k, a in arrays.items() if k.startswith("kept:")}, "kept") for t in range(count)]
