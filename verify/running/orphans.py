"""A worker ends with its parent: nobody would read what it finds, and it would go on writing."""

from __future__ import annotations

import os
import time
from threading import Thread

from maxmargin.verify.thresholds.training import PARENT_LOOK

_watched = False


def end_with(parent: int) -> None:
    """From now on, end this process, a worker, when its parent is gone; once is enough."""
    global _watched
    if not _watched and os.getpid() != parent:
        _watched = True
        Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK)
    os._exit(1)
