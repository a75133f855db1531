"""What people look at: figures, tables and pages, rendered from stored data alone; nothing is recomputed.

Imports the results' schema; only the command line imports this package. Read ``data.py`` first, then ``render.py``.
"""
