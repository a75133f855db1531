"""The pytest plugin, for this project's theory gate and for a library's own CI.

* marker ``theory``, or ``theory(claim)``: the test is part of the theory gate; ``theory(claim, verdict=False)`` where
  the test's own assertions are all there is to say;
* fixture ``optimizer_check(target, claim=…, **kw) -> Verdict``: check an optimizer; the test asserts what it wants;
* fixture ``record_verdict(verdict)``: tell the gate of a verdict that was reached otherwise;
* :func:`parametrize_with_claims`: one test for each claim about one's own optimizers.

With ``-m theory``, or ``--theory-gate`` in a run of all tests, silence fails: a theory test that was skipped, or passed
without a verdict, makes the session fail. Tests that share a claim, ``theory("signum-linf")``, answer for it together.
A line at the end counts what ran.

Every pytest run on the machine loads this module, so it imports nothing heavy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import pytest

if TYPE_CHECKING:
    from maxmargin.verify.results.verdict import Verdict

THEORY, VERDICT = "maxmargin.theory", "maxmargin.verdict"  # user properties: they survive pytest-xdist
UNRECORDED = (
    "it passed, but recorded none; use optimizer_check or record_verdict, or mark it theory(claim, verdict=False) "
    "if its assertions are the verdict"
)
CHECK_OPTIONS = ("kwargs", "tier", "problems", "seed", "device", "progress")

_running: list[pytest.Item] = []
_recorded: list[Verdict] = []  # kept, so that one that several tests look at is told from its equal


@final
class NotShown(AssertionError):
    """A claim that a check could not show to hold.

    Attributes:
        verdict: What was found instead.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__("\n".join([_in_short(verdict), *repr(verdict).splitlines()[1:]]))
        self.verdict = verdict


def _in_short(verdict: Verdict) -> str:
    """What pytest's short summary shows."""
    name, claim = verdict.target.rpartition(":")[2], verdict.claim
    if claim is None:
        return verdict.sentence
    return f"{name} does not maximize {claim}" if verdict.outcome.value == "fails" else f"{name} for {claim}"


def _not_shown(verdict: Verdict) -> NotShown:
    """The failure, of a class that is called as the outcome: pytest writes ``FAILS: MySign does not maximize linf``."""
    return type(verdict.outcome.name, (NotShown,), {"__module__": "builtins"})(verdict)


def check_claim(target: Any, claim: str | None = None, **kw: Any) -> Verdict:
    """Return the verdict of a check, whatever it is, and tell the gate of it.

    Args:
        target: The class, the factory, ``module:attr``, ``file.py:attr`` or a name of ours.
        claim: The norm; None asks for one to be found.
        **kw: ``tier``, ``problems``, ``seed``, ``device`` and ``kwargs`` go to :func:`maxmargin.verify.check`;
            everything else to the optimizer, as ``--kw`` does.
    """
    from maxmargin.verify.running.checking import check

    options = {name: value for name, value in kw.items() if name in CHECK_OPTIONS}
    optimizer = {name: value for name, value in kw.items() if name not in CHECK_OPTIONS}
    options["kwargs"] = {**(options.get("kwargs") or {}), **optimizer}
    return _record(check(target, claim=claim, **options))


def _record(verdict: Verdict) -> Verdict:
    """Tell the gate of a verdict of the running test, and return it."""
    from maxmargin.verify.results.verdict import Verdict

    if not isinstance(verdict, Verdict):
        raise TypeError(f"record_verdict takes a maxmargin Verdict, not {type(verdict).__name__} {verdict!r}")
    if _running:
        if not any(verdict is known for known in _recorded):
            _recorded.append(verdict)
        number = next(i for i, known in enumerate(_recorded) if known is verdict)
        told = {"target": verdict.target, "claim": verdict.claim, "norm": verdict.norm}
        key = f"{os.getpid()}-{number}"  # processes of pytest-xdist count for themselves
        _running[-1].user_properties.append((VERDICT, {"key": key, **told, "outcome": verdict.outcome.value}))
    return verdict


