"""What one polar factor costs: ``python tests/benchmarks/bench_polar.py [--quick] [--device cuda] [--json FILE]``.

Microseconds a matrix of :func:`maxmargin.solvers.norms.polar.factor.polar` as the engine runs it (native code, on a GPU
a CUDA graph; at batch 1 a call from Python is most of it) and of one ``torch.linalg.svd`` over the same batch (both
with the rank cut), one core, and the largest difference of the two. Full rank, and rank one less:
the gradients of a multiclass model, whose rows add up to 0, always are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from maxmargin.solvers.norms.polar.factor import polar, svd_polar
from maxmargin.verify.engine.tracing import traced

SHAPES = [(8, 5), (3, 8), (4, 4), (16, 10), (3, 49)]
BATCHES = [1, 8, 64, 1024, 16384]


def microseconds(call: Callable[[], object], repeats: int, device: str) -> float:
    """The least of several calls' times: processor time on a CPU, so other work on the machine counts little."""
    times = []
    for _ in range(repeats + 1):
        began = _now(device)
        call()
        times.append(_now(device) - began)
    return 1e6 * min(times[1:])


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def matrices(batch: int, m: int, n: int, rank: int, device: str) -> Tensor:
    """Random ones of a rank."""
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(batch, m, rank, generator=draw, dtype=torch.float64)
    return (A @ torch.randn(batch, rank, n, generator=draw, dtype=torch.float64)).to(device)


def main() -> None:
    """Print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batches 1, 64 and 1024 only")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write the rows here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    batches = [1, 64, 1024] if args.quick else BATCHES
    print("microseconds a matrix, ours / one SVD a matrix (times faster)\n")
    print(f"| shape, rank | {' | '.join(f'batch {b}' for b in batches)} | worst difference |")
    print("|---" * (2 + len(batches)) + "|", flush=True)
    rows = []
    for m, n in SHAPES:
        for rank in (min(m, n), min(m, n) - 1):
            shown, worst = [], 0.0
            for batch in batches:
                A = matrices(batch, m, n, rank, args.device)
                fast = traced(polar, A)
                ours = microseconds(lambda A=A, f=fast: f(A), args.repeats, args.device) / batch
                theirs = microseconds(lambda A=A: svd_polar(A), args.repeats, args.device) / batch
                worst = max(worst, float((fast(A) - svd_polar(A)).abs().max()))
                rows.append({"m": m, "n": n, "rank": rank, "batch": batch, "us": ours, "us of the SVD": theirs})
                shown.append(f"{ours:.2f} / {theirs:.2f} ({theirs / ours:.1f})")
            print(f"| {m} × {n}, {rank} | {' | '.join(shown)} | {worst:.0e} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
