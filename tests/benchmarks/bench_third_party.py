"""What other people's optimizers maximize, as measured: ``check`` on each, and two tables.

reports/third_party.md is for people; reports/tables/third_party.json, which holds the same, is shown in every report,
and written only once every row whose package is installed is finished (or elsewhere, with ``--data``).

    python tests/benchmarks/bench_third_party.py [--only lion] [--jobs 2] [--limit 600] [--tier quick] [--again]

Needs ``pip install -c constraints.txt -e '.[third-party]'``, every package of the table; rows of one that is not
installed are left out, and said to be.
Every row runs in a process of its own with a time limit. Finished rows are kept in a JSON-lines file beside the table
(``--rows``), so an interrupted run goes on where it stopped; an error is a row too. Weight decay is switched off where
a constructor takes it and its default is not 0: it changes what is maximized, and is no fault of the method.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from maxmargin.reports.counts import IF_INDEPENDENT
from maxmargin.reports.published import THIRD_PARTY, without_places
from maxmargin.reports.third_party import Entry, ThirdPartyTable
from maxmargin.verify.running.spread import Backend

HERE = Path(__file__).resolve().parents[2] / "reports"
PUBLISHED = HERE / "tables" / THIRD_PARTY
NO_DECAY = {"weight_decay": 0.0}
EXACT_ADAM = {"eps": 0.0, "betas": (0.9, 0.95)}


@dataclass(frozen=True)
class Row:
    """One optimizer: its distribution on PyPI, where to import it, and its arguments."""

    package: str
    spec: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the row in the JSON-lines file."""
        return f"{self.spec} {json.dumps(self.kwargs, sort_keys=True)}"

    @property
    def installed(self) -> bool:
        """Whether its module can be found."""
        return importlib.util.find_spec(self.spec.partition(":")[0].split(".")[0]) is not None


def _rows(package: str, module: str, **kwargs_of: dict[str, Any] | list[dict[str, Any]]) -> Iterator[Row]:
    for name, given in kwargs_of.items():
        for kwargs in given if isinstance(given, list) else [given]:
            yield Row(package, f"{module}:{name}", kwargs)


