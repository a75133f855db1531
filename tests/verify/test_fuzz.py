"""Ten thousand inputs that nobody would write: each is taken for what it says, or refused in words; nothing else.

``MAXMARGIN_FUZZ=20`` runs twenty times as many, from other seeds. A fuzzer is a function of a generator that makes one
input, and one that uses it; what it raises besides an ``InputError`` is a fault, and so is a minute's silence.
"""

import argparse
import csv
import io
import json
import math
import os
import random
import signal
import string
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch

from maxmargin.models import files, problems
from maxmargin.models.errors import InputError
from maxmargin.reports import data as reports
from maxmargin.reports.render import render
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.cli.arguments import key_value
from maxmargin.verify.cli.entry import read
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence, ProblemVerdict
from maxmargin.verify.results.store import Store
from maxmargin.verify.running.sweeping import Grid, read_rows

FACTOR = float(os.environ.get("MAXMARGIN_FUZZ", "1"))
HANGS = 60
FROZEN = Path(__file__).parents[1] / "golden" / "frozen"
NUMBERS = ("0", "1", "2", "1.5", "-1", "1e5", "1e308", "1e-308", "9" * 30, "nan", "inf", "-0", "0x1", "1_0", "½", "")
NORMS = ("l1", "l2", "linf", "spectral", "nuclear", "schatten", "entrywise", "rows", "columns", "hybrid", "maxrow")
WORDS = (*NORMS, "dual", "blocks", "max", "sum", "@matrix", "@vector", "*", "W", "weighted", "shaped")
MARKS = (":", ";", ",", "=", "*", "@", " ", "::", "\x00", "\n", "é", "'", '"', "..", "/", "%s", "{}", "-")
DATA = (
    "blocks",
    "multiclass",
    "binary",
    "basis",
    "two-points",
    "matrices",
    "point",
    "rademacher",
    "digits-3",
    "G2",
    "F1'",
)
MODELS = ("linear", "relu", "relu2", "diagonal", "deep-linear", "nowhere")
OPTIONS = ("n", "d", "k", "seed", "h", "depth", "classes", "margin", "noise", "rank")


def some(rng, *pools, most=8):
    """Some words and marks in a row."""
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, most)))


def norm_text(rng):
    if rng.random() < 0.02:
        return rng.choice(("dual:", "blocks:", "hybrid;", "l2;")) * rng.choice((10, 500, 3000)) + "l2"
    if rng.random() < 0.5:
        return f"{rng.choice(NORMS)}{rng.choice((':', ';'))}{rng.choice(NUMBERS)}"
    return some(rng, WORDS, MARKS, NUMBERS)


def use_norm(text):
    norm = get_norm(text)
    assert get_norm(norm.name).name == norm.name
    norm.block("W", (2, 3))


def problem_text(rng):
    if rng.random() < 0.3:
        return some(rng, DATA, MODELS, MARKS, NUMBERS)
    small = ("0", "1", "2", "5", "-1", "1.5", "nan", "1e308", "9" * 30, "", "x")
    given = ",".join(f"{rng.choice(OPTIONS)}={rng.choice(small)}" for _ in range(rng.randint(0, 2)))
    model = f"@{rng.choice(MODELS)}" + (f":h={rng.choice(small)}" if rng.random() < 0.4 else "")
    return f"{rng.choice(DATA)}{':' if given else ''}{given}{model if rng.random() < 0.7 else ''}"


def use_problem(text):
    problem = problems.get(text)
    assert problems.get(problem.name).name == problem.name
    assert np.isfinite(np.asarray(problem.X)).all()


def option_text(rng):
    return some(rng, (*string.ascii_letters, "=", "(", ")", "[", "{", ",", "'", "\\", "\x00", "é"), NUMBERS, most=20)


def use_option(text):
    name, _ = key_value(text)
    assert name.isidentifier()


def command_line(rng):
    options = ("--seed", "--device", "--json", "--tier", "--kw", "--claim", "--problem", "--jobs", "--out", "--starts")
    more = ("--tolerance", "--step-timeout", "--memory-limit", "--backend", "--scheduler", "--norm", "--resume", "-")
    words = ("check", "verify", "solve", "list", "report", "compare", "sweep", "norms", "muon", "quick", "a=b", "cpu")
    first = rng.choice(("check", "verify", "solve", "list", "compare", "sweep", "report"))
    return [first, *(rng.choice(rng.choice((options, more, words, NUMBERS, MARKS))) for _ in range(rng.randint(0, 6)))]


def use_command_line(argv):
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        found = read(argv)
    if isinstance(found, int):
        assert found in (0, 2)
        assert found == 0 or said.getvalue().count("maxmargin: error:") == 1
    else:
        assert found.seed >= 0
        limits = vars(found)
        assert all(limits.get(name) is None or 0 < limits[name] < math.inf for name in ("step_timeout", "memory_limit"))


