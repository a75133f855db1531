"""``[tool.maxmargin]``, and what changed between two results."""

import json

import pytest
from msgspec.structs import replace

from maxmargin.verify.cli import difference, project
from maxmargin.verify.cli.status import CliError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import NormEvidence, ProblemVerdict
from maxmargin.verify.results.verdict import CheckVerdict

H, F, I = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE  # noqa: E741 - as the outcomes are written in tables


def found(outcome=H, target="m:Opt", norm="l2", gaps=(1e-4, 2e-4), claim=None):
    evidence = {"l2": NormEvidence(gaps[0], gaps, 1.0, None, None, None)}
    problem = ProblemVerdict("blocks@linear", 1, outcome, 10, 1.0, evidence, {}, norm="l2")
    return CheckVerdict(
        target=target, kwargs={}, outcome=outcome, norm=norm, blocks={}, claim=claim, reasons=(), problems=(problem,)
    )


def write(folder, text):
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_targets_get_the_projects_problems_and_tier(tmp_path):
    write(
        tmp_path,
        '[tool.maxmargin]\ntier = "full"\nproblems = ["a"]\n'
        'targets = ["m:A", { target = "m:B", claim = "l2", kw = { x = 1 }, problems = ["b"], tier = "quick" }]\n',
    )
    below = tmp_path / "deep" / "down"
    below.mkdir(parents=True)
    folder, (first, second) = project.find(below)
    assert folder == tmp_path
    assert (first.target, first.claim, first.problems, first.tier) == ("m:A", None, ["a"], "full")
    assert (second.claim, second.kw, second.problems, second.tier) == ("l2", {"x": 1}, ["b"], "quick")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.maxmargin]\ntargets = []\n", "targets is empty"),
        ("[tool.maxmargin]\n", "missing required field `targets`"),
        ("[tool.maxmargin]\ntargets = [3]\n", "Expected `str | object`"),
        ('[tool.maxmargin]\ntargets = [{ target = "m:A", claims = "l2" }]\n', "unknown field `claims`"),
        ('[tool.maxmargin]\ntargets = ["m:A"]\ntier = "slow"\n', "Invalid enum value 'slow'"),
        ("[tool.maxmargin\n", "cannot be read"),
        ("[tool.other]\n", "no TARGET was given"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(text, said, tmp_path):
    with pytest.raises(CliError, match=said.replace("|", r"\|")):
        project.find(write(tmp_path, text))


@pytest.mark.parametrize(
    ("before", "after", "kinds", "worse"),
    [
        (found(), found(), [], 0),
        (found(H), found(F), ["verdict", "verdict"], 2),
        (found(H), found(I), ["verdict", "verdict"], 2),
        (found(F), found(I), ["verdict", "verdict"], 0),
        (found(), found(norm="linf"), ["norm"], 1),
        (found(gaps=(1e-4, 2e-4)), found(gaps=(3e-4, 4e-4)), ["gap"], 0),
        (found(gaps=(1e-4, 2e-4)), found(gaps=(2e-4, 4e-4)), [], 0),
        (found(), found(target="other:Name"), [], 0),  # one alone is compared with the other
    ],
)
def test_changes_are_found_and_weighed(before, after, kinds, worse):
    seen = difference.changes([before], [after])
    assert [change.kind for change in seen] == kinds
    assert sum(change.worse for change in seen) == worse


def test_a_verdict_that_is_gone_is_worse_and_a_new_one_is_not():
    two, one = [found(), found(target="m:Other")], [found()]
    assert [(c.kind, c.worse) for c in difference.changes(two, one)] == [("missing", True)]
    assert [(c.kind, c.worse) for c in difference.changes(one, two)] == [("new", False)]


def test_stored_results_of_each_kind_are_read(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(found().to_json()))
    assert [v.target for v in difference.load(file)] == ["m:Opt"]
    both = [found().to_json(), replace(found(), target="n:Opt").to_json()]
    file.write_text(json.dumps({"schema": 1, "kind": "gate", "verdicts": both}))
    assert [v.target for v in difference.load(file)] == ["m:Opt", "n:Opt"]
    file.write_text(json.dumps({"schema": 1, "error": {"type": "x", "message": "y"}}))
    with pytest.raises(ValueError, match="holds no verdict"):
        difference.load(file)
    with pytest.raises(ValueError, match="does not exist; give a JSON file"):
        difference.load(tmp_path / "nothing.json")
