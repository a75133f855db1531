"""Other people's code kept apart: what it sets globally holds for itself alone.

An optimizer that sets torch's threads, numpy's errors or the current folder finds them again as it left them at its
next step; between its steps they are ours. Each call is recorded for the process that watches this one.
"""

from __future__ import annotations

import decimal
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, final

import numpy as np
import torch

from maxmargin.verify.progress.calls import CallFile, What

_DENORMAL = sys.float_info.min * sys.float_info.epsilon
_VARIABLES: dict[Any, Any] = vars(os.environ)["_data"]  # its own copy decodes every entry, a hundred times as slow
_handler = vars(signal.getsignal).get("__wrapped__", signal.getsignal)  # likewise, without an enumeration


def _set_environment(now: dict[Any, Any]) -> None:
    for key in _VARIABLES.keys() - now.keys():
        del os.environ[os.fsdecode(key)]
    for key, value in now.items():
        if _VARIABLES.get(key) != value:
            os.environ[os.fsdecode(key)] = os.fsdecode(value)


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "whether torch records gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's deterministic mode": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "whether tiny numbers become 0": (lambda: _DENORMAL * 1.0 == 0.0, torch.set_flush_denormal),
    "the digits of decimals": (lambda: decimal.getcontext().prec, lambda n: setattr(decimal.getcontext(), "prec", n)),
    "the recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "numpy's errors": (np.geterr, lambda now: np.seterr(**now)),
    "the current folder": (os.getcwd, os.chdir),
    "the environment": (_VARIABLES.copy, _set_environment),
    "what SIGINT does": (lambda: _handler(signal.SIGINT), lambda now: signal.signal(signal.SIGINT, now)),
    "what SIGTERM does": (lambda: _handler(signal.SIGTERM), lambda now: signal.signal(signal.SIGTERM, now)),
}
"""What is global in a process and that an optimizer could leave changed: how it is read, and set."""
SLOW = ("numpy's errors", "the current folder", "the environment", "what SIGINT does", "what SIGTERM does")
"""The last ones, which take a microsecond to read: ours are read before an optimizer is built, not before each step."""
_READ = tuple((name, read) for name, (read, _) in SETTINGS.items())
_QUICK = _READ[: -len(SLOW)]


@final
class Outside:
    """Used with ``with`` around each call of somebody else's code; one a process, ``outside``.

    Attributes:
        changed: The settings that such calls have left changed, by name.
    """

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self._theirs: dict[str, Any] = {}
        self._ours: list[Any] = []
        self._depth = 0
        self._file = CallFile()
        self._what, self._steps, self._of_instance = What.NOTHING, 0, 0

    def of(self, what: What, of_instance: int = 0) -> Outside:
        """For a call of this kind; of a step, the how many-th of its instance."""
        if not self._depth:
            self._what, self._of_instance = what, of_instance
        return self

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        if self._what is What.STEP and self._ours:
            self._steps += 1
            self._ours[: len(_QUICK)] = [read() for _, read in _QUICK]
        else:
            self._ours = [read() for _, read in _READ]
        for name, value in self._theirs.items():
            _set(name, value)
        self._file.write(self._what, self._steps, self._of_instance)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._file.write(What.NOTHING, self._steps, self._of_instance)
        for (name, read), ours in zip(_READ, self._ours, strict=True):
            try:
                now = read()
            except OSError:  # the current folder is gone
                now = None
            if now != ours:
                self.changed.add(name)
                if now is not None:
                    self._theirs[name] = now
                _set(name, ours)
            elif name in self._theirs:
                del self._theirs[name]


def _set(name: str, value: Any) -> None:
    with suppress(OSError, ValueError, TypeError, RecursionError):  # a thread may set no signal's handler
        SETTINGS[name][1](value)


outside = Outside()
