"""The plugin, run by pytest inside pytest; `check` is replaced by one that answers at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from maxmargin.verify import pytest_plugin
from maxmargin.verify.pytest_plugin import parametrize_with_claims
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import Verdict

pytest_plugins = ["pytester"]

FAKE = """
import sys
import types

import pytest
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import Verdict

calls = []

def fake(target, *, kwargs=None, claim=None, **options):
    calls.append((target, claim, dict(kwargs or {}), options))
    name = target if isinstance(target, str) else target.__name__
    outcome = {"good": Outcome.HOLDS, "bad": Outcome.FAILS, "vague": Outcome.INCONCLUSIVE}[name.split(":")[-1]]
    return Verdict(name, kwargs or {}, outcome, claim, {}, claim, ("because of the fake",), ())

@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    checking = types.ModuleType("maxmargin.verify.running.checking")
    checking.check = fake
    monkeypatch.setitem(sys.modules, "maxmargin.verify.running.checking", checking)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project; its `check` answers by the target's name."""
    pytester.makeconftest(FAKE)
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    return pytester


def run(project: pytest.Pytester, body: str, *args: str) -> pytest.RunResult:
    project.makepyfile(test_mine=body)
    quick = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # hypothesis loads anew in every inner session
    return project.runpytest_inprocess(*quick, *args)


def test_the_marker_is_known_without_any_configuration(project: pytest.Pytester) -> None:
    body = "import pytest\n@pytest.mark.theory\ndef test_it(): pass\n"
    run(project, body).assert_outcomes(passed=1)


