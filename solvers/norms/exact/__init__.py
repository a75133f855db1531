"""Block norms in ball arithmetic (``balls.py``, python-flint) and of exact numbers (``radicals.py``, sympy).

Imports ``block.py`` alone. Loaded by a norm's ``upper_bound`` and ``exact_value`` when they are asked.
"""