ROWS: tuple[Row, ...] = (
    *_rows(
        "torch",
        "torch.optim",
        SGD=[{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
        Adam=[{}, EXACT_ADAM],
        AdamW=NO_DECAY,
        NAdam={},
        RAdam={},
        Adamax={},
        RMSprop=[{}, {"eps": 0.0, "alpha": 0.95}],
        Adagrad={},
        Adadelta={},
        Adafactor={},
        ASGD={"lambd": 0.0},
        Rprop={},
        Muon=NO_DECAY,
        LBFGS={},
        SparseAdam={},
    ),
    *_rows("lion-pytorch", "lion_pytorch", Lion={}),
    *_rows("muon-optimizer", "muon", SingleDeviceMuon={}, SingleDeviceMuonWithAuxAdam={}),
    *_rows(
        "schedulefree",
        "schedulefree",
        SGDScheduleFree={},
        AdamWScheduleFree={},
        RAdamScheduleFree={},
    ),
    *_rows("prodigyopt", "prodigyopt", Prodigy={}),
    *_rows("adabelief-pytorch", "adabelief_pytorch", AdaBelief={"weight_decay": 0.0, "print_change_log": False}),
    *_rows("adan-pytorch", "adan_pytorch", Adan={}),
    *_rows("dadaptation", "dadaptation", DAdaptSGD={}, DAdaptAdam={}, DAdaptLion={}),
    *_rows(
        "pytorch-optimizer",
        "pytorch_optimizer",
        SignSGD={},
        Lion={},
        Tiger=NO_DECAY,
        SGDW=NO_DECAY,
        QHM={},
        PNM={},
        LARS=NO_DECAY,
        Fromage={},
        Lamb=NO_DECAY,
        NovoGrad={},
        Muon={},
        AdaMuon={},
        NorMuon={},
        AdaGO={},
        SCION={},
        SCIONLight={},
        SpectralSphere={},
        Shampoo={},
        ScalableShampoo={},
        SOAP=NO_DECAY,
        DASH={},
        Kron={},
        Adan={},
        AdamC={"eps": 0.0},
        AdamP={},
        AdamMini={},
        AdEMAMix={},
        ADOPT={},
        AdaBelief={},
        Yogi={},
        SM3={},
        CAME={},
        AdaFactor={},
        MARS={},
        Grams={},
        LaProp={},
        StableAdamW=NO_DECAY,
        Prodigy={},
        ScheduleFreeAdamW={},
    ),
    *_rows(
        "heavyball",
        "heavyball",
        SGD={"storage_dtype": "float64"},
        AdamW={"storage_dtype": "float64"},
        Muon={"storage_dtype": "float64"},
        SignLaProp={"storage_dtype": "float64"},
        SOAP={"storage_dtype": "float64"},
    ),
    *_rows("torch-optimizer", "torch_optimizer", Shampoo={}, Lamb={}, NovoGrad={}, Yogi={}, AdaBound={}, QHAdam={}),
    *_rows("optimuon", "optimuon", Muon={}, CompositeMuon={}),
    *_rows("torch-optimi", "optimi", Lion={}, StableAdamW={"triton": False}, Adan={}),
    *_rows("kron-torch", "kron_torch", Kron={}),
    *_rows("came-pytorch", "came_pytorch", CAME={}),
    *_rows("madgrad", "madgrad", MADGRAD={}, MirrorMADGRAD={}),
    *_rows("adam-mini", "adam_mini", Adam_mini={}),
    *_rows("parameterfree", "parameterfree", COCOB={}, KT={}),
)

HEAD = """# What other people's optimizers maximize, as measured

Written by `python tests/benchmarks/bench_third_party.py`; {tier} tier, seed {seed}.
{sentence}
Answers: {counts}. {bounds}

How to read: *norm* is the one whose margin the steps and the trajectories speak for, at the arguments given ("weighted"
where blocks differ in weight). *Answer* is one of seven classes (`maxmargin list answers`): **holds** and **holds in
regimes** (one norm while gradients are large, another below the size at which an eps takes over) name a margin that is
maximized; **holds to a factor**, **data-dependent**, **refuted** and **no norm** say what is maximized instead, or that
nothing is; **undecided** says that more steps are needed or that theory promises nothing: the findings tell which.
*Signature* is the alignment with steepest descent under gradients of widely spread singular values, *trajectories* the
least alignment at the end of training (1 is steepest descent itself), *margin lost* the largest final KKT gap. Below
the *eps floor*, a norm of the gradient, an eps has taken over; with the true gradient that is from the given step on.
A row is a statement on this version with these arguments in float64, not on a method.

| package | optimizer | norm | answer | said | signature | trajectories | margin lost | eps floor | step | findings |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def measure(row: Row, tier: str) -> dict[str, Any]:
    """One row's measurement, in this process."""
    from maxmargin.verify import check

    verdict = check(row.spec, kwargs=row.kwargs, tier=tier)
    answer = getattr(verdict, "answer", None)
    return summary(verdict.to_json()) | {"answer": str(answer or ""), "said": verdict.sentence}


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The table's columns from the JSON of ``check``."""
    probe = found.get("probe") or {}
    approximate = found.get("approximate") or {}
    judged = [(p, p["evidence"].get(p.get("norm") or "")) for p in found["problems"]]
    evidence = [e for _, e in judged if e]
    blocks = [b["alignment"] for b in found.get("blocks", {}).values() if b.get("alignment") is not None]
    return {
        "norm": found.get("norm") or (judged[0][0].get("norm") if judged else None),
        "named": found.get("norm") is not None,
        "outcome": found["outcome"],
        "approximate": bool(approximate),
        "signature": approximate.get("signature", min(blocks, default=None)),
        "alignment": min((e["alignment"] for e in evidence if e["alignment"] is not None), default=None),
        "margin_lost": max((e["kkt_gap"] for e in evidence if e["kkt_gap"] is not None), default=None),
        "floor": probe.get("floor"),
        "floor_step": found.get("until_step"),
        "findings": list(probe.get("findings", ())),
        "reasons": found["reasons"],
        "seconds": found.get("seconds"),
    }


def run(row: Row, tier: str, limit: float) -> dict[str, Any]:
    """One row in a process of its own; an error or a timeout is a row too."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--child", json.dumps([row.package, row.spec, row.kwargs]), "--tier", tier]
    base = {"key": row.key, "package": row.package, "spec": row.spec, "kwargs": row.kwargs, "version": version(row)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, complaints = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too: the session is its own
            return base | {"outcome": "not finished", "error": f"not finished within {limit:g} s"}
    last = output.strip().splitlines()[-1:] or [""]
    try:
        return base | json.loads(last[0]) | {"wall": round(time.perf_counter() - started, 1)}
    except json.JSONDecodeError:
        lines = complaints.strip().splitlines()
        return base | {"outcome": "error", "error": lines[-1] if lines else f"exit status {process.returncode}"}


def child(text: str, tier: str) -> None:
    """Measure the row given as JSON, and print the result as one line of JSON."""
    from maxmargin.verify.blackbox.targets import TargetError

    package, spec, kwargs = json.loads(text)
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in kwargs.items()}
    try:
        found = measure(Row(package, spec, kwargs), tier)
    except TargetError as refusal:
        found = {"outcome": "refused", "error": str(refusal)}
    print(json.dumps(found))


def version(row: Row) -> str:
    """The installed version of the row's package."""
    try:
        return metadata.version(row.package)
    except metadata.PackageNotFoundError:
        return "not installed"


def entry(row: dict[str, Any]) -> Entry:
    """A finished row as the table keeps it: what was found is the probes' findings, or else why there is no HOLDS."""
    found = list(row.get("findings") or ()) or [text for text in [row.get("error")] if text]
    if not found and row["outcome"] != "holds":
        found = list(row.get("reasons", ()))[:1]
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in row["kwargs"].items()}  # JSON has no tuples
    return Entry(
        package=row["package"],
        version=row["version"],
        optimizer=row["spec"],
        arguments=", ".join(f"{k}={v!r}" for k, v in kwargs.items()),
        outcome=row["outcome"],
        approximate=bool(row.get("approximate")),
        norm=row.get("norm"),
        named=bool(row.get("named")),
        signature=row.get("signature"),
        alignment=row.get("alignment"),
        margin_lost=row.get("margin_lost"),
        floor=row.get("floor") or None,
        floor_step=row.get("floor_step"),
        found=tuple(without_places(text) for text in found),
        answer=row.get("answer") or "",
        said=without_places(row.get("said") or ""),
    )


def page(table: ThirdPartyTable) -> str:
    """The table for people."""
    told = {"sentence": table.sentence, "counts": table.counts, "bounds": IF_INDEPENDENT}
    lines = [HEAD.format(tier=table.tier, seed=table.seed, **told)]
    for e in table.entries:
        cells = [
            e.package,
            f"`{e.call}`",
            _norm_cell(e),
            f"**{e.kind}**" + (" (approximately)" if e.approximate and not e.answer else ""),
            e.said or "–",
            _number(e.signature, ".3f"),
            _number(e.alignment, ".3f"),
            _number(e.margin_lost, ".1e"),
            _number(e.floor, ".0e"),
            _number(e.floor_step, ".0f"),
            " ".join(e.found)[:400] or "–",
        ]
        lines.append("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |\n")
    versions = [*table.packages, *(f"{name} {version}" for name, version in table.versions.items())]
    lines.append(f"\nVersions: {', '.join(dict.fromkeys(versions))}.\n")
    if left := len(ROWS) - len(table.entries):
        lines.append(f"\n{left} of {len(ROWS)} rows were not measured with this version of maxmargin.\n")
    if table.missing:
        lines.append(f"\nNot installed, and left out: {', '.join(table.missing)}.\n")
    return "".join(lines)


def write(finished: Mapping[str, dict[str, Any]], options: argparse.Namespace) -> ThirdPartyTable:
    """Write the tables.

    Returns:
        What is in them.
    """
    from maxmargin.solvers.versions import versions
    from maxmargin.verify.results.store import write_json

    rows = [finished[r.key] for r in ROWS if r.key in finished]
    missing = sorted({r.package for r in ROWS if not r.installed and r.key not in finished})
    table = ThirdPartyTable(options.tier, 0, versions(), tuple(missing), tuple(map(entry, rows)))
    options.out.write_text(page(table), encoding="utf-8")
    left = [r.key for r in ROWS if r.installed and r.key not in finished]
    if options.data is None and left:
        print(f"{len(left)} rows are missing: the table that the reports show is left as it was.")
    else:
        write_json(options.data or PUBLISHED, table.to_json())
    return table


def _norm_cell(e: Entry) -> str:
    if e.norm is None:
        return "–"
    return e.norm if e.named else f"none ({e.norm} is nearest)"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def main() -> None:
    """Run what is not yet finished, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose package or import path contains this")
    parser.add_argument("--jobs", type=int, default=1, help="rows at once; each uses up to three processes itself")
    parser.add_argument("--scheduler", help="address of a Dask scheduler, to run on its cluster")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a row")
    parser.add_argument("--tier", default="quick", choices=("quick", "full"))
    parser.add_argument("--rows", type=Path, default=HERE / "third_party.jsonl", help="finished rows")
    parser.add_argument("--out", type=Path, default=HERE / "third_party.md", help="the table")
    parser.add_argument("--data", type=Path, help="the table as data; reports/tables/third_party.json if all was run")
    parser.add_argument("--again", action="store_true", help="measure the chosen rows anew")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.tier)
        return
    finished: dict[str, dict[str, Any]] = {}
    if options.rows.exists():
        finished = {r["key"]: r for r in map(json.loads, options.rows.read_text().splitlines())}
    wanted = [r for r in ROWS if r.installed and options.only.lower() in f"{r.package} {r.spec}".lower()]
    todo = [r for r in wanted if options.again or r.key not in finished]
    with ThreadPoolExecutor(options.jobs) as pool, options.rows.open("a") as file:
        if options.scheduler:
            items = [(row.key, (row, options.tier, options.limit)) for row in todo]
            results = Backend("dask", options.scheduler).spread(run, items, native=False)
        else:
            running = [pool.submit(run, row, options.tier, options.limit) for row in todo]
            results = (future.result() for future in as_completed(running))
        for done, result in enumerate(results, start=1):
            finished[result["key"]] = result
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{done}/{len(todo)} {result['spec']}: {result['outcome']} {result.get('norm') or ''}", flush=True)
    print(write(finished, options).sentence)


if __name__ == "__main__":
    main()
