"""What fits into this machine's memory, asked before anything is allocated."""

from __future__ import annotations

import os

from maxmargin.models.errors import InputError

SHARE = 0.5
"""Of the machine's memory, most that one array may take: what is computed from it takes as much again."""


class MemoryShort(InputError):
    """Data, or what has to be computed from them, that this machine cannot hold."""


def require(needed: float, what: str, remedy: str) -> None:
    """Refuse what does not fit.

    Args:
        needed: Bytes.
        what: That takes them, for the message.
        remedy: What makes it smaller.

    Raises:
        MemoryShort: it takes more than SHARE of the machine's memory.
    """
    most = SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > most:
        raise MemoryShort(f"{what}: takes {needed / 2**30:.3g} GiB, and {most / 2**30:.3g} GiB are at hand; {remedy}")