@pytest.fixture
def optimizer_check() -> Callable[..., Verdict]:
    """``optimizer_check(target, claim=…, **kw) -> Verdict``; see :func:`check_claim`."""
    return check_claim


@pytest.fixture
def record_verdict() -> Callable[[Verdict], Verdict]:
    """``record_verdict(verdict)``: the gate counts it; the verdict is handed back."""
    return _record


@final
@dataclass(frozen=True)
class _Check:
    """What a test of :func:`parametrize_with_claims` calls with its optimizer."""

    id: str
    claim: str | None
    options: Mapping[str, Any] = field(repr=False)

    def __call__(self, optimizer: Any) -> Verdict:
        """Return the verdict, when the claim holds.

        Raises:
            NotShown: when it fails or nothing can be concluded.
        """
        __tracebackhide__ = True
        verdict = check_claim(optimizer, self.claim, **self.options)
        if verdict.outcome.exit_status != 0:
            failure: NotShown = _not_shown(verdict)
            raise failure
        return verdict


def parametrize_with_claims(
    optimizers: Sequence[Any],
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    **options: Any,
) -> pytest.MarkDecorator:
    """One test for each claim about each optimizer, in the manner of scikit-learn's ``parametrize_with_checks``.

    ::

        @parametrize_with_claims(
            [
                ("mypkg.optim:MyMuon", "spectral", {"momentum": 0.95}),  # target, claim, the optimizer's arguments
                (MySignum, "linf"),
                (MyHybrid, ["hybrid:2", "hybrid"]),  # several claims
                MyOptimizer,  # no claim: some norm must be found
            ],
            expected_failed_checks={"MyMuon-spectral": "five Newton–Schulz steps in bfloat16"},
        )
        def test_implicit_bias(optimizer, check):
            check(optimizer)

    The tests' ids are ``OPTIMIZER-CLAIM``; they carry the marker ``theory``. An expected failure is still run, and is
    reported as xfailed with its reason (as xpassed when it holds after all); a crash is never an expected failure.

    Args:
        optimizers: Targets, or tuples (target, claim or claims[, arguments]).
        expected_failed_checks: id → reason.
        **options: ``tier``, ``problems``, ``seed`` and ``device`` of :func:`maxmargin.verify.check`.

    Returns:
        The decorator, which parametrizes ``optimizer`` and ``check``.

    Raises:
        ValueError: nothing to check, an entry that is none of the above, an unknown option, or an expected failure
            that names no check.
    """
    if unknown := [name for name in options if name not in CHECK_OPTIONS or name in ("kwargs", "progress")]:
        raise ValueError(f"parametrize_with_claims has no option {unknown[0]!r}; it takes tier, problems, seed, device")
    found = [(target, check) for entry in optimizers for target, check in _checks(entry, options)]
    if not found:
        raise ValueError("parametrize_with_claims was given no optimizer, so nothing would be checked")
    names: dict[str, int] = {}
    ids = []
    for _, check in found:
        names[check.id] = names.get(check.id, 0) + 1
        ids.append(check.id if names[check.id] == 1 else f"{check.id}-{names[check.id]}")
    expected = dict(expected_failed_checks or {})
    if stale := [name for name in expected if name not in ids]:
        raise ValueError(f"expected_failed_checks names {stale[0]!r}, which is no check; there are {', '.join(ids)}")
    rows = []
    for name, (target, check) in zip(ids, found, strict=True):
        marks = [pytest.mark.theory(name)]
        if name in expected:
            marks.append(pytest.mark.xfail(reason=expected[name], raises=NotShown))
        rows.append(pytest.param(target, check, id=name, marks=marks))
    return pytest.mark.parametrize(("optimizer", "check"), rows)


