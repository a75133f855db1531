"""Golden runs: what the commands answered, digit by digit, before a change that must not change it.

    python tests/golden/golden.py freeze [CASE ...]     store the answers of the code as it is
    python tests/golden/golden.py compare [CASE ...]    run again and list every field that differs

Times and versions are left aside. Numbers are compared exactly: on one machine, one seed and one set of versions they
repeat to the last digit.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MINE, MUTANTS = "tests/golden/optimizers.py", "tests/theory/mutants.py"

CASES: dict[str, list[str]] = {
    "solve-l2": ["solve", "--problem", "digits-3@linear", "--norm", "l2", "--certify"],
    "solve-linf": ["solve", "--problem", "digits-3@linear", "--norm", "linf", "--certify"],
    "solve-spectral": ["solve", "--problem", "digits-3@linear", "--norm", "spectral", "--certify"],
    "solve-hybrid": ["solve", "--problem", "blocks", "--norm", "hybrid:2"],
    "solve-entrywise": ["solve", "--problem", "multiclass", "--norm", "entrywise:3"],
    "solve-network": ["solve", "--problem", "binary@relu2:h=8", "--norm", "linf", "--starts", "3"],
    "solve-diagonal": ["solve", "--problem", "binary@diagonal:L=2", "--norm", "l2", "--starts", "2"],
    "list-norms": ["list", "norms"],
    "list-claims": ["list", "claims"],
    "list-optimizers": ["list", "optimizers"],
    "check-signum-wrong": ["check", "signum", "--claim", "l2", "--problem", "blocks", "multiclass"],
    "check-sgd": ["check", "torch.optim:SGD", "--kw", "momentum=0.9"],
    "check-adam": ["check", "torch.optim:Adam", "--kw", "eps=0", "betas=(0.9,0.95)"],
    "check-adam-eps": ["check", "torch.optim:Adam", "--problem", "blocks", "multiclass"],
    "check-torch-muon": ["check", "torch.optim:Muon", "--kw", "weight_decay=0", "--problem", "matrices", "multiclass"],
    "check-adagrad": ["check", "torch.optim:Adagrad", "--problem", "blocks"],
    "check-shaped-muon": ["check", f"{MINE}:ShapedMuon"],
    "check-layer-normalized": ["check", f"{MINE}:LayerNormalizedGD", "--problem", "blocks", "multiclass"],
    "check-muon-adam": ["check", "muon-adam", "--problem", "blocks"],
    "check-transposed": ["check", f"{MUTANTS}:TransposedSquare", "--claim", "spectral", "--problem", "blocks"],
    "check-frozen-row": ["check", f"{MUTANTS}:FrozenRow", "--problem", "blocks"],
    "check-no-root": ["check", f"{MUTANTS}:NoRoot", "--claim", "linf", "--problem", "blocks"],
    "verify": ["verify", "signum-linf", "muon-adam-hybrid"],
}
UNSTABLE = {"versions", "seconds", "device", "origin"}


def run(args: list[str]) -> dict[str, Any]:
    """The exit status and the JSON of one command."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        more = ["--out", folder, "--jobs", "1"] if args[0] == "verify" else ["--json", str(out)]
        done = subprocess.run(
            [sys.executable, "-m", "maxmargin.verify", *args, "--quiet", *more],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        file = Path(folder, "results.json") if args[0] == "verify" else out
        if not file.exists():
            return {"status": done.returncode, "error": done.stderr}
        return {"status": done.returncode, "result": stable(json.loads(file.read_text()))}


def stable(value: Any) -> Any:
    """The value without what differs between two runs of the same code."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if k not in UNSTABLE}
    if isinstance(value, str):
        return re.sub(r", some [\d.]+ (s|min|h) here", "", value)
    return [stable(v) for v in value] if isinstance(value, list) else value


def differences(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Where two results differ, one line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            if key not in before or key not in after:
                yield f"{at}.{key}: {'new' if key in after else 'gone'}"
            else:
                yield from differences(before[key], after[key], f"{at}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{at}[{i}]")
    elif before != after and not (before != before and after != after):
        yield f"{at}: {before!r} -> {after!r}"


def main() -> int:
    what, *names = sys.argv[1:] or ["compare"]
    os.chdir(HERE.parent.parent)
    changed = 0
    with ThreadPoolExecutor(int(os.environ.get("GOLDEN_JOBS", "1"))) as pool:
        results = pool.map(run, [CASES[n] for n in names or CASES])
        for name, found in zip(names or CASES, results, strict=True):
            file = HERE / "frozen" / f"{name}.json"
            if what == "freeze":
                file.parent.mkdir(exist_ok=True)
                file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
                print(name, found["status"], flush=True)
                continue
            lines = list(differences(stable(json.loads(file.read_text())), found))
            changed += bool(lines)
            print(f"{name}: {'same' if not lines else ''}", *lines, sep="\n    ", flush=True)
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
