"""Which device a run uses, and how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from maxmargin.models.errors import InputError


class DeviceError(InputError):
    """A device that is not there."""


def resolve(device: str) -> torch.device:
    """Return the device for ``cpu``, ``cuda``, or ``auto`` (CUDA where there is one).

    Raises:
        DeviceError: for CUDA without a GPU, or another word.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"unknown device {device!r}; needed is auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda was asked for, but torch sees no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: tiny tensors gain nothing from two, and two processes lose."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
