"""How often does a gate change its mind? ``python tests/benchmarks/bench_repeat.py --runs 20``.

The same claims are verified again and again, with the same seed; every number of every verdict is compared. No change
in n runs proves, at 95 %, that a run changes with a chance of at most 1 − 0.05^(1/n): 13.9 % for 20 runs. Of verdicts
there are as many as jobs times runs, so that theirs is smaller by that much, if they are independent.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

SURE = 0.95


def bound(trials: int) -> float:
    """The largest chance of a change that no change in so many trials leaves possible, at 95 %."""
    return 1 - (1 - SURE) ** (1 / trials)


def run(claims: list[str] | None, tier: str, jobs: int) -> Any:
    """One gate run: every number of its verdicts."""
    from maxmargin.verify import verify

    return [_timeless(one.to_json()) for one in verify(claims, tier=tier, jobs=jobs)]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k != "seconds"}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def main() -> None:
    """Run, compare, and say what that proves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", help="default: all")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    first, outcomes, digits, count = None, 0, 0, 0
    started = time.monotonic()
    for number in range(1, options.runs + 1):
        found = run(options.claims or None, options.tier, options.jobs)
        first = first or found
        for before, now in zip(first, found, strict=True):
            outcomes += before["outcome"] != now["outcome"]
            digits += json.dumps(before) != json.dumps(now)
        count += sum(len(one["problems"]) for one in found)
        print(f"{number} of {options.runs}, {time.monotonic() - started:.0f} s: "
              f"{outcomes} claims changed, {digits} in any digit", flush=True)  # fmt: skip
    if not digits:
        print(f"No digit changed in {options.runs} runs: at 95 %, a run changes with a chance of at most "
              f"{100 * bound(options.runs):.1f} %, a verdict on a problem of at most {100 * bound(count):.2f} % "
              f"({count} of them, if independent)")  # fmt: skip


if __name__ == "__main__":
    main()
