"""The command line: what it accepts, what it prints where, and with which status it ends."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from maxmargin.verify.cli import commands, output
from maxmargin.verify.cli.arguments import key_value
from maxmargin.verify.cli.entry import main
from maxmargin.verify.cli.grammar import build_parser
from maxmargin.verify.cli.status import BROKEN_PIPE
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence, ProblemVerdict
from maxmargin.verify.results.store import Store
from maxmargin.verify.results.verdict import CheckVerdict, Regime

COMMANDS = ("check", "compare", "diff", "verify", "sweep", "solve", "list", "report")
HEAVY = ("torch", "numpy", "msgspec", "scipy", "cvxpy", "matplotlib", "rich", "jinja2", "sympy", "flint")


def evidence(gap: float, apart: float | None = None) -> NormEvidence:
    return NormEvidence(gap, (gap, gap), 0.99, 1 - gap, None, -0.5, (-0.6, -0.4), apart=apart)


def judged(outcome: Outcome, claim: str | None) -> dict[str, Any]:
    """What `check` and `verify` say of one problem with one checkpoint."""
    problem = ProblemVerdict(
        problem="blocks@linear",
        degree=1,
        outcome=outcome,
        steps=30_000,
        final_margin=float("nan"),
        evidence={"l2": evidence(0.002), "linf": evidence(0.1, apart=0.1), "hybrid": evidence(0.001, apart=0.0)},
        hypotheses={"separated": Hypothesis(True, 1.0)},
        arrays={"steps": np.array([10]), "kkt_gap:l2": np.array([[0.002]])},
    )
    return {
        "target": "m:Opt",
        "kwargs": {"betas": (0.9, 0.95)},
        "outcome": outcome,
        "norm": "l2" if outcome is Outcome.HOLDS else None,
        "blocks": {"W": {"norm": "l2", "weight": 1.0, "alignment": 1.0}},
        "claim": claim,
        "reasons": ("the first reason", "the second reason"),
        "problems": (problem,),
    }


def verdict(outcome: Outcome = Outcome.HOLDS, claim: str | None = "l2", **changes: Any) -> CheckVerdict:
    facts: dict[str, Any] = {"seed": 0, "tier": "quick", "versions": {}, "device": "cpu", "seconds": 1.5}
    return CheckVerdict(**(judged(outcome, claim) | facts | changes))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, Any], list[Any]]:
    """``fake(module, name, answer)``: a module whose function returns, or raises, ``answer``; gives its calls."""

    def install(module: str, name: str, answer: Any) -> list[Any]:
        calls: list[Any] = []

        def function(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            if isinstance(answer, BaseException):
                raise answer
            return answer(*args, **kwargs) if callable(answer) else answer

        stand_in = types.ModuleType(module)
        setattr(stand_in, name, function)
        monkeypatch.setitem(sys.modules, module, stand_in)
        return calls

    return install


Fake = Callable[[str, str, Any], list[Any]]
CHECK = ("maxmargin.verify.running.checking", "check")
VERIFY = ("maxmargin.verify.running.campaign", "verify")
SOLVE = ("maxmargin.solvers.solving", "solve")


# ------------------------------------------------------------------------------------------- help, and its cost


def python(code: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["solve"]])
def test_help_and_usage_load_no_heavy_library(argv: list[str]) -> None:
    code = (
        "import sys; from maxmargin.verify.cli.entry import main; status = main(sys.argv[1:]);"
        f"print('LOADED', [m for m in {HEAVY} if m in sys.modules], status)"
    )
    out = python(code, *argv).stdout
    assert "LOADED [] 2" in out if argv == ["solve"] else "LOADED [] 0" in out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*filter(None, [command]), "--help"]) == 0
    text = capsys.readouterr().out
    for status in ("0 ", "1 ", "2 ", "3 ", "70 ", "130 "):
        assert f"\n  {status}" in text
    assert "examples:" in text
    if command:
        for option in ("--seed", "--device", "--json", "--quiet"):
            assert option in text


def examples() -> list[str]:
    """Every example line of every help text, without its remark."""
    found = []
    parser = build_parser()
    actions = [a for a in parser._actions if a.dest == "command"]
    for text in [parser.epilog, *(p.epilog for p in actions[0].choices.values())]:  # type: ignore[union-attr]
        found += [re.split(r"\s{3,}", line.strip())[0] for line in (text or "").splitlines() if "  maxmargin " in line]
    return found


def test_every_command_has_an_example() -> None:
    assert {shlex.split(line)[1] for line in examples()} == set(COMMANDS)


@pytest.mark.parametrize("line", examples())
def test_examples_in_the_help_are_valid(line: str) -> None:
    build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_common_options(command: str, tmp_path: Path) -> None:
    needed = {
        "check": ["m:Opt"],
        "compare": ["m:Opt", "n:Opt"],
        "diff": ["a.json", "b.json"],
        "verify": [],
        "sweep": ["grid.toml"],
        "solve": ["--problem", "p", "--norm", "l2"],
        "list": ["norms"],
        "report": ["."],
    }
    options = ["--seed", "3", "--device", "cpu", "--json", "-", "--quiet"]
    args = build_parser().parse_args([command, *needed[command], *options])
    assert (args.seed, args.device, args.json, args.quiet) == (3, "cpu", "-", True)


# ------------------------------------------------------------------------------------------- bad usage


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["chekc"], "invalid choice: 'chekc'"),
        (["check"], "no TARGET was given"),
        (["check", "--claim", "l2"], "--claim is of one target, and none was given"),
        (["check", "m:Opt", "--kw", "momentum"], "'momentum' is not NAME=VALUE"),
        (["check", "m:Opt", "--kw", "a-b=1"], "'a-b=1' is not NAME=VALUE"),
        (["check", "m:Opt", "--kw", "lr=1", "lr=2"], "--kw lr=… is given twice"),
        (["check", "m:Opt", "--tier", "fast"], "invalid choice: 'fast'"),
        (["check", "m:Opt", "--device", "gpu"], "invalid choice: 'gpu'"),
        (["check", "m:Opt", "--seed", "-1"], "'-1' is not a whole number"),
        (["check", "m:Opt", "--cla", "l2"], "unrecognized arguments: --cla"),
        (["verify", "--jobs", "0"], "'0' is not a whole number, 1 or more"),
        (["solve", "--problem", "p"], "required: --norm"),
        (["solve", "--problem", "p", "--norm", "l2", "--starts", "1.5"], "'1.5' is not a whole number"),
        (["list", "things"], "invalid choice: 'things'"),
        (["check", "m:Opt", "--json", "no/such/folder/out.json"], "the folder no/such/folder does not exist"),
        (["check", "m:Opt", "--json", "."], "is a folder; give a file"),
        (["check", "m:Opt", "--step-timeout", "0"], "'0' is not a number above 0"),
        (["check", "m:Opt", "--memory-limit", "inf"], "'inf' is not a number above 0"),
        (["check", "m:Opt", "--backend", "dask"], "--backend dask needs --scheduler ADDRESS"),
        (["check", "m:Opt", "--scheduler", "tcp://here:1"], "is for --backend dask"),
    ],
)
def test_bad_usage_ends_with_2_and_one_message(
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = fake(*CHECK, verdict())
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert not list(tmp_path.iterdir()), "something was written"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("maxmargin: error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert not calls, "the work began before the arguments were understood"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("momentum=0.9", 0.9),
        ("eps=0", 0),
        ("betas=(0.9,0.95)", (0.9, 0.95)),
        ("foreach=False", False),
        ("x=None", None),
        ("x=[1, 2]", [1, 2]),
        ("x=1e-8", 1e-8),
        ("mode=fast", "fast"),
        ("x=", ""),
        ("x=a=b", "a=b"),
        ("x='1'", "1"),
        ("x=__import__('os')", "__import__('os')"),
        ("x=" + "(" * 500, "(" * 500),
    ],
)
def test_kw_values_are_literals_or_text(text: str, value: object) -> None:
    found = key_value(text)[1]
    assert found == value
    assert type(found) is type(value)


# ------------------------------------------------------------------------------------------- check


def test_check_hands_everything_on(fake: Fake) -> None:
    calls = fake(*CHECK, verdict())
    argv = "check m:Opt --kw momentum=0.9 betas=(0.9,0.95) --claim l2 --tier full --problem a b --seed 7 --device cpu"
    assert main([*argv.split(), "--problem", "c", "--kw", "eps=0"]) == 0
    ((args, kwargs),) = calls
    progress = kwargs.pop("progress")
    assert callable(progress)
    assert kwargs.pop("backend").name == "auto"
    assert args == ("m:Opt",)
    assert kwargs == {
        "kwargs": {"momentum": 0.9, "betas": (0.9, 0.95), "eps": 0},
        "claim": "l2",
        "tier": "full",
        "problems": ["a", "b", "c"],
        "seed": 7,
        "device": "cpu",
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_the_exit_status_is_the_outcome(outcome: Outcome, fake: Fake) -> None:
    fake(*CHECK, verdict(outcome))
    assert main(["check", "m:Opt"]) == {"holds": 0, "fails": 1, "inconclusive": 3}[outcome.value]


def test_check_prints_the_verdict_first_then_reasons_then_numbers(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(*CHECK, verdict())
    main(["check", "m:Opt"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "HOLDS: m:Opt(betas=(0.9, 0.95)) maximizes the l2 margin."
    assert lines[1:3] == ["  the first reason", "  the second reason"]
    # hybrid coincides with l2 on this problem (apart = 0), so linf is the nearest wrong norm
    assert lines[-1].split() == ["blocks@linear", "HOLDS", "1", "30,000", "2.0e-03", "1.0e-01", "linf", "50", "0.99"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outcome": Outcome.FAILS}, "FAILS: m:Opt(betas=(0.9, 0.95)) does not maximize the l2 margin."),
        ({"outcome": Outcome.FAILS, "claim": None}, "maximizes the margin of none of the candidate norms."),
        ({"outcome": Outcome.FAILS, "claim": None, "norm": "spectral"}, "maximizes the spectral margin only approx"),
        ({"outcome": Outcome.INCONCLUSIVE, "claim": None, "norm": "l2"}, "is not decided; l2 comes nearest."),
    ],
)
def test_the_headline_tells_the_cases_apart(
    changes: dict[str, Any], sentence: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(*CHECK, verdict(**changes))
    main(["check", "m:Opt", "--quiet"])
    out = capsys.readouterr().out
    assert sentence in out
    assert len(out.splitlines()) == 1


def test_regimes_are_printed_one_by_one(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    first = verdict(outcome=Outcome.HOLDS, norm="linf", claim=None)
    above = Regime(2e-6, None, 0.0, Outcome.HOLDS, "linf", problems=first.problems)
    below = Regime(None, 2e-6, 1.0, Outcome.HOLDS, "l2", problems=first.problems)
    fake(*CHECK, replace(first, answer=Answer.REGIMES, regimes=(above, below)))
    assert main(["check", "m:Opt"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("HOLDS (holds in regimes): m:Opt(betas=(0.9, 0.95)) maximizes the linf margin while the")
    assert "While the gradient's norm is above 2e-06:" in said
    assert "Once the gradient's norm is below 2e-06:" in said
    assert said.count("blocks@linear") == 2


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_to_standard_output_is_alone_there(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(*CHECK, verdict())
    assert main(["check", "m:Opt", "--json", "-"]) == 0
    said = capsys.readouterr()
    payload = strict(said.out)
    assert said.err.startswith("HOLDS: ")
    contract = {"schema", "target", "kwargs", "outcome", "norm", "blocks", "claim", "reasons", "problems"}
    assert contract | {"versions", "seed", "device", "seconds"} <= set(payload)
    assert payload["problems"][0]["final_margin"] is None  # it was NaN
    assert set(payload["problems"][0]["evidence"]["l2"]) >= {
        "kkt_gap",
        "alignment",
        "margin_ratio",
        "distance",
        "slope",
    }


def test_json_files_appear_whole(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(*CHECK, verdict())
    path = tmp_path / "out.json"
    assert main(["check", "m:Opt", "--json", str(path)]) == 0
    before = path.read_text(encoding="utf-8")
    assert strict(before)["outcome"] == "holds"

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(os, "replace", broken)
    assert main(["check", "m:Opt", "--json", str(path)]) == 2
    assert path.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_check_html_stores_what_report_renders_again(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(*CHECK, verdict())
    folder = tmp_path / "deep" / "out"
    assert main(["check", "m:Opt", "--html", str(folder)]) == 0
    assert f"report: {folder / 'index.html'}" in capsys.readouterr().out
    page = (folder / "index.html").read_bytes()
    assert b"m:Opt(betas=(0.9, 0.95)) maximizes the l2 margin." in page
    assert b"<figure>" in page
    (folder / "index.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "index.html").read_bytes() == page


def test_an_html_folder_that_cannot_be_is_refused_before_the_work(fake: Fake, tmp_path: Path) -> None:
    calls = fake(*CHECK, verdict())
    (tmp_path / "file").write_text("")
    assert main(["check", "m:Opt", "--html", str(tmp_path / "file")]) == 2
    assert not calls


# ------------------------------------------------------------------------------------------- verify


def campaign(*outcomes: Outcome) -> Callable[..., list[ClaimVerdict]]:
    """A campaign that gives these outcomes and stores them as the real one does."""

    def verify(claims: Any, *, out: Path, **_: Any) -> list[ClaimVerdict]:
        verdicts = [
            ClaimVerdict(id=f"claim-{i}", statement="It does.", **judged(outcome, "l2"))
            for i, outcome in enumerate(outcomes)
        ]
        Store.at(out).save_results(Campaign(claims=tuple(verdicts)).to_json())
        return verdicts

    return verify


H, F, I = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(("outcomes", "status"), [((H, H), 0), ((H, F, I), 1), ((H, I), 3), ((I,), 3), ((), 2)])
def test_verify_ends_with_the_worst_outcome(
    outcomes: tuple[Outcome, ...], status: int, fake: Fake, tmp_path: Path
) -> None:
    fake(*VERIFY, campaign(*outcomes))
    assert main(["verify", "--out", str(tmp_path / "out")]) == status


def test_verify_prints_a_table_the_reasons_of_what_does_not_hold_and_the_page(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake(*VERIFY, campaign(H, F, I))
    folder = tmp_path / "out"
    argv = f"verify claim-0 claim-1 --tier full --jobs 2 --resume --seed 5 --out {folder} --json {tmp_path / 'r.json'}"
    assert main(argv.split()) == 1
    out = capsys.readouterr().out
    assert re.search(r"claim-0 +l2 +blocks@linear +HOLDS", out)
    assert "FAILS: claim-1: It does.\n  the first reason\n" in out
    assert "HOLDS: claim-0" not in out
    assert "FAILS: 1 of 3 claims hold, 1 fail, 1 inconclusive" in out
    assert out.rstrip().endswith(f"report: {folder / 'index.html'}")
    assert (folder / "index.html").is_file()
    assert strict((tmp_path / "r.json").read_text()) == strict((folder / "results.json").read_text())
    ((args, kwargs),) = calls
    assert args == (["claim-0", "claim-1"],)
    assert {k: kwargs[k] for k in ("tier", "jobs", "resume", "seed", "device")} == {
        "tier": "full",
        "jobs": 2,
        "resume": True,
        "seed": 5,
        "device": "auto",
    }


def test_verify_writes_into_the_current_folder_and_runs_every_claim_by_default(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = fake(*VERIFY, campaign(H))
    assert main(["verify", "--quiet"]) == 0
    assert (tmp_path / "maxmargin-verify" / "index.html").is_file()
    assert calls[0][0] == (None,)


@pytest.mark.parametrize("opens", [True, False])
def test_open_opens_the_page_and_says_so_when_it_cannot(
    opens: bool, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(*VERIFY, campaign(H))
    opened: list[str] = []
    monkeypatch.setattr(commands.webbrowser, "open", lambda url: opened.append(url) or opens)
    assert main(["verify", "--out", str(tmp_path / "out"), "--open"]) == 0
    assert opened == [(tmp_path / "out" / "index.html").as_uri()]
    assert ("no browser" in capsys.readouterr().out) is not opens


# ------------------------------------------------------------------------------------------- solve, list, report


class Solution:
    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, "problem": "p", "norm": "l2", "margin": 0.5, "enclosure": None, "kkt_gap": float("nan")}

    def table(self) -> str:
        return "the table of the solution"


def test_solve_prints_its_table_or_its_json(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake(*SOLVE, Solution())
    argv = ["solve", "--problem", "multiclass:n=6,d=5,k=3@linear", "--norm", "l2", "--certify", "--starts", "4"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert said.startswith("the table of the solution\n")
    assert "no enclosure is given" in said  # it was asked for, and there is none
    ((args, kwargs),) = calls
    assert (args[0].n_samples, args[1].name) == (6, "l2")
    given = {"certify": True, "prove": False, "starts": 4, "seed": 0}
    assert {k: kwargs[k] for k in given} == given
    assert main([*argv, "--prove"]) == 0
    assert calls.pop()[1]["prove"] is True
    capsys.readouterr()
    assert main([*argv, "--json", "-"]) == 0
    assert strict(capsys.readouterr().out)["kkt_gap"] is None
    assert main([*argv, "--quiet"]) == 0
    assert capsys.readouterr().out == "p, l2: margin 0.5\n"


@pytest.mark.parametrize(("norm", "margin"), [("spectral", 1), ("linf", 2), ("l2", 2**-0.5), ("nuclear", 0.5)])
def test_solve_gives_the_known_margins_of_the_basis(
    norm: str, margin: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """x_i = e_i, k = d = 3 classes (fixture G2), through the whole command."""
    assert main(["solve", "--problem", "basis:k=3@linear", "--norm", norm, "--json", "-"]) == 0
    payload = strict(capsys.readouterr().out)
    assert payload["margin"] == pytest.approx(margin, rel=1e-7)
    assert abs(payload["kkt_gap"]) <= 1e-7
    assert sum(payload["multipliers"]) == pytest.approx(1)
    contract = {"schema", "problem", "norm", "margin", "enclosure", "kkt_gap", "class", "rung", "multipliers"}
    assert contract | {"parameters", "points", "versions", "seconds"} <= set(payload)


@pytest.mark.parametrize(
    ("what", "some"),
    [
        ("claims", {"signum-linf", "muon-spectral", "adam-linf", "muon-adam-hybrid"}),
        ("problems", {"digits-3@linear", "multiclass@linear", "blocks@linear"}),
        ("norms", {"l1", "l2", "linf", "spectral", "nuclear", "hybrid[:R]", "schatten:P", "entrywise:P"}),
        ("optimizers", {"signum", "muon", "adam", "muon-signum", "muon-adam"}),
        ("thresholds", {"APART", "STEPS", "SAME_STEP"}),
        ("answers", {"holds", "holds in regimes", "holds to a factor", "data-dependent", "refuted", "no norm"}),
    ],
)
def test_list_names_everything_with_a_line(what: str, some: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    table = capsys.readouterr().out
    assert main(["list", what, "--json", "-", "--quiet"]) == 0
    said = capsys.readouterr()
    entries = strict(said.out)["entries"]
    assert some <= {entry["name"] for entry in entries}
    assert all(entry["summary"] and entry["name"] in table for entry in entries)
    assert said.err.split("\n")[:-1] == [entry["name"] for entry in entries]


def test_listed_problems_show_their_exact_answers_and_what_they_are_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "problems", "--json", "-"]) == 0
    said = capsys.readouterr()
    listed = strict(said.out)
    exact = {entry["name"]: entry["exact"] for entry in listed["entries"]}
    assert exact["F1"] == exact["two-points@relu:h=2"] == ["l2", "linf"]
    assert exact["G2"] == exact["basis@linear"] == ["spectral", "linf", "l2", "nuclear", "l1"]
    assert exact["multiclass@linear"] == []
    assert "exact under" in said.err
    parts = {part["name"] for part in listed["parts"]}
    assert {"basis:k=3,s=1.0", "@relu2:h=8", "FILE.npz, FILE.csv"} <= parts
    assert all(part in said.err for part in parts)


def test_solve_says_what_theory_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--problem", "F2", "--norm", "l2", "--prove", "--json", "-"]) == 0
    said = capsys.readouterr()
    found = strict(said.out)
    assert found["problem"] == "point:x=1:2@diagonal:depth=2"
    assert [(p["class"], p["exact"]) for p in found["theory"]["points"]] == [("global", "1"), ("saddle", "1/2")]
    assert found["proof"]["proved"] is True
    assert "theory says: global, margin 1 (G3-L2-l2); found as 1" in said.err
    assert "proved: there is an exact KKT point" in said.err


def test_the_listed_norms_and_claims_are_the_ones_the_commands_take(capsys: pytest.CaptureFixture[str]) -> None:
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.cli.listing import norms

    for entry in norms():
        name = entry.name.replace("[:R]", ":2").replace(":P", ":1.5")
        assert get_norm(name) is not None


@pytest.mark.parametrize("content", [None, "{", '{"schema": 2}'], ids=["missing", "cut short", "another schema"])
def test_report_refuses_what_it_cannot_render(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    assert "results.json" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- things that go wrong


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "no_such_package.optim:Opt"], "no module named 'no_such_package'"),
        (["check", "no/such/file.py:Opt"], "no file 'no/such/file.py'"),
        (["check", "torch.optim:SDG"], "has no attribute 'SDG'"),
        (["check", "signumm"], "did you mean 'signum'"),
        (["check", "torch.optim:SGD", "--kw", "momentun=0.9"], "momentun"),
        (["check", "signum", "--claim", "specral"], "did you mean 'spectral'"),
        (["check", "signum", "--problem", "nowhere"], "unknown data set 'nowhere'"),
        (["check", "signum", "--problem", "no_file.npz@linear"], "no_file.npz"),
        (["verify", "signum-l3", "--out", "{tmp}"], "unknown claim 'signum-l3'"),
        (["solve", "--problem", "multiclass", "--norm", "schatten:0.5"], "schatten:0.5"),
        (["solve", "--problem", "multiclass@lineer", "--norm", "l2"], "did you mean 'linear'"),
    ],
)
def test_bad_input_ends_with_2_and_one_message(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([text.replace("{tmp}", str(tmp_path)) for text in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("maxmargin: error: ")
    assert message in said.err
    assert "Traceback" not in said.err


def test_cuda_is_refused_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    solve = ["solve", "--problem", "multiclass", "--norm", "l2"]
    for argv in (["check", "signum"], ["verify", "signum-linf", "--out", str(tmp_path)], solve):
        assert main([*argv, "--device", "cuda"]) == 2
        assert "cuda" in capsys.readouterr().err.lower()


def test_data_that_cannot_be_separated_are_refused_with_their_proof(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    from maxmargin.solvers.linear.separability import NotSeparable

    fake(*SOLVE, NotSeparable("xor@linear", np.array([0.5, 0.5, 0.0]), 0.0, True))
    assert main(["solve", "--problem", "multiclass", "--norm", "l2", "--json", "-"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("maxmargin: error: xor@linear is not separable: with the multipliers λ[0] = 0.5, λ[1]")
    assert strict(said.out)["error"] == {
        "type": "NotSeparable",
        "message": strict(said.out)["error"]["message"],
        "multipliers": [0.5, 0.5, 0.0],
    }


def test_starts_that_lead_nowhere_are_inconclusive(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    from maxmargin.solvers.solving import NoKKTPoint

    fake(*SOLVE, NoKKTPoint("none of 1 start(s) led to a KKT point; try more starts"))
    assert main(["solve", "--problem", "multiclass", "--norm", "l2"]) == 3
    assert "try more starts" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("a bare one"), RuntimeError("x"), KeyError("k"), AssertionError("x")])
def test_a_fault_of_the_program_keeps_its_traceback_and_is_no_verdict(
    error: Exception, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(*CHECK, error)
    assert main(["check", "m:Opt"]) == 70
    said = capsys.readouterr()
    assert "Traceback (most recent call last)" in said.err
    assert type(error).__name__ in said.err
    assert said.out == ""


def test_a_missing_file_is_the_users_fault_only_if_the_user_named_it(fake: Fake, tmp_path: Path) -> None:
    named = tmp_path / "data.npz"
    fake(*CHECK, FileNotFoundError(2, "No such file", str(named)))
    assert main(["check", "m:Opt", "--problem", f"{named}@linear"]) == 2
    assert main(["check", "m:Opt"]) == 70


def test_results_of_our_own_that_cannot_be_rendered_are_our_fault(fake: Fake, tmp_path: Path) -> None:
    fake(*CHECK, verdict(reasons=(3,)))
    assert main(["check", "m:Opt", "--html", str(tmp_path)]) == 70


@pytest.mark.parametrize("status", [0, 1, None])
def test_a_target_that_exits_is_no_verdict(status: int | None, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(*CHECK, SystemExit(status))
    assert main(["check", "m:Opt"]) == 2
    assert f"the target called sys.exit({status})" in capsys.readouterr().err


def test_interrupted_verify_says_what_is_kept_and_how_to_go_on(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(*VERIFY, KeyboardInterrupt())
    folder = tmp_path / "my results"
    argv = ["verify", "signum-linf", "--out", str(folder), "--jobs", "2"]
    assert main(argv) == 130
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(folder) in said
    again = shlex.split(said.splitlines()[-1])
    assert again == ["maxmargin", *argv, "--resume"]
    assert build_parser().parse_args(again[1:]).resume
    assert main([*argv, "--resume"]) == 130
    assert capsys.readouterr().err.count("--resume") == 1


def test_interrupted_check_says_that_nothing_is_stored(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(*CHECK, KeyboardInterrupt())
    assert main(["check", "m:Opt"]) == 130
    assert "Nothing was stored" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "maxmargin.verify", "list", "norms"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == BROKEN_PIPE
    assert done.stderr == ""


def test_an_ascii_terminal_gets_escapes_not_a_traceback() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "maxmargin.verify", "list", "norms"], capture_output=True, env=env, check=False
    )
    assert done.returncode == 0
    assert rb"\u03c3" in done.stdout


def test_the_current_folder_shadows_nothing(tmp_path: Path) -> None:
    """`python -m` puts the current folder first on the path; a user's numpy.py must not be loaded."""
    for name in ("numpy", "torch", "models", "verify"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')")
    command = [sys.executable, "-m", "maxmargin.verify", "list", "norms", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_cannot_drive_the_terminal(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(*CHECK, verdict(target="\x1b[2Jm:Opt", reasons=("\x07bell",)))
    main(["check", "m:Opt"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"\x1b[2Jm:Opt" in out


def test_a_table_in_a_pipe_is_aligned_columns_and_a_row_is_a_line() -> None:
    stream = io.StringIO()
    columns = [output.Column("norm"), output.Column("gap", numeric=True), output.Column("said")]
    output.Output(stream).table(columns, [["l2", "0.1", "x" * 300], ["linf", "12", "[b]y z[/b]"]])
    assert stream.getvalue() == f"norm  gap  said\nl2    0.1  {'x' * 300}\nlinf   12  [b]y z[/b]\n"


def test_on_a_terminal_names_are_not_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    out = output.Output(stream)
    out.headline("HOLDS: [bold]x[/bold]")
    out.table([output.Column("name"), output.Column("gap", numeric=True)], [["[red]a[/red]", "0.1"], ["HOLDS", "2"]])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "HOLDS: [bold]x[/bold]" in plain
    assert "[red]a[/red]" in plain
    assert "\x1b[1;32mHOLDS" in stream.getvalue()
