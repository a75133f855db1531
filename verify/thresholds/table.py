"""The table: named values with unit, reason and origin."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Bounds:
    """What is asked of a trajectory before a claim may hold.

    Attributes:
        gap: Largest final KKT gap under the claimed norm.
        alignment: Smallest alignment r of the late steps with steepest descent under the claimed norm.
        distance: Largest ℓ2 distance of the final direction from the norm's optimal face. Γ of one norm is linear in it
            and of another quadratic: a gap of 2e-2 under ℓ2 permits 0.2. On a network, whose KKT points need not be
            isolated, the distance to one of them says little.
    """

    gap: float
    alignment: float
    distance: float = inf

    def __str__(self) -> str:
        distance = f", distance ≤ {self.distance:g}" if self.distance < inf else ""
        return f"gap ≤ {self.gap:g}, alignment ≥ {self.alignment:g}{distance}"


@dataclass(frozen=True)
class Threshold:
    """One row.

    Attributes:
        name: As in the code.
        value: A number, or one for each tier.
        unit: Of what it is a number.
        reason: What it decides, and why so.
        origin: The measurement or theorem that it came from, or that it was chosen.
    """

    name: str
    value: Any
    unit: str
    reason: str
    origin: str

    def __str__(self) -> str:
        shown = self.value if isinstance(self.value, dict) else {"": self.value}
        values = "; ".join(f"{tier} {value}".strip() for tier, value in shown.items())
        return f"{values} ({self.unit}): {self.reason}. From: {self.origin}"


THRESHOLDS: dict[str, Threshold] = {}


def named(name: str, value: Value, unit: str, reason: str, origin: str = "chosen") -> Value:
    """Return a threshold's value, entered into the table.

    Raises:
        ValueError: when the name stands for something already.
    """
    if name in THRESHOLDS:
        raise ValueError(f"the threshold {name} stands for something already: {THRESHOLDS[name]}")
    THRESHOLDS[name] = Threshold(name, value, unit, reason, origin)
    return value


def tables() -> list[ModuleType]:
    """The modules of this folder, each of which enters its rows as it is imported."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return [import_module(f"maxmargin.verify.thresholds.{name}") for name in names if name != "table"]
