"""The table: named values with unit, reason and origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Bounds:
    """What is asked of a trajectory before a claim may hold.

    Attributes:
        gap: Largest final KKT gap under the claimed norm.
        ratio: Smallest ratio of any other norm's gap to it.
        alignment: Smallest alignment r of the late steps with steepest descent under the claimed norm.
    """

    gap: float
    ratio: float
    alignment: float

    def __str__(self) -> str:
        return f"gap ≤ {self.gap:g}, ratio ≥ {self.ratio:g}, alignment ≥ {self.alignment:g}"


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
    """Enter a threshold into the table.

    Returns:
        Its value.

    Raises:
        ValueError: when the name stands for something already.
    """
    if name in THRESHOLDS:
        raise ValueError(f"the threshold {name} stands for something already: {THRESHOLDS[name]}")
    THRESHOLDS[name] = Threshold(name, value, unit, reason, origin)
    return value
