"""The command line: ``maxmargin check | compare | diff | verify | solve | list | report``.

``entry.py`` reads the arguments and ends with an exit status; ``commands.py`` does what they say. The only folder that
may import ``reports``. Importing this package loads no heavy library.
"""

from maxmargin.verify.cli.entry import main

__all__ = ["main"]
