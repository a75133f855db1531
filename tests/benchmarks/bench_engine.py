"""Run-steps a second of the engine against a plain torch.optim loop: ``python tests/benchmarks/bench_engine.py``.

    python tests/benchmarks/bench_engine.py [--quick] [--paced] [--batch 1 8 …] [--device cuda] [--json FILE]

One core, float64, a squared-ReLU network with W (8, 5) and a (8,), n = 12 samples, logistic loss. The engine is timed
as a user gets it, through ``run``, from its first checkpoints (tracing is over by then) to the last; learning rates
are constant, as the loop's are, or paced with ``--paced``. The loop is autograd and an optimizer over one network:
torch.optim.SGD with momentum, momentum and its sign, torch.optim.Adam, momentum and one SVD a matrix; it is timed
before and after each cell. On a CPU both are timed in processor time of the one thread, so other work on the machine
counts little. Targets at batch 256 and more: 150 times the loop for Signum, MomentumGD and Adam, 20 times for Muon.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxmargin.models import problems
from maxmargin.models.problem import Problem
from maxmargin.verify.engine import run as engine
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers import get_optimizer

SPEC = "binary:n=12,d=5@relu2:h=8"
BATCHES = [1, 8, 64, 256, 1024, 4096]
TARGETS = {"signum": 150, "momentum-gd": 150, "adam": 150, "muon": 20}


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
    X, y = problem.X.to(device), problem.contrasts[:, 0, 0].to(device)
    theta = {k: b.to(device).requires_grad_() for k, b in problem.model.init(0).items()}
    optimizer = LOOPS[name](list(theta.values()))

    def step() -> None:
        optimizer.zero_grad()
        scores = torch.relu(X @ theta["W"].T).square() @ theta["a"]
        torch.nn.functional.softplus(-y * scores).sum().backward()
        optimizer.step()

    for _ in range(20):
        step()
    began = _now(device)
    for _ in range(steps):
        step()
    return (_now(device) - began) / steps


def engine_step(name: str, problem: Problem, batch: int, steps: int, device: str, paced: bool) -> float:
    """Seconds a step of the whole batch, as :func:`maxmargin.verify.engine.run.run` runs it."""
    few = engine.starts(problem, min(batch, 32))
    theta = {k: b.repeat(-(-batch // b.shape[0]), *[1] * (b.ndim - 1))[:batch] for k, b in few.items()}
    theta = {k: b + 1e-3 * torch.randn(b.shape, dtype=b.dtype) for k, b in theta.items()}
    seen: list[tuple[int, float]] = []

    def note(done: int, of: int) -> None:
        del of
        seen.append((done, _now(device)))

    schedule = None if paced else PowerLaw(1e-3)
    engine.run(
        problem, get_optimizer(name), theta, steps=steps, schedule=schedule, loss="logistic", checkpoints=8,
        progress=note, device=device,
    )  # fmt: skip
    # A pace is measured at every chunk at first, later at every eighth.
    first = next(mark for mark in seen if mark[0] >= (2048 if paced and steps > 4096 else steps // 8))
    return (seen[-1][1] - first[1]) / (seen[-1][0] - first[0])


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def cell(name: str, problem: Problem, batch: int, seconds: float, device: str, paced: bool) -> dict[str, Any]:
    """Time one optimizer at one batch size."""
    count = max(50, int(seconds / 4 / 3e-4))
    before = loop_step(name, problem, count, device)
    guess = 1e-4 + batch * 1.5e-6
    ours = engine_step(name, problem, batch, max(256, int(seconds / guess) // 8 * 8), device, paced)
    plain = statistics.mean([before, loop_step(name, problem, count, device)])
    return {
        "optimizer": name,
        "batch": batch,
        "us a step": 1e6 * ours,
        "run-steps/s": batch / ours,
        "loop us a step": 1e6 * plain,
        "ratio": batch * plain / ours,
    }


def main() -> None:
    """Print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time, batches 1, 256 and 4096")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--optimizer", nargs="+", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--seconds", type=float, help="about so long a cell (default 3, with --quick 0.6)")
    parser.add_argument("--paced", action="store_true", help="the engine's default schedule, its measurements included")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write the rows here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seconds = args.seconds or (0.6 if args.quick else 3.0)
    batches = args.batch or ([1, 256, 4096] if args.quick else BATCHES)
    problem = problems.get(SPEC)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()}, one core"
    print(f"{SPEC}, {where}, torch {torch.__version__}: run-steps a second (times a plain loop on the same device)\n")
    print(f"| optimizer | plain loop | {' | '.join(f'batch {b}' for b in batches)} |")
    print("|---" * (2 + len(batches)) + "|", flush=True)
    rows = []
    for name in args.optimizer:
        cells = [cell(name, problem, batch, seconds, args.device, args.paced) for batch in batches]
        rows += cells
        plain = statistics.median(c["loop us a step"] for c in cells)
        shown = " | ".join(f"{_short(c['run-steps/s'])} ({c['ratio']:.3g}×)" for c in cells)
        print(f"| {name} (target {TARGETS[name]}×) | {_short(1e6 / plain)} | {shown} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"device": where, "torch": torch.__version__, "rows": rows}, indent=1))


def _short(rate: float) -> str:
    return f"{rate / 1e6:.2f} M" if rate >= 1e6 else f"{rate / 1e3:.3g} k"


if __name__ == "__main__":
    main()
