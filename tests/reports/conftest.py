"""Stored results as `verify` and `check` leave them, with realistic values (DESIGN's measured rates), any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NORMS = ("l2", "linf", "spectral", "nuclear", "hybrid")
CLAIMS = (
    ("momentum-gd-l2", "MomentumGD(beta=0.9)", "l2"),
    ("nsd-linf", "NormalizedSteepestDescent(linf)", "linf"),
    ("signum-linf", "Signum(beta=0.9)", "linf"),
    ("muon-spectral", "Muon(beta=0.9, exact polar factor)", "spectral"),
    ("adam-linf", "Adam(b1=0.9, b2=0.95, eps=0)", "linf"),
    ("muon-signum-hybrid", "MuonSignum(beta=0.9)", "hybrid"),
    ("muon-adam-hybrid", "MuonAdam(ratio=1)", "hybrid"),
)
PROBLEMS = (("multiclass@linear", 1, -0.62), ("digits-3@linear", 1, -0.5), ("teacher@relu2", 3, -0.3))
STEPS = np.unique(np.geomspace(8, 20_000, 32).astype(int))


def arrays(norm: str, rate: float, rng: np.random.Generator, runs: int = 4) -> dict[str, np.ndarray]:
    """A gap that falls like t^rate under ``norm`` and levels off under the others."""
    t = STEPS[:, None].astype(float)
    out: dict[str, np.ndarray] = {"steps": STEPS}
    for k, name in enumerate(NORMS):
        jitter = np.exp(rng.normal(0, 0.25, (1, runs)))
        level = 0.0 if name == norm else 0.09 + 0.07 * k
        gap = np.clip(level + 0.85 * jitter * (t / 8) ** rate, 0, 1)
        align = 1 - (0.4 * jitter * (t / 8) ** -0.5 if name == norm else 0.2 + 0.06 * k)
        out[f"kkt_gap:{name}"] = gap
        out[f"alignment:{name}"] = np.broadcast_to(np.clip(align, -1, 1), gap.shape).copy()
        out[f"margin_ratio:{name}"] = 1 - gap
    out["profile:entries"] = np.linspace(1, 0.2, 12) * np.ones((runs, 1))
    out["profile:singular values:W"] = np.array([1.0, 0.9, 0.8]) * np.ones((runs, 1))
    return out


def problem(
    norm: str | None, name: str, degree: int, curves: dict[str, np.ndarray], outcome: str, path: str | None
) -> dict[str, Any]:
    """One P of results.json, its numbers the medians at the last checkpoint."""
    last = {key: float(np.median(v[-1])) for key, v in curves.items() if not key.startswith(("steps", "profile"))}
    return {
        "problem": name,
        "degree": degree,
        "outcome": outcome,
        "steps": int(STEPS[-1]),
        "final_margin": 812.4,
        "evidence": {
            n: {
                "kkt_gap": last[f"kkt_gap:{n}"],
                "kkt_gap_range": [last[f"kkt_gap:{n}"]] * 2,
                "apart": 0.0 if n == norm else 0.2,
                "told": None if n == norm else [0.9, 1.0],
                "alignment": last[f"alignment:{n}"],
                "margin_ratio": last[f"margin_ratio:{n}"],
                "distance": 0.021 if n == norm else 0.4,
                "slope": -0.61 if n == norm else -0.02,
                "slope_interval": [-0.66, -0.57] if n == norm else None,
                "residual": 3.1e-12 if n == norm and degree > 1 else None,
            }
            for n in NORMS
        },
        "hypotheses": {
            "separated": {"met": True, "value": 112},
            "learning rate vanishes": {"met": True, "value": -0.2},
            "direction converges": {"met": None, "value": None, "kind": "number"},
        },
        "reasons": [] if outcome == "holds" else ["the gap levels off at 0.8 from step 900 on"],
        "rung": "convex dual certificate" if degree == 1 else "numerical",
        "runs": 4,
        "separated_runs": 4 if degree == 1 else 3,
    } | ({} if path is None else {"arrays": path})


def write(
    directory: Path,
    *,
    claims: int = len(CLAIMS),
    outcomes: tuple[str, ...] = ("holds",),
    kind: str = "verify",
    figures: bool = True,
) -> Path:
    """Write results.json and the arrays of ``claims`` claims × three problems into ``directory``."""
    rng = np.random.default_rng(5)
    (directory / "arrays").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for i in range(claims):
        ident, optimizer, norm = CLAIMS[i % len(CLAIMS)]
        outcome = outcomes[i % len(outcomes)]
        entries = []
        for name, degree, rate in PROBLEMS:
            stored = arrays(norm, -0.02 if outcome == "fails" else rate, rng)
            path = f"arrays/{ident}-{i}-{name.replace('@', '-')}.npz"
            if figures:
                np.savez_compressed(directory / path, **stored)
            entries.append(problem(norm, name, degree, stored, outcome, path if figures else None))
        rows.append(
            {
                "id": ident,
                "statement": f"{optimizer.split('(')[0]} approaches a KKT direction of the {norm} margin problem.",
                "source": "Gronich & Vardi 2602.16340, Theorem 3.3",
                "optimizer": optimizer,
                "kwargs": {},
                "norm": norm,
                "claim": norm,
                "outcome": outcome,
                "reasons": [
                    f"the {norm} gap falls with slope −0.61 ± 0.02",
                    "every other gap stays 20 times larger",
                ],
                "rung": "convex dual certificate",
                "blocks": {"W": {"norm": norm, "weight": 1.0, "alignment": 0.998}},
                "problems": entries,
            }
        )
    common = {
        "schema": 1,
        "kind": kind,
        "tier": "quick",
        "seed": 0,
        "device": "cpu",
        "seconds": 83.2,
        "origin": {
            "date": "2026-11-21T23:30:00+00:00",
            "command": "maxmargin verify --out results",
            "file": "mine.py" if kind == "check" else "",
            "sha256": "ab" * 32 if kind == "check" else None,
            "commit": "c0ffee" * 6 + "c0ff",
            "changed": True,
        },
        "versions": {"maxmargin": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "python": "3.11.7"},
    }
    payload: dict[str, Any] = {**common, "claims": rows}
    if kind == "check":
        row = rows[0]
        kept = ("norm", "outcome", "reasons", "blocks", "problems")
        payload = {
            **common,
            "target": "torch.optim:SGD",
            "kwargs": {"momentum": 0.9},
            "claim": None,
            **{k: row[k] for k in kept},
        }
    (directory / "results.json").write_text(json.dumps(payload), encoding="utf-8")
    return directory


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """``stored(claims=…, outcomes=…, kind=…, figures=…)`` writes a results folder and returns it."""
    return lambda **options: write(tmp_path / "out", **options)
