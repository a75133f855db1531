"""The claims that are covered, by paper: which there are, and those that a user asks for.

Adding a claim touches one file of this folder, that of its paper: one record more. Every module of the folder is
imported here; ``maxmargin list claims``, ``maxmargin verify`` and the theory gate run every record.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

import maxmargin.verify.claims as folder
from maxmargin.verify.claims.record import CLAIMS, PAPERS, Claim, ClaimError, Measured, Plan, Record, check_tier
from maxmargin.verify.claims.record import paper as paper
from maxmargin.verify.claims.record import register as register

__all__ = ["CLAIMS", "PAPERS", "Claim", "ClaimError", "Measured", "Plan", "Record", "check_tier", "register", "select"]

for _module in sorted(module.name for module in iter_modules(folder.__path__)):
    if _module != "catalogue":
        import_module(f"{folder.__name__}.{_module}")


def select(ids: Sequence[str] | None) -> list[Record]:
    """Return the claims that are asked for, all of them for None or none.

    Args:
        ids: Each a claim's id; or a paper's key, for all of its claims; or an optimizer or a part of an id, for all
            that are about it or are called so.

    Returns:
        The claims, each once, in the order asked for.

    Raises:
        ClaimError: for a name that selects nothing, with a suggestion.
    """
    if not ids:
        return list(CLAIMS.values())
    chosen: dict[str, Record] = {}
    for name in ids:
        found = _found(name)
        if not found:
            known = [*CLAIMS, *PAPERS]
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ClaimError(
                f"unknown claim {name!r}{hint} Known are the papers {', '.join(PAPERS)}, and what "
                "'maxmargin list claims' shows"
            )
        chosen |= {claim.id: claim for claim in found}
    return list(chosen.values())


def _found(name: str) -> list[Record]:
    if name in CLAIMS:
        return [CLAIMS[name]]
    if name in PAPERS:
        return [claim for claim in CLAIMS.values() if claim.paper == name]
    part = f"-{name}-"
    return [c for c in CLAIMS.values() if name in c.optimizers or (name and part in f"-{c.id}-")]
