"""``python -m maxmargin.verify``: the same command line as ``maxmargin``."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if sys.path and sys.path[0] in ("", os.getcwd()):
        # `python -m` puts the current directory first; a file of the user's must not shadow what is installed.
        sys.path.append(sys.path.pop(0))
    from maxmargin.verify.cli.isolated import run

    sys.exit(run())