def _checks(entry: Any, options: Mapping[str, Any]) -> Iterator[tuple[Any, _Check]]:
    """The targets of one entry of :func:`parametrize_with_claims`, and their checks."""
    parts = entry if isinstance(entry, tuple) else (entry, None)
    target, claims, kwargs = (*parts, None, None)[:3]
    claims = claims if isinstance(claims, list) else [claims]
    if (
        len(parts) not in (2, 3)
        or not (callable(target) or isinstance(target, str))
        or not claims
        or not all(claim is None or isinstance(claim, str) for claim in claims)
        or not (kwargs is None or isinstance(kwargs, Mapping))
    ):
        raise ValueError(f"{entry!r} is neither a target nor a tuple (target, claim or [claims][, arguments])")
    short = target.rpartition(":")[2] if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)
    for claim in claims:
        yield target, _Check(f"{short}-{claim or 'some-norm'}", claim, {**options, "kwargs": dict(kwargs or {})})


@final
class Gate:
    """Counts the session's verdicts and, where the gate is asked for, fails the session on silence."""

    def __init__(self, config: pytest.Config) -> None:
        chosen = str(config.getoption("markexpr", "") or "")
        selected = re.search(r"\btheory\b", chosen) and not re.search(r"\bnot\s+theory\b", chosen)
        self.active = bool(selected) or bool(config.getoption("theory_gate", False))
        self.outcomes: dict[str, str] = {}
        self.claims: dict[str, set[str]] = {}
        self.spoken: set[str] = set()
        self.why: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Read what a test has left in its report."""
        told: list[tuple[str, Any]] = report.user_properties
        verdicts = {value["key"]: value["outcome"] for name, value in told if name == VERDICT}
        self.outcomes |= verdicts
        asserts = False
        for value in (value for name, value in told if name == THEORY):
            self.claims.setdefault(value["claim"], set()).add(report.nodeid)
            asserts = not value["verdict"] and report.when == "call" and report.passed
        ran_and_failed = report.failed or (report.skipped and "[NOTRUN]" not in getattr(report, "wasxfail", "[NOTRUN]"))
        if verdicts or asserts or ran_and_failed:
            self.spoken.add(report.nodeid)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.why[report.nodeid] = reason.removeprefix("Skipped: ")

    def silent(self) -> dict[str, str]:
        """Claims without a verdict, and why."""
        quiet = {claim: nodes for claim, nodes in self.claims.items() if not nodes & self.spoken}
        return {
            claim: "; ".join(sorted({self.why.get(node, UNRECORDED) for node in nodes}))
            for claim, nodes in quiet.items()
        }

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Where the gate is asked for, turn a green session with silent claims red."""
        if self.active and session.exitstatus == pytest.ExitCode.OK and self.silent():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The line that says how much was checked, and the silent claims."""
        outcomes = list(self.outcomes.values())
        silent = self.silent() if self.active else {}
        if outcomes or silent:
            terminalreporter.section("maxmargin")
            counts = [outcomes.count(outcome) for outcome in ("holds", "fails", "inconclusive")]
            terminalreporter.line(
                f"{len(outcomes)} checks ran: {counts[0]} held, {counts[1]} failed, {counts[2]} inconclusive"
            )
        for claim, why in silent.items():
            terminalreporter.line(f"no verdict: {claim}: {why}", red=True)
        if silent:
            terminalreporter.line(
                f"the theory gate fails: {len(silent)} of {len(self.claims)} claims got no verdict", red=True
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--theory-gate``: the gate in a run of all tests."""
    parser.getgroup("maxmargin").addoption(
        "--theory-gate",
        action="store_true",
        help="fail when a theory test gives no verdict, as -m theory does, in a run of other tests too",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and, where results are gathered, the gate."""
    config.addinivalue_line(
        "markers",
        "theory(claim, verdict=True): part of the theory gate; with -m theory, a claim that gets no verdict fails the "
        "session; verdict=False: the test's own assertions are its verdict",
    )
    if "workerinput" not in vars(config):  # in pytest-xdist the controller gathers
        config.pluginmanager.register(Gate(config), "maxmargin-gate")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note which test runs, and the claim that it answers for.

    Yields:
        To the test.

    Returns:
        What the inner hooks return.
    """
    marker = item.get_closest_marker("theory")
    if marker is not None:
        claim = str(marker.args[0]) if marker.args else item.nodeid
        item.user_properties.append((THEORY, {"claim": claim, "verdict": bool(marker.kwargs.get("verdict", True))}))
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()
