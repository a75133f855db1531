"""What fits into this machine's memory, asked before anything is allocated."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from maxmargin.models.errors import InputError

SHARE = 0.5
"""Of the machine's memory, most that one array may take: what is computed from it takes as much again."""
CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux keeps a container's limit."""


class MemoryShort(InputError):
    """Data, or what has to be computed from them, that this machine cannot hold."""


def at_hand() -> float:
    """Bytes of memory that this process may use: the machine's, or less in a container."""
    limits = [float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")]
    for file in CONTAINER:
        with suppress(OSError, ValueError):  # "max": no limit
            limits.append(float(Path(file).read_text()))
    return min(limits)


def require(needed: float, what: str, remedy: str) -> None:
    """Refuse what does not fit.

    Args:
        needed: Bytes.
        what: That takes them, for the message.
        remedy: What makes it smaller.

    Raises:
        MemoryShort: it takes more than SHARE of the machine's memory.
    """
    most = SHARE * at_hand()
    if needed > most:
        raise MemoryShort(f"{what}: takes {needed / 2**30:.3g} GiB, and {most / 2**30:.3g} GiB are at hand; {remedy}")
