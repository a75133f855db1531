"""Results on disk: whole or not at all, never believed when damaged, and found again under their own name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from maxmargin.verify.results.encoding import as_json, decode
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence, ProblemVerdict
from maxmargin.verify.results.store import Store, StoreError, file_key, fingerprint_of, write_json


def _verdict(**changes):
    fields = {
        "problem": "multiclass@linear",
        "degree": 1,
        "outcome": Outcome.FAILS,
        "steps": 1000,
        "final_margin": 12.5,
        "evidence": {
            "linf": NormEvidence(
                1e-3, (5e-4, 2e-3), 0.99, 0.999, 0.01, -0.5, (-0.6, -0.4), 1e-9, 0.5, "certified", 0.2
            ),
            "l2": NormEvidence(0.2, (0.1, 0.3), 0.5, None, None, None),
        },
        "hypotheses": {"A1": Hypothesis(True, 0.0), "smooth": Hypothesis(None, "C¹ in θ")},
        "reasons": ("because of this", "and Γ ≥ 0"),
        "rung": "certified",
        "runs": 4,
        "separated_runs": 3,
        "arrays": {"steps": np.arange(5), "kkt_gap:linf": np.array([[0.5, nan], [0.25, 0.125]])},
        "norm": "linf",
    }
    return ProblemVerdict(**(fields | changes))


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "results")


# -- Round trip ---------------------------------------------------------------------------------------------------


def test_a_job_comes_back_as_it_was(store):
    verdict = _verdict()
    saved = store.save("job", "f1", verdict)
    assert saved == replace(verdict, arrays_file="arrays/job.npz")
    back = store.load("job", "f1")
    assert back == saved.stored
    with np.load(store.root / back.arrays_file, allow_pickle=False) as arrays:
        assert set(arrays) == set(verdict.arrays)
        for name, values in verdict.arrays.items():
            np.testing.assert_array_equal(arrays[name], values)


def test_what_json_cannot_say_comes_back_as_nan(store):
    row = NormEvidence(nan, (nan, nan), nan, None, None, None, None)
    verdict = _verdict(final_margin=nan, evidence={"l2": row}, hypotheses={"R": Hypothesis(None, inf)})
    store.save("job", "f", verdict)
    back = store.load("job", "f")
    assert np.isnan(back.final_margin)
    assert np.isnan(
        [back.evidence["l2"].kkt_gap, back.evidence["l2"].alignment, *back.evidence["l2"].kkt_gap_range]
    ).all()
    assert back.hypotheses["R"] == Hypothesis(None, None)


def test_a_job_without_arrays_names_no_file_and_is_not_run_again(store):
    saved = store.save("job", "f", _verdict(arrays=UNSET))
    assert saved.arrays_file is UNSET
    assert "arrays" not in as_json(saved)
    assert store.load("job", "f") == saved
    assert not (store.root / "arrays").exists()


def test_to_json_and_back_is_the_identity():
    verdict = _verdict(steps_needed=3e7).stored
    assert decode(json.loads(json.dumps(as_json(verdict))), ProblemVerdict, "here") == verdict


# -- What must run again ------------------------------------------------------------------------------------------


def test_another_fingerprint_is_another_job(store):
    store.save("job", "f1", _verdict())
    assert store.load("job", "f2") is None
    assert store.load("other", "f1") is None
    assert store.load("job", "f1") is not None


def _truncated(text):
    return text[: len(text) // 2]


def _without_verdict(text):
    data = json.loads(text)
    del data["verdict"]
    return json.dumps(data)


def _changed(*path, value):
    def spoil(text):
        data = json.loads(text)
        inner = data
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return json.dumps(data)

    return spoil


DAMAGES = {
    "empty": lambda text: "",
    "cut off": _truncated,
    "a list": lambda text: "[]",
    "null": lambda text: "null",
    "no verdict": _without_verdict,
    "verdict null": _changed("verdict", value=None),
    "evidence a list": _changed("verdict", "evidence", value=[]),
    "evidence of another version": _changed("verdict", "evidence", "l2", value={"gap": 1}),
    "evidence a number": _changed("verdict", "evidence", "l2", value=3),
    "an unknown outcome": _changed("verdict", "outcome", value="perhaps"),
    "hypotheses null": _changed("verdict", "hypotheses", value=None),
    "reasons a number": _changed("verdict", "reasons", value=1),
    "a better gap": _changed("verdict", "evidence", "linf", "kkt_gap", value=1e-9),
    "another outcome": _changed("verdict", "outcome", value="holds"),
    "no evidence": _changed("verdict", "evidence", value={}),
    "no checksum": _changed("checksum", value=""),
    "arrays elsewhere": _changed("verdict", "arrays", value="arrays/gone.npz"),
    "arrays outside the folder": _changed("verdict", "arrays", value="../../other.npz"),
    "arrays of a name too long": _changed("verdict", "arrays", value="a" * 10_000),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_job_runs_again(store, damage, tmp_path):
    (tmp_path.parent / "other.npz").write_bytes(b"")
    store.save("job", "f", _verdict())
    path = store.root / "jobs" / "job.json"
    path.write_text(damage(path.read_text()))
    assert store.load("job", "f") is None


def test_bytes_that_are_no_text_run_again(store):
    store.save("job", "f", _verdict())
    (store.root / "jobs" / "job.json").write_bytes(b"\xff\xfe\x00")
    assert store.load("job", "f") is None


def test_arrays_that_are_gone_run_again(store):
    saved = store.save("job", "f", _verdict())
    (store.root / saved.arrays_file).unlink()
    assert store.load("job", "f") is None


@pytest.mark.parametrize("spoil", [lambda raw: b"", lambda raw: raw[:-1], lambda raw: raw.replace(b"steps", b"stept")])
def test_arrays_that_are_damaged_run_again(store, spoil):
    path = store.root / store.save("job", "f", _verdict()).arrays_file
    path.write_bytes(spoil(path.read_bytes()))
    assert store.load("job", "f") is None


# -- Whole or not at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["replace", "fdopen", "fsync"])
def test_a_crash_while_writing_leaves_the_old_file(store, monkeypatch, broken):
    path = store.save_results({"old": 1})

    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, crash)
        with pytest.raises(KeyboardInterrupt):
            store.save_results({"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(store.root) == ["results.json"]  # and no temporary file
    store.save_results({"new": 2})
    assert json.loads(path.read_text()) == {"new": 2}


def test_a_crash_between_arrays_and_json_loses_that_job_alone(store, monkeypatch):
    store.save("first", "f", _verdict())
    replace_file = os.replace

    def crash_at_json(source, target):
        if str(target).endswith("second.json"):
            raise KeyboardInterrupt
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash_at_json)
        with pytest.raises(KeyboardInterrupt):
            store.save("second", "f", _verdict())
    assert store.load("first", "f") is not None
    assert store.load("second", "f") is None


def test_written_files_can_be_read_by_others(store):
    path = store.save_results({"a": 1})
    assert path.stat().st_mode & 0o777 == 0o644


def test_json_is_strict_and_readable(tmp_path):
    write_json(tmp_path / "deep" / "x.json", {"Γ": nan, "n": np.float64(inf), "k": (1, 2)})
    text = (tmp_path / "deep" / "x.json").read_text(encoding="utf-8")
    assert "Γ" in text
    assert json.loads(text, parse_constant=pytest.fail) == {"Γ": None, "n": None, "k": [1, 2]}


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match=r"cannot use .*taken as a results directory: File exists"):
        Store.at(tmp_path / "taken")
    with pytest.raises(StoreError, match="cannot use"):
        Store.at(tmp_path / "taken" / "below")


# -- Names --------------------------------------------------------------------------------------------------------

TRICKY = [
    "a b",
    "a-b",
    "a_b",
    "a/b",
    "a:b",
    "a@b",
    "a--b",
    "-a-b",
    "a-b-",
    "a.b",
    "..",
    ".",
    "",
    "-",
    "job",
    "a" * 60,
    "a" * 61,
    "a" * 300,
    "a" * 299 + "b",
    "é",
    "e",
    "数据",
    "𝔘" * 80,
    "x\n",
    "x",
    "../../etc/passwd",
    "multiclass:n=8,d=8@linear",
    "multiclass:n=8@d=8,linear",
]
# A text that is itself the name of another must not be taken for it.
TRICKY += [file_key(text) for text in ("a b", "a/b", "a" * 300, "", "é")]


def test_tricky_names_get_distinct_keys():
    texts = sorted(set(TRICKY))
    keys = [file_key(text) for text in texts]
    assert len(set(keys)) == len(texts)
    for key in keys:
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,77}", key)
        assert not key.startswith((".", "-"))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=90), min_size=2, max_size=2, unique=True))
def test_distinct_texts_have_distinct_keys(texts):
    assert file_key(texts[0]) != file_key(texts[1])


def test_plain_names_stay_readable():
    assert file_key("signum-linf--multiclass") == "signum-linf--multiclass"
    assert file_key("binary@relu2:h=8").startswith("binary-relu2-h-8_")


def test_fingerprints_tell_parts_apart():
    assert fingerprint_of("a", 1) == fingerprint_of("a", 1)
    assert len({fingerprint_of(*p) for p in (("a", 1), ("a", "1"), ("a1",), (1, "a"), ("a", 1, None))}) == 5


# -- One run a folder ---------------------------------------------------------------------------------------------


def test_a_second_run_in_a_folder_is_refused_while_the_first_one_lives(store):
    code = "import sys; from maxmargin.verify.results.store import Store\nwith Store.at(sys.argv[1]).locked(): input()"
    with subprocess.Popen([sys.executable, "-c", code, store.root], stdin=subprocess.PIPE) as other:
        for _ in range(300):
            time.sleep(0.1)
            if (store.root / ".lock").is_file() and (store.root / ".lock").read_text():
                break
        with pytest.raises(StoreError, match=rf"in use by another run \(process {other.pid}\); wait"), store.locked():
            pass
        other.kill()
    with store.locked():
        assert (store.root / ".lock").read_text() == str(os.getpid())


def test_what_a_killed_run_was_writing_goes_with_the_next_run(tmp_path):
    store = Store.at(tmp_path)
    own = [tmp_path / f / ".x.json.0a1b2c3d" for f in (".", "arrays", "jobs", "running")]
    others = [tmp_path / "jobs" / name for name in ("x.json", ".hidden", ".x.json.0a1b2c3")]
    for file in (*own, *others):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    with store.locked():
        assert not any(file.exists() for file in own)
        assert all(file.exists() for file in others)
