"""Two optimizers side by side: the same over a whole rehearsal and at all shapes, or where they part.

Each side runs in a process of its own, with its own import path, so that two releases of one package can be compared.
Imports the laboratory and ``check``. Read ``compare.py`` first; ``side.py`` is what runs in a side's process.
"""