def csv_bytes(rng):
    rows = [[rng.choice((*NUMBERS, "1", "2", "0.5", "a")) for _ in range(rng.randint(1, 4))] for _ in range(5)]
    if rng.random() < 0.6:  # mostly whole
        rows = [[f"{rng.uniform(-1, 1):.3g}", f"{rng.uniform(-1, 1):.3g}", rng.choice(("0", "1", "b"))] for _ in rows]
        row = rng.choice(rows)
        row[rng.randrange(3)] = rng.choice((*NUMBERS, "a"))
    text = io.StringIO()
    csv.writer(text, delimiter=rng.choice((",", ";", "\t"))).writerows(rows)
    data = bytearray(text.getvalue().encode())
    for _ in range(rng.choice((0, 0, 1, 3))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return ".csv", bytes(data)


def npz_bytes(rng):
    X = np.array([[rng.uniform(-1, 1) * 10 ** rng.choice((0, 0, 300, -300)) for _ in range(2)] for _ in range(4)])
    kinds = (np.float64, np.float32, np.int64, "U3", "S3", bool, np.complex128, object)
    y = np.array([rng.choice((0, 1, -1, 2**53, 0.5)) for _ in range(4)])
    with np.errstate(all="ignore"):
        X = X.astype(rng.choice((np.float64, np.float64, np.float32, np.complex128, "U3")))
        y = y.astype(rng.choice(kinds))
    arrays = {"X": rng.choice((X, X, X[0], X.reshape(2, 2, 2), X[:0])), "y": rng.choice((y, y, y[:3], y[:, None]))}
    file = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(file, **arrays)
    data = bytearray(file.getvalue())
    for _ in range(rng.choice((0, 1, 2))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return ".npz", bytes(data[: rng.choice((len(data), len(data), rng.randrange(1, len(data))))])


def use_data(given, folder):
    suffix, data = given
    path = folder / f"data{suffix}"
    path.write_bytes(data)
    found = files.load(str(path))
    assert np.isfinite(found.X).all()
    assert len(found.X) == len(found.y)
    assert len(np.unique(found.y)) >= 2
    if suffix == ".csv":
        text = data.decode("utf-8-sig")
        delimiter = max((",", ";", "\t"), key=text.splitlines()[0].count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        labels = {row[-1].strip() for row in rows if any(row)}
        assert len(np.unique(found.y)) <= len(labels)


HOSTILE = (
    None,
    True,
    -1,
    0,
    1e308,
    10**40,
    "",
    "x" * 5000,
    "<script>",
    "../../etc/passwd",
    [],
    {},
    [[[[]]]],
    "\x00",
    "holds",
)


def spoiled(value, rng):
    """A copy of a JSON value with one entry replaced, removed or renamed."""
    value = json.loads(json.dumps(value))
    node = value
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.85:
            node = node[key]
            continue
        match rng.randrange(4):
            case 0 if isinstance(node, dict):
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice(("holds", "__class__", "\x00"))] = node.pop(key)
            case _:
                node[key] = rng.choice(HOSTILE)
        return value


def report_of(rng):
    name = rng.choice(("check-sgd", "verify", "check-frozen-row"))
    return spoiled(json.loads((FROZEN / f"{name}.json").read_text())["result"], rng)


def use_report(value, folder, whole=False):
    (folder / "results.json").write_text(json.dumps(value))
    for verdict in reports.verdicts_of(reports.load(folder)):
        for problem in verdict.problems:
            assert isinstance(problem.outcome, Outcome)
            assert reports.Standing.of(verdict, problem).is_control("l2") in (True, False)
    if whole:
        page = render(folder).read_text()
        assert "<script>" not in page


JOB = ProblemVerdict(
    problem="multiclass@linear", degree=1, outcome=Outcome.FAILS, steps=1000, final_margin=12.5,
    evidence={"linf": NormEvidence(1e-3, (5e-4, 2e-3), 0.99, 0.999, 0.01, -0.5)},
    hypotheses={"A1": Hypothesis(True, 0.0)}, arrays={"steps": np.arange(5)}, norm="linf",
)  # fmt: skip


def folder_of(rng):
    return rng.choice(("jobs/a.json", "arrays/a.npz")), rng.randrange(10**6), rng.randrange(1, 256), rng.random() < 0.3


def use_folder(given, folder):
    store = Store.at(folder / "store")
    before = store.save("a", "stamp", JOB)
    name, place, flip, torn = given
    data = bytearray((store.root / name).read_bytes())
    data[place % len(data)] ^= flip
    (store.root / name).write_bytes(data[: place % len(data)] if torn else data)
    found = store.load("a", "stamp")
    assert found is None or repr(found) == repr(before.stored)  # a byte between two entries may say nothing


def lines_of(rng):
    return rng.randbytes(rng.randrange(200)), rng.randrange(10**6)


def use_lines(given, folder):
    noise, place = given
    path = folder / "cells.jsonl"
    path.write_bytes(noise + b"\n0123456789abcdef {}\n" + noise[: place % (len(noise) + 1)])
    assert read_rows(path) == {}


def grid_of(rng):
    text = (
        'problems = ["blocks"]\nseeds = 2\nsteps = 300\n[[optimizer]]\ntarget = "signum"\nkw = { beta = [0.5, 0.9] }\n'
    )
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice((*NUMBERS, *MARKS, "[", "]", "true")) + text[place + rng.randint(0, 6) :]
    return text


def use_grid(text, folder):
    path = folder / "grid.toml"
    path.write_text(text)
    assert Grid.read(path).cells()


class Left(SystemExit):
    """An optimizer's own exit; the command line ends it with status 2."""


def optimizer_of(rng):
    acts = (
        "raise",
        "base",
        "nan",
        "inf",
        "shape",
        "none",
        "grow",
        "groups",
        "state",
        "text",
        "quiet",
        "global",
        "rate",
    )
    return (
        rng.choice(acts),
        rng.choice(acts),
        rng.randint(1, 6),
        rng.choice((0.1, 0.1, 0.1, 0, "x", None, [0.1], math.nan)),
    )


def use_optimizer(given):
    first, second, when, lr = given

    class Odd(torch.optim.SGD):
        n = 0

        def step(self, closure=None):
            self.n += 1
            if self.n >= when:
                _act(self, first if self.n % 2 else second)
            return super().step(closure)

    parameters = [torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))]
    handle = Handle(load(Odd, {"lr": lr}), parameters)
    handle.set_lr(0.5)
    for _ in range(8):
        for update in handle.advance([torch.ones(2, 3, dtype=torch.float64)]):
            assert update.shape == (2, 3)
        handle.leaves()