def test_optimizer_check_returns_the_verdict_and_hands_options_on(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        from conftest import calls
        from maxmargin.verify.results.outcome import Outcome

        def test_it(optimizer_check):
            verdict = optimizer_check("m:good", claim="l2", momentum=0.9, tier="full", kwargs={"lr": 1.0})
            assert verdict.outcome is Outcome.HOLDS
            assert calls == [("m:good", "l2", {"lr": 1.0, "momentum": 0.9}, {"tier": "full"})]
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 checks ran: 1 held, 0 failed, 0 inconclusive"])


def test_a_failing_verdict_is_returned_not_raised(project: pytest.Pytester) -> None:
    body = "def test_it(optimizer_check): assert optimizer_check('bad', claim='l2').outcome.value == 'fails'\n"
    result = run(project, body)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 checks ran: 0 held, 1 failed, 0 inconclusive"])


def test_record_verdict_takes_a_verdict_and_nothing_else(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        import pytest
        from conftest import fake

        def test_it(record_verdict):
            verdict = fake("vague", claim="l2")
            assert record_verdict(verdict) is verdict
            with pytest.raises(TypeError, match="not bool True"):
                record_verdict(True)
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 checks ran: 0 held, 0 failed, 1 inconclusive"])


def test_a_verdict_that_several_tests_look_at_counts_once(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        import pytest
        from conftest import fake

        shared, equal = fake("good", claim="l2"), fake("good", claim="l2")

        @pytest.mark.parametrize("verdict", [shared, shared, equal])
        def test_it(verdict, record_verdict):
            record_verdict(verdict)
        """,
    )
    result.stdout.fnmatch_lines(["2 checks ran: 2 held, 0 failed, 0 inconclusive"])


def test_without_checks_the_plugin_prints_nothing(project: pytest.Pytester) -> None:
    result = run(project, "def test_it(): pass\n")
    result.stdout.no_fnmatch_line("*maxmargin*checks*")
    result.stdout.no_fnmatch_line("*checks ran*")


GATE_CASES = {
    "a verdict": ("def test_it(optimizer_check): optimizer_check('good', claim='l2')", 0),
    "a pass without a verdict": ("def test_it(): pass", 1),
    "a skip": ("def test_it(): pytest.skip('no GPU')", 1),
    "an xfail without a verdict": ("def test_it(): pytest.xfail('known')", 0),
    "a pass whose assertions are the verdict": ("@pytest.mark.theory('c', verdict=False)\ndef test_it(): pass", 0),
    "a skip of such a test": ("@pytest.mark.theory('c', verdict=False)\ndef test_it(): pytest.skip('no GPU')", 1),
    "an xfail that is not run": ("@pytest.mark.xfail(run=False)\ndef test_it(): pass", 1),
}


@pytest.mark.parametrize(("test", "status"), GATE_CASES.values(), ids=GATE_CASES)
def test_the_gate_fails_on_silence(project: pytest.Pytester, test: str, status: int) -> None:
    body = f"import pytest\npytestmark = pytest.mark.theory\n{test}\n"
    assert run(project, body, "-m", "theory").ret == status
    assert run(project, body, "--theory-gate").ret == status
    assert run(project, body).ret == 0  # without -m theory the gate is not asked for
    assert run(project, body, "-m", "not theory").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_the_gate_says_which_claim_is_silent_and_why(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        import pytest

        @pytest.mark.theory("signum-linf")
        def test_skipped(): pytest.skip("no GPU")

        @pytest.mark.theory("muon-spectral")
        def test_idle(): pass
        """,
        "-m",
        "theory",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "no verdict: signum-linf: no GPU",
            "no verdict: muon-spectral: it passed, but recorded none; use optimizer_check or record_verdict*",
            "the theory gate fails: 2 of 2 claims got no verdict",
        ]
    )


def test_tests_of_one_claim_answer_for_it_together(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        import pytest

        @pytest.mark.theory("signum-linf")
        def test_on_the_gpu(): pytest.skip("no GPU")

        @pytest.mark.theory("signum-linf")
        def test_on_the_cpu(optimizer_check): optimizer_check("good", claim="linf")
        """,
        "-m",
        "theory",
    )
    assert result.ret == 0


def test_a_failing_test_keeps_the_session_red_and_is_no_silence(project: pytest.Pytester) -> None:
    body = "import pytest\n@pytest.mark.theory\ndef test_it(): assert False\n"
    result = run(project, body, "-m", "theory")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*no verdict*")


CLAIMS = """
from maxmargin.verify.pytest_plugin import parametrize_with_claims

class good: pass
class bad: pass

@parametrize_with_claims(
    [("m:good", "l2", {{"momentum": 0.9}}), (good, ["linf", "hybrid:2"]), ("m:bad", "spectral"), "vague", (bad, "l2")],
    expected_failed_checks={{"bad-spectral": "bfloat16"{more}}},
    tier="full",
)
def test_bias(optimizer, check):
    check(optimizer)
"""


def test_parametrize_with_claims_runs_every_check_with_a_readable_id(project: pytest.Pytester) -> None:
    result = run(project, CLAIMS.format(more=', "vague-some-norm": "too short"'), "-v", "-m", "theory", "-rxf")
    result.assert_outcomes(passed=3, failed=1, xfailed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "*test_bias[[]good-l2[]] PASSED*",
            "*test_bias[[]good-linf[]] PASSED*",
            "*test_bias[[]good-hybrid:2[]] PASSED*",
            "*test_bias[[]bad-spectral[]] XFAIL*bfloat16*",
            "*test_bias[[]vague-some-norm[]] XFAIL*too short*",
            "*test_bias[[]bad-l2[]] FAILED*",
            "E * FAILS: bad does not maximize l2",
            "E * because of the fake",
            "FAILED * - FAILS: bad does not maximize l2",
            "6 checks ran: 3 held, 2 failed, 1 inconclusive",
        ]
    )


def test_an_expected_failure_that_holds_after_all_is_reported(project: pytest.Pytester) -> None:
    body = CLAIMS.format(more=', "good-l2": "stale", "bad-l2": "known", "vague-some-norm": "short"')
    result = run(project, body, "-rX")
    result.assert_outcomes(passed=2, xfailed=3, xpassed=1)
    result.stdout.fnmatch_lines(["XPASS *good-l2* stale*"])


def test_a_crash_is_never_an_expected_failure(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        from maxmargin.verify.pytest_plugin import parametrize_with_claims

        @parametrize_with_claims([("m:unheard", "l2")], expected_failed_checks={"unheard-l2": "known"})
        def test_bias(optimizer, check):
            check(optimizer)
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*KeyError: 'unheard'"])


@pytest.mark.parametrize(
    ("optimizers", "options", "message"),
    [
        ([], {}, "no optimizer"),
        ([("m:x", "l2", 3)], {}, "neither a target nor a tuple"),
        ([("m:x",)], {}, "neither a target nor a tuple"),
        ([("m:x", [])], {}, "neither a target nor a tuple"),
        ([3], {}, "neither a target nor a tuple"),
        (["m:x"], {"teir": "full"}, "no option 'teir'"),
        ([("m:x", "l2")], {"expected_failed_checks": {"x-linf": "why"}}, "'x-linf', which is no check; there are x-l2"),
    ],
)
def test_what_cannot_be_a_list_of_checks_is_refused(optimizers: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parametrize_with_claims(optimizers, **options)


def test_equal_ids_are_told_apart() -> None:
    rows = parametrize_with_claims([("a:Opt", "l2"), ("b:Opt", "l2")]).args[1]
    assert [row.id for row in rows] == ["Opt-l2", "Opt-l2-2"]


def test_the_plugin_is_cheap_to_import() -> None:
    code = (
        "import sys, json, maxmargin.verify.pytest_plugin;"
        "print(json.dumps([m for m in ('torch','numpy','cvxpy','matplotlib','rich') if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []


def test_a_verdict_outside_any_test_is_handed_back_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_plugin, "_running", [])
    verdict = Verdict("t", {}, Outcome.HOLDS, "l2", {}, "l2", (), ())
    assert pytest_plugin._record(verdict) is verdict
