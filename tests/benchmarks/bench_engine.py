"""Run-steps a second of the engine against a plain torch.optim loop: ``python tests/benchmarks/bench_engine.py``.

    python tests/benchmarks/bench_engine.py [--quick] [--paced] [--batch 1 8 …] [--problem P …] [--optimizer NAME …]
        [--before FOLDER] [--device cuda] [--json FILE]

One core, float64, cross-entropy. The engine is timed as a user gets it, through ``run``, from its first checkpoints
(compilation is over by then) to the last; learning rates are constant, as the loop's are, or paced with ``--paced``.
The loop is autograd and an optimizer over one model: torch.optim.SGD with momentum, momentum and its sign,
torch.optim.Adam, momentum and one SVD a matrix. With ``--before`` another version of the package, as the folder that
holds it, is timed for each cell in a process of its own between two measurements of ours. On a CPU all are timed in
processor time of the one thread, so other work on the machine counts little.

The last column is the arithmetic of one step: additions and multiplications at the speed of torch's large matrix
products, quotients and roots, and exponentials and logarithms, at the speed of torch's on rows that fit the first-level
cache; and what share of our time that is. Polar factors are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.models import problems
from maxmargin.models.problem import Problem
from maxmargin.verify.engine import run as engine
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers import get_optimizer

PROBLEMS = ["binary@relu2:h=8", "multiclass@linear", "digits-3@linear"]
BATCHES = [1, 2, 4, 8, 64, 1024]


class Momentum(torch.optim.Optimizer):
    """An exponential average of gradients, and a step along a function of it: the plain loop's Signum and Muon."""

    def __init__(self, params: list[Tensor], lr: float, along: Callable[[Tensor], Tensor]) -> None:
        super().__init__(params, {"lr": lr})
        self.along = along

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every parameter."""
        del closure
        for group in self.param_groups:
            for p in group["params"]:
                moment = self.state[p].setdefault("moment", torch.zeros_like(p))
                moment.lerp_(p.grad, 0.1)
                p.add_(self.along(moment), alpha=-group["lr"])


def _polar(moment: Tensor) -> Tensor:
    U, sigma, Vt = torch.linalg.svd(torch.atleast_2d(moment), full_matrices=False)
    return ((U * (sigma > 2e-15 * sigma[0])) @ Vt).reshape(moment.shape)


LOOPS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "signum": lambda params: Momentum(params, 1e-3, torch.sign),
    "momentum-gd": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params, lr=1e-3, betas=(0.9, 0.95), eps=1e-30),
    "muon": lambda params: Momentum(params, 1e-3, _polar),
}


def loop_step(name: str, problem: Problem, steps: int, device: str) -> float:
    """Seconds a step of the plain loop: written out for this model, the least that a user would write."""
    X, labels = problem.X.to(device), torch.as_tensor(np.unique(problem.labels, return_inverse=True)[1], device=device)
    theta = {k: b.to(device).requires_grad_() for k, b in problem.model.init(0).items()}
    optimizer = LOOPS[name](list(theta.values()))
    y = problem.contrasts[:, 0, 0].to(device)

    def loss() -> Tensor:
        if set(theta) == {"W"}:
            return torch.nn.functional.cross_entropy(X @ theta["W"].T, labels, reduction="sum")
        scores = torch.relu(X @ theta["W"].T).square() @ theta["a"]
        return torch.nn.functional.softplus(-y * scores).sum()

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    for _ in range(20):
        step()
    began = _now(device)
    for _ in range(steps):
        step()
    return (_now(device) - began) / steps


def engine_step(name: str, problem: Problem, batch: int, seconds: float, device: str, paced: bool) -> float:
    """Seconds a step of the whole batch, as :func:`maxmargin.verify.engine.run.run` runs it."""
    few = engine.starts(problem, min(batch, 8), scale=0.1)
    theta = {k: b.repeat(-(-batch // b.shape[0]), *[1] * (b.ndim - 1))[:batch] for k, b in few.items()}
    theta = {k: b + 1e-3 * torch.randn(b.shape, dtype=b.dtype) for k, b in theta.items()}
    seen: list[tuple[int, float]] = []

    def once(steps: int) -> float:
        seen.clear()
        engine.run(
            problem, get_optimizer(name), theta, steps=steps, schedule=None if paced else PowerLaw(1e-3),
            loss="cross-entropy", checkpoints=10, progress=lambda done, of: seen.append((done, _now(device))),
            device=device,
        )  # fmt: skip
        # A pace is measured at every chunk at first, later at every eighth.
        first = next(mark for mark in seen if mark[0] >= (2048 if paced and steps > 4096 else steps // 8))
        return (seen[-1][1] - first[1]) / (seen[-1][0] - first[0])

    steps = 8192 if paced else 512
    for part in (16, 1):  # twice, because checkpoints are most of a short run
        steps = max(steps, int(seconds / part / once(steps)) // 8 * 8)
    return once(steps)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def arithmetic(name: str, problem: Problem) -> tuple[int, int, int]:
    """Additions and multiplications of one step; quotients and roots; exponentials and logarithms."""
    from maxmargin.verify.engine.losses import LOSSES
    from maxmargin.verify.engine.native.graph import record
    from maxmargin.verify.engine.native.lowering import POINTWISE
    from maxmargin.verify.engine.stepping import OneRun

    optimizer, one = get_optimizer(name), torch.ones((), dtype=torch.float64)
    theta = problem.model.init(0)
    run = OneRun(problem, optimizer, LOSSES["cross-entropy"], optimizer.pace_norm)
    graph, _ = record(run.step, theta, optimizer.init(theta), one, one.clone(), problem.X, problem.contrasts)
    operations = quotients = exponentials = 0
    for node in graph.nodes:
        kind = str(node.target).split(".")[1]
        numbers = next(prod(graph.metas[ref.number].shape) for ref in node.outputs if ref is not None)
        taken = [graph.metas[a.number].shape for a in node.args if hasattr(a, "number")]
        if kind in ("mm", "bmm", "mv"):
            operations += 2 * numbers * taken[0][-1]
        elif kind in ("sqrt", "div", "hypot"):
            quotients += numbers
        elif kind in ("exp", "log", "log1p", "pow"):
            exponentials += numbers
        elif node.target in POINTWISE or kind in ("sum", "amax", "amin", "linalg_vector_norm"):
            operations += max(numbers, prod(taken[0]) if taken else 0)
    return operations, quotients, exponentials


def speeds() -> tuple[float, float, float]:
    """Additions and multiplications a second of a large product; quotients and exponentials a second on rows."""
    A, x = torch.randn(700, 700, dtype=torch.float64), torch.rand(2048, dtype=torch.float64) + 1
    out = torch.empty_like(x)

    def rate(work: Callable[[], Any], count: float, times: int) -> float:
        work()
        began = time.process_time()
        for _ in range(times):
            work()
        return count * times / (time.process_time() - began)

    quotients = rate(lambda: torch.div(x, x, out=out), 2048.0, 2000)
    return rate(lambda: A @ A, 2 * 700.0**3, 10), quotients, rate(lambda: torch.exp(x, out=out), 2048.0, 2000)


def before(folder: Path, name: str, spec: str, batch: int, seconds: float, paced: bool) -> float:
    """Seconds a step of another version of the package."""
    env = os.environ | {"PYTHONPATH": str(folder)}
    args = [sys.executable, __file__, "--one", name, spec, str(batch), str(seconds), *(["--paced"] if paced else [])]
    done = subprocess.run(args, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def cell(name: str, spec: str, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """Time one optimizer on one problem at one batch size."""
    problem, seconds = problems.get(spec), args.seconds
    count = max(50, int(seconds / 4 / 3e-4))
    plain = [loop_step(name, problem, count, args.device)]
    ours = [engine_step(name, problem, batch, seconds / 2, args.device, args.paced)]
    old = before(args.before, name, spec, batch, seconds, args.paced) if args.before else None
    ours.append(engine_step(name, problem, batch, seconds / 2, args.device, args.paced))
    plain.append(loop_step(name, problem, count, args.device))
    step, loop = statistics.mean(ours), statistics.mean(plain)
    return {
        "problem": spec,
        "optimizer": name,
        "batch": batch,
        "us a run-step": 1e6 * step / batch,
        "run-steps/s": batch / step,
        "loop us a step": 1e6 * loop,
        "ratio": batch * loop / step,
        "before us a run-step": None if old is None else 1e6 * old / batch,
        "ratio before": None if old is None else batch * loop / old,
    }


def main() -> None:
    """Print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time, batches 1, 4 and 1024")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--problem", nargs="+", default=PROBLEMS)
    parser.add_argument("--optimizer", nargs="+", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--seconds", type=float, help="about so long a cell and version (default 2, with --quick 0.4)")
    parser.add_argument("--paced", action="store_true", help="the engine's default schedule, its measurements included")
    parser.add_argument("--before", type=Path, help="a folder with another version of the package, to compare with")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if args.one:
        name, spec, batch, seconds = args.one
        print(engine_step(name, problems.get(spec), int(batch), float(seconds), args.device, args.paced))
        return
    args.seconds = args.seconds or (0.4 if args.quick else 2.0)
    batches = args.batch or ([1, 4, 1024] if args.quick else BATCHES)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()}, one core"
    fast = speeds()
    print(f"{where}, torch {torch.__version__}; µs a step of one run (times a plain loop's speed; times before's)")
    print(f"{fast[0] / 1e9:.0f} GFlop/s, {fast[1] / 1e9:.1f} G quotients/s, {fast[2] / 1e9:.2f} G exponentials/s\n")
    print(f"| problem | optimizer | plain loop | {' | '.join(f'batch {b}' for b in batches)} | arithmetic |")
    print("|---" * (4 + len(batches)) + "|", flush=True)
    rows = []
    for spec in args.problem:
        for name in args.optimizer:
            cells = [cell(name, spec, batch, args) for batch in batches]
            rows += cells
            counts = arithmetic(name, problems.get(spec))
            least = 1e6 * sum(count / speed for count, speed in zip(counts, fast, strict=True))
            shown = " | ".join(_shown(c) for c in cells)
            plain = statistics.median(c["loop us a step"] for c in cells)
            share = least / cells[0]["us a run-step"]
            limit = f"{' + '.join(map(str, counts))}: {least:.2f} µs, {share:.0%}"
            print(f"| {spec} | {name} | {plain:.0f} | {shown} | {limit} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"device": where, "torch": torch.__version__, "rows": rows}, indent=1))


def _shown(c: dict[str, Any]) -> str:
    faster = "" if c["before us a run-step"] is None else f"; {c['before us a run-step'] / c['us a run-step']:.3g}×"
    return f"{c['us a run-step']:.2f} ({c['ratio']:.3g}×{faster})"


if __name__ == "__main__":
    main()
