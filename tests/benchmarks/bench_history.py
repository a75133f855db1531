"""Released optimizers with a bug that was later fixed: what ``check`` says before and after the fix.

    python tests/benchmarks/bench_history.py [--evidence] [--only timm] [--cache DIR] [--problem blocks] [--again]

Writes reports/history.md. The records are in ``history.py`` beside this file: to add a case is to add a record there.
Each release is installed as it was, from PyPI, without its dependencies, into a folder of its own below ``--cache``,
and runs in a process of its own that has this folder first on its path. With ``--evidence`` the fault itself is
measured in both releases, without ``check``; a record whose measurement is another than it states is an error.

Finished rows are kept (``--rows``, one JSON a line), so an interrupted run goes on where it stopped. A row is right
before the fix if the answer says what the record expects to be named, and right after it if that is not said and the
fixed release is not refuted; where it is for another reason, which the record states, the first of the two must do.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maxmargin.reports.counts import IF_INDEPENDENT, by_class, rate
from maxmargin.reports.published import without_places

sys.path.insert(0, str(Path(__file__).parent))  # history.py lies beside this file, which is no package
from history import CASES, Case

ROOT = Path(__file__).resolve().parents[2]
CLASS = {"holds": "holds", "fails": "refuted", "inconclusive": "undecided"}
ACQUITTED = ("refuted", "no norm", "error")  # what a fixed release must not get
NOT_YET = "not yet"
PARTING = {0: "the same steps", 1: "they part", 3: "random"}  # the exit status of compare
HOME = {
    "knob": "lab.knobs",
    "paths": "lab.paths",
    "finite": "lab.probe.finite",
    "eps": "lab.regimes",
    "habits": "lab.probe.habits",
}
TOLERANCE = 2e-3

Finished = dict[str, dict[str, Any]]


def folders(case: Case, version: str, cache: Path) -> list[Path]:
    """The release and what it needs, each in a folder of its own; installed if it is not there yet."""
    return [_installed(spec, cache, case.only) for spec in (f"{case.package}=={version}", *case.needs)]


def _installed(spec: str, cache: Path, only: str) -> Path:
    place = cache / spec.replace("==", "-")
    if place.exists():
        return place
    fresh = place.with_name(f".{place.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--target",
        str(fresh),
        spec,
    ]
    subprocess.run(command, check=True)
    if only and (fresh / only).exists():
        _keep_only(fresh, only)
    return fresh.rename(place)


def _keep_only(folder: Path, only: str) -> None:
    """Leave one folder of a wheel, importable without the rest: its package needs more than torch."""
    kept = folder.with_name(f"{folder.name}.kept") / only
    kept.parent.mkdir(parents=True)
    shutil.move(folder / only, kept)
    shutil.rmtree(folder)
    shutil.move(folder.with_name(f"{folder.name}.kept"), folder)
    place = folder
    for part in Path(only).parts:
        place /= part
        (place / "__init__.py").write_text("")


def run(command: Sequence[str], paths: Sequence[Path], limit: float) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with these folders first on its path."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([*map(str, paths), *([inherited] if inherited else [])])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=limit)


def evidence(case: Case, version: str, cache: Path) -> float:
    """The fault itself, measured in the release."""
    found = run([sys.executable, __file__, "--child", str(CASES.index(case))], folders(case, version, cache), 300)
    if found.returncode:
        raise RuntimeError(found.stderr.strip().splitlines()[-1])
    return float(found.stdout.split()[-1])


def child(index: int) -> None:
    """Measure the fault in the release that is on the path."""
    import torch

    case = CASES[index]
    torch.manual_seed(0)
    module, _, name = case.target.partition(":")
    build = getattr(importlib.import_module(module), name)
    print(case.evidence(functools.partial(build, **case.kwargs)))


def check(case: Case, version: str, options: argparse.Namespace) -> dict[str, Any]:
    """What ``check`` says of a release."""
    command = [sys.executable, "-m", "maxmargin.verify", "check", case.target, "--quiet", "--json", "-"]
    command += ["--claim", case.claim] if case.claim else []
    command += ["--problem", *options.problem] if options.problem else []
    command += _arguments(case)
    return _said(run(command, folders(case, version, options.cache), options.limit))


def compare(case: Case, version: str, options: argparse.Namespace) -> dict[str, Any]:
    """What ``compare`` says of a release and the fixed one; of the fixed one and itself after the fix."""
    command = [sys.executable, "-m", "maxmargin.verify", "compare"]
    if run([*command, "--help"], [], 60).returncode:
        return {"answer": NOT_YET, "said": []}
    own, other = (folders(case, v, options.cache) for v in (version, case.fixed))
    command += [f"{own[0]}::{case.target}", f"{other[0]}::{case.target}", "--quick", "--json", "-"]
    found = run([*command, *_arguments(case)], own[1:], options.limit)
    if found.returncode not in PARTING:
        return _lost(found)
    return {"answer": PARTING[found.returncode], "said": list(_texts(json.loads(found.stdout)))}


def _arguments(case: Case) -> list[str]:
    return ["--kw", *(f"{name}={value!r}" for name, value in case.kwargs.items())] if case.kwargs else []


def _said(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        verdict = json.loads(found.stdout)
    except json.JSONDecodeError:
        return _lost(found)
    if "error" in verdict:
        return {"answer": "error", "said": [verdict["error"]["message"]]}
    answer = verdict.get("answer") or CLASS[verdict["outcome"]]
    if answer == "refuted" and verdict.get("approximate"):
        answer = "holds to a factor"
    return {"answer": answer, "norm": verdict.get("norm"), "said": list(_texts(verdict))}


def _lost(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in found.stderr.strip().splitlines() if line]
    return {"answer": "error", "said": lines[-1:]}


def _texts(told: Any) -> Iterator[str]:
    """Every sentence of an answer, in its order."""
    if isinstance(told, str):
        if " " in told:
            yield without_places(told)
    elif isinstance(told, dict):
        for value in told.values():
            yield from _texts(value)
    elif isinstance(told, list):
        for value in told:
            yield from _texts(value)


def naming(case: Case, row: dict[str, Any]) -> str | None:
    """The sentence that says what was wrong, if one does."""
    sentences = [f"answer: {row['answer']}", *row["said"]]
    return next((s for s in sentences if re.search(case.named, s, re.IGNORECASE)), None)


def is_right(case: Case, row: dict[str, Any], before: bool) -> bool | None:
    """Whether an answer is as it should be; None where the instrument is not there yet."""
    if row["answer"] == NOT_YET:
        return None
    named = naming(case, row) is not None
    if before:
        return named
    return not named and (bool(case.refuted) or case.instrument == "compare" or row["answer"] not in ACQUITTED)


def key(case: Case, version: str, options: argparse.Namespace) -> str:
    """Names a row."""
    return f"{case.name} | {case.instrument} | {case.thread} | {version} | {' '.join(options.problem)}"


def measure(case: Case, version: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row; what goes wrong is a row too."""
    started = time.perf_counter()
    home = HOME.get(case.instrument)
    if home is not None and importlib.util.find_spec(f"maxmargin.verify.{home}") is None:
        return {"key": key(case, version, options), "seconds": 0.0, "answer": NOT_YET, "said": []}
    try:
        found = (compare if case.instrument == "compare" else check)(case, version, options)
    except subprocess.TimeoutExpired:
        found = {"answer": "error", "said": [f"not finished within {options.limit:g} s"]}
    return {"key": key(case, version, options), "seconds": round(time.perf_counter() - started, 1)} | found


