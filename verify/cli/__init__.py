"""The command line: ``maxmargin check | compare | diff | verify | sweep | solve | list | report``.

``grammar.py`` has the arguments, ``entry.py`` ends with an exit status, ``commands.py`` does what was
asked. The only folder that may import ``reports``. Importing this package loads no heavy library.
"""

from maxmargin.verify.cli.entry import main

__all__ = ["main"]
