"""What stands in the reasons whatever the outcome."""

from __future__ import annotations

from types import SimpleNamespace

from maxmargin.verify.blackbox.apart import outside
from maxmargin.verify.judging.wording import _constructor
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.knobs import DeadKnob
from maxmargin.verify.lab.paths import CodePaths, PathDifference
from maxmargin.verify.running.checking import _findings_json

KNOB = DeadKnob("momentum", 0.9, (0.45, 0.95), 200, given=True)
PATH = PathDifference("foreach=True", "the for-loop", "changing gradients", 2, "W", 0.5, None)


def test_dead_arguments_and_code_paths_are_said_once_for_all_problems(monkeypatch):
    monkeypatch.setattr(outside, "changed", set())  # by optimizers of other tests
    exams = [Exam(name, knobs=(KNOB,), paths=CodePaths("the for-loop", differences=(PATH,))) for name in ("p", "q")]
    said = _constructor([SimpleNamespace(exam=exam) for exam in exams])
    assert said == [
        "momentum=0.9 has no effect: with 0.45 or 0.95 in its place each of 200 steps is the same to the last bit.",
        "Its code paths differ: foreach=True and the for-loop part at step 2 of changing gradients on W, by 5.0e-01 "
        "(relative).",
    ]
    assert [(f["kind"], f["text"]) for f in _findings_json(exams)] == [
        ("dead argument", said[0]),
        ("code path", said[1]),
    ]
