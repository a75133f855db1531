"""Optimizers whose claim is subtly false, and correct ones written differently from ours: what ``check`` is tried on.

A broken one is here only if it truly changes the limit; the sentence that says why stands as its docstring. A change
that leaves the limit alone (a dropped bias correction, a stale gradient, signs averaged after they are taken) belongs
to the correct ones, however odd it looks. ``check`` is told where a class is by ``tests/theory/mutants.py:Class``, so
that worker processes can import it.

The classes stand in the files beside this one, by idea: ``mutants_steps``, ``mutants_states`` and ``mutants_late`` the
broken ones, ``mutants_correct`` and ``mutants_other`` the correct ones, ``mutants_base`` what they share.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # this folder is no package

import mutants_base
import mutants_correct
import mutants_late
import mutants_other
import mutants_states
import mutants_steps

Mutant, Correct = mutants_base.Mutant, mutants_base.Correct
MUTANTS, CORRECT = mutants_base.MUTANTS, mutants_base.CORRECT
for _file in (mutants_base, mutants_steps, mutants_states, mutants_late, mutants_correct, mutants_other):
    globals().update({name: made for name, made in vars(_file).items() if not name.startswith("_")})