def _act(self, what):
    p = self.param_groups[0]["params"][0]
    match what:
        case "raise":
            raise random.choice((ValueError, KeyError, RecursionError, MemoryError, StopIteration))("no")
        case "base":
            raise Left(0)
        case "nan" | "inf":
            p.data.fill_(float(what))
        case "shape":
            p.data = torch.ones(5)
        case "none":
            p.grad = None
        case "grow":
            self.state[p][str(self.n)] = torch.ones(100)
        case "groups":
            self.param_groups.append({"params": [], "lr": "x"})
        case "state":
            self.state = {}
        case "text":
            print("<script>", end="")
        case "global":
            np.seterr(all="raise")
        case "rate":
            self.param_groups[0]["lr"] = math.nan


FUZZERS = {  # name: (input, use, how many, whether it takes a folder)
    "norms": (norm_text, use_norm, 2500, False),
    "problems": (problem_text, use_problem, 1000, False),
    "options": (option_text, use_option, 2500, False),
    "command lines": (command_line, use_command_line, 600, False),
    "csv files": (csv_bytes, use_data, 1500, True),
    "npz files": (npz_bytes, use_data, 800, True),
    "reports": (report_of, use_report, 600, True),
    "pages": (report_of, lambda value, folder: use_report(value, folder, whole=True), 6, True),
    "result folders": (folder_of, use_folder, 300, True),
    "sweeps' lines": (lines_of, use_lines, 300, True),
    "sweeps' files": (grid_of, use_grid, 300, True),
    "optimizers": (optimizer_of, use_optimizer, 100, False),
}


NEVER_REFUSED = ("command lines", "result folders", "sweeps' lines")  # a status; what is damaged is not there


def test_there_are_ten_thousand():
    assert sum(count for *_, count, _ in FUZZERS.values()) >= 10_000


@pytest.mark.parametrize("name", FUZZERS)
@pytest.mark.filterwarnings("ignore")  # what numpy or torch says of such input; a refusal is what we look for
def test_no_input_is_a_fault_of_ours(name, tmp_path):
    make, use, count, foldered = FUZZERS[name]
    faults, refused = {}, 0
    for i in range(round(count * FACTOR)):
        rng = random.Random(f"{name} {i}")
        random.seed(i)
        given = make(rng)
        try:
            with within(HANGS):
                use(given, tmp_path) if foldered else use(given)
        except (InputError, argparse.ArgumentTypeError, Left):
            refused += 1
        except (Exception, SystemExit) as error:
            faults.setdefault(f"{type(error).__name__}: {str(error)[:80]}", []).append((i, str(given)[:150]))
    torch.set_default_dtype(torch.float32)
    assert not faults, f"{sum(map(len, faults.values()))} of {round(count * FACTOR)}: " + "\n".join(
        f"{what} ({len(where)}): {where[0]}" for what, where in faults.items()
    )
    if name not in NEVER_REFUSED and count > 10:
        assert 0 < refused < round(count * FACTOR), "all taken, or all refused: it sees nothing"


@contextmanager
def within(seconds):
    """Fail what does not return."""

    def late(*_):
        raise TimeoutError(f"nothing came within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