def page(finished: Finished, options: argparse.Namespace) -> str:
    """The table for people."""
    rows = [(c, finished.get(key(c, c.broken, options)), finished.get(key(c, c.fixed, options))) for c in CASES]
    done = [(c, b, a) for c, b, a in rows if b is not None and a is not None]
    before = [r for r in (is_right(c, b, True) for c, b, _ in done) if r is not None]
    after = [r for r in (is_right(c, a, False) for c, _, a in done) if r is not None]
    out = [
        "# Bugs that were released, and their fixes",
        "",
        "Written by `python tests/benchmarks/bench_history.py`; the records, each with a measurement of the fault that "
        "needs no `check`, are in `tests/benchmarks/history.py`. Each release was installed from PyPI as it was.",
        "",
        f"- before the fix: {rate(sum(before), len(before), 'named', 'missed')}; answers: "
        f"{by_class(b['answer'] for _, b, _ in done)};",
        f"- after it: {rate(sum(after), len(after), 'acquitted', 'blamed')}; answers: "
        f"{by_class(a['answer'] for _, _, a in done)}.",
        "",
        IF_INDEPENDENT + (f" Problems: {', '.join(options.problem)}." if options.problem else ""),
        "",
        "| package | versions | thread | what was wrong | measured | by | said before | said after | right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, b, a in rows:
        verdicts = [None if r is None else is_right(case, r, first) for r, first in ((b, True), (a, False))]
        cells = [
            f"{case.package} `{case.target.rpartition(':')[2]}`",
            f"{case.broken} → {case.fixed}",
            case.thread,
            case.wrong,
            f"{case.measured[0]:g} → {case.measured[1]:g} ({case.meaning})",
            case.instrument,
            _cell(case, b),
            _cell(case, a) + (f" (it is: {case.refuted})" if case.refuted and a is not None else ""),
            ", ".join({True: "yes", False: "**no**", None: "not yet"}[v] for v in verdicts),
        ]
        out.append("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |")
    return "\n".join(out) + "\n"


def _cell(case: Case, row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    sentence = naming(case, row) or next(iter(row["said"]), "")
    shown = "" if sentence.startswith("answer: ") else f": {sentence[:240]}"
    return f"**{row['answer']}**{shown}"


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="records whose name or instrument contains this")
    parser.add_argument("--cache", type=Path, default=ROOT / ".history", help="where releases are installed")
    parser.add_argument("--problem", action="append", default=[], help="instead of check's own three")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds a row")
    parser.add_argument("--rows", type=Path, default=ROOT / "reports" / "history.jsonl", help="finished rows")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "history.md", help="the table")
    parser.add_argument("--evidence", action="store_true", help="measure the faults themselves, and stop")
    parser.add_argument("--again", action="store_true", help="measure the chosen rows anew")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child)
        return
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    chosen = [c for c in CASES if options.only in f"{c.name} {c.instrument}"]
    if options.evidence:
        stands = [_stands(case, options.cache) for case in chosen]  # every one, however the first ones stand
        sys.exit(0 if all(stands) else 1)
    finished: Finished = {}
    if options.rows.exists():
        finished = {r["key"]: r for r in map(json.loads, options.rows.read_text().splitlines())}
    for case in chosen:
        for version in (case.broken, case.fixed):
            name = key(case, version, options)
            if name in finished and finished[name]["answer"] not in (NOT_YET, "error") and not options.again:
                continue
            finished[name] = measure(case, version, options)
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finished[name]) + "\n")
            right = is_right(case, finished[name], version == case.broken)
            print(f"{name}: {finished[name]['answer']}, right: {right}, {finished[name]['seconds']} s", flush=True)
    options.out.write_text(page(finished, options), encoding="utf-8")


def _stands(case: Case, cache: Path) -> bool:
    """Whether the fault is in the broken release and not in the fixed one, as the record states."""
    try:
        found = [evidence(case, version, cache) for version in (case.broken, case.fixed)]
    except (RuntimeError, subprocess.SubprocessError) as error:
        print(f"{case.name}: {error}")
        return False
    right = all(abs(f - m) <= TOLERANCE * max(1.0, abs(m)) for f, m in zip(found, case.measured, strict=True))
    print(
        f"{case.name} ({case.instrument}): {found}, stated {list(case.measured)}{'' if right else ' WRONG'}", flush=True
    )
    return right and found[0] != found[1]


if __name__ == "__main__":
    main()
