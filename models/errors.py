"""The one class that all errors in a user's input share, at the lowest layer so that every other may derive from it."""

from __future__ import annotations

from typing import ClassVar


class InputError(ValueError):
    """What the user gave cannot be used; the message says why, and what to do.

    The command line ends with status 2 and the message alone. Any other exception is a fault of the program and keeps
    its traceback.

    Attributes:
        undecided: Nothing is wrong with the input: more starts, or another seed, may find what was asked for
            (status 3).
    """

    undecided: ClassVar[bool] = False


class NormError(InputError):
    """A norm that does not exist, or that cannot do what was asked of it."""
