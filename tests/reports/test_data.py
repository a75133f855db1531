"""Stored data from anyone: read exactly, or refused by name; never unpickled, never from outside the folder."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maxmargin.reports.data import Standing, load
from maxmargin.reports.figures.curves import MAX_BYTES, MAX_POINTS, Band, load_curves
from maxmargin.verify.results.claim_verdict import Campaign
from maxmargin.verify.results.encoding import LONGEST, ReportError
from maxmargin.verify.results.store import array_file
from maxmargin.verify.thresholds.judging import APART

Stored = Callable[..., Path]


def test_load_keeps_what_was_written(stored: Stored) -> None:
    folder = stored(claims=2, outcomes=("holds", "fails"))
    results = load(folder)
    assert isinstance(results, Campaign)
    assert [claim.outcome for claim in results.claims] == ["holds", "fails"]
    assert results.outcome == "fails"
    problem = results.claims[0].problems[2]
    assert problem.problem == "teacher@relu2"
    assert problem.degree == 3
    assert problem.evidence["l2"].slope_interval == (-0.66, -0.57)
    assert problem.hypotheses["direction converges"].met is None
    assert array_file(folder, problem.arrays_file).is_file()


def test_the_nearest_wrong_norm_is_the_smallest_gap_among_controls(stored: Stored) -> None:
    folder = stored(claims=1)
    payload = json.loads((folder / "results.json").read_text())
    evidence = payload["claims"][0]["problems"][0]["evidence"]
    for name, gap, apart in (
        ("l2", 0.01, None),
        ("linf", 0.02, APART / 2),
        ("spectral", 0.3, APART),
        ("nuclear", 0.4, None),
    ):
        evidence[name] |= {"kkt_gap": gap, "kkt_gap_range": [gap, gap], "apart": apart}
    evidence["hybrid"] |= {"kkt_gap": None, "kkt_gap_range": [None, None]}
    (folder / "results.json").write_text(json.dumps(payload))
    problem = load(folder).claims[0].problems[0]
    assert Standing(problem, "l2").nearest_wrong == ("spectral", 0.3)
    assert Standing(problem, "l2").ratio == pytest.approx(30)
    assert Standing(problem, "hybrid").ratio is None
    assert Standing(problem, "no such norm").ratio is None
    assert Standing(problem, None).gap is None


@pytest.mark.parametrize(
    ("judged", "norm"),
    [("weighted l2", "weighted l2"), ("l2", "l2"), ("", "l2"), ("weighted linf", "l2"), ("linf", "l2")],
)
def test_a_problem_is_shown_under_the_norm_it_was_judged_for_if_that_is_the_claims(
    stored: Stored, judged: str, norm: str
) -> None:
    folder = stored(claims=1)
    payload = json.loads((folder / "results.json").read_text())
    payload["claims"][0] |= {"norm": "l2", "claim": "l2"}
    first = payload["claims"][0]["problems"][0]
    first["norm"] = judged
    first["evidence"]["weighted l2"] = first["evidence"]["l2"] | {"kkt_gap_range": [1e-9, 1e-9]}
    (folder / "results.json").write_text(json.dumps(payload))
    claim = load(folder).claims[0]
    shown = Standing.of(claim, claim.problems[0])
    assert shown.norm == norm
    assert shown.gap == first["evidence"][norm]["kkt_gap_range"][1]


def test_a_norm_that_a_problem_has_another_name_for_is_shown_as_judged(stored: Stored) -> None:
    folder = stored(claims=1)
    payload = json.loads((folder / "results.json").read_text())
    payload["claims"][0] |= {"norm": "weighted hybrid", "claim": "weighted hybrid"}
    payload["claims"][0]["problems"][0]["norm"] = "spectral"  # a matrix alone: no evidence under the joint name
    (folder / "results.json").write_text(json.dumps(payload))
    claim = load(folder).claims[0]
    shown = Standing.of(claim, claim.problems[0])
    assert shown.norm == "spectral"
    assert shown.gap is not None


def test_the_ratio_to_a_gap_of_zero_is_infinite(stored: Stored) -> None:
    folder = stored(claims=1)
    payload = json.loads((folder / "results.json").read_text())
    evidence = payload["claims"][0]["problems"][0]["evidence"]
    evidence["l2"]["kkt_gap_range"] = [-1e-17, -1e-17]
    evidence["linf"]["apart"] = APART
    (folder / "results.json").write_text(json.dumps(payload))
    assert Standing(load(folder).claims[0].problems[0], "l2").ratio == math.inf


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(payload: dict[str, Any]) -> None:
        value: Any = payload
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return apply


P = ("claims", 0, "problems", 0)
REFUSED = {
    "another schema": (change("schema", to=2), r"Invalid enum value 2 - at `\$\.schema`"),
    "another kind": (change("kind", to="solve"), r"Invalid enum value 'solve' - at `\$\.kind`"),
    "no kind": (lambda p: p.pop("kind"), "missing required field `kind`"),
    "no claims": (lambda p: p.pop("claims"), "missing required field `claims`"),
    "claims that are no list": (change("claims", to={}), r"Expected `array`, got `object` - at `\$\.claims`"),
    "a claim that is no object": (change("claims", to=[3]), r"Expected `object`, got `int` - at `\$\.claims\[0\]`"),
    "a number for a name": (change("claims", 0, "id", to=3), r"Expected `str`, got `int` - at `\$\.claims\[0\]\.id`"),
    "an unknown outcome": (change("claims", 0, "outcome", to="maybe"), r"'maybe' - at `\$\.claims\[0\]\.outcome`"),
    "an outcome that is no Unicode": (change("claims", 0, "outcome", to="\ud800"), "surrogates not allowed"),
    "a reason that is no text": (change("claims", 0, "reasons", to=[None]), r"claims\[0\]\.reasons\[0\]`"),
    "text for a number": (change(*P, "steps", to="many"), r"Expected `int`, got `str` .*problems\[0\]\.steps`"),
    "a truth value for a number": (change(*P, "degree", to=True), r"Expected `int \| float`, got `bool` .*\.degree`"),
    "a number for a truth value": (
        change(*P, "hypotheses", "separated", "met", to=1),
        r"Expected `bool \| null`, got `int` .*hypotheses\[\.\.\.\]\.met`",
    ),
    "evidence that is no object": (change(*P, "evidence", to=[]), r"Expected `object`, got `array` .*\.evidence`"),
    "a gap that is text": (change(*P, "evidence", "l2", "kkt_gap", to="0.1"), r"got `str` .*\[\.\.\.\]\.kkt_gap`"),
    "a gap that is a truth value": (change(*P, "evidence", "l2", "kkt_gap", to=True), r"got `bool` .*\.kkt_gap`"),
    "a range of three": (change(*P, "evidence", "l2", "kkt_gap_range", to=[0, 1, 2]), r"length 2, got 3 .*_range`"),
    "a path to elsewhere": (change(*P, "arrays", to="../secret.npz"), "leaves the folder"),
    "an absolute path": (change(*P, "arrays", to="/etc/passwd"), "leaves the folder"),
    "a path with a null": (change(*P, "arrays", to="a\0b"), "refers to the arrays 'a.x00b'"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_entry_is_named(stored: Stored, spoil: Callable[[dict[str, Any]], Any], message: str) -> None:
    folder = stored(claims=1)
    path = folder / "results.json"
    payload = json.loads(path.read_text())
    spoil(payload)
    path.write_text(json.dumps(payload))
    with pytest.raises(ReportError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; 'maxmargin verify --out"),
        (b'{"schema": 1, "kind": "ver', "is not JSON .* was it cut short"),
        (b"", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[]", "Expected `object`, got `array`"),
    ],
    ids=["missing", "truncated", "empty", "nested too deep", "not UTF-8", "a list"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(ReportError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1e999", "1" + "0" * 400])
def test_numbers_beyond_floats_count_as_not_measured(stored: Stored, text: str) -> None:
    folder = stored(claims=1)
    path = folder / "results.json"
    path.write_text(path.read_text().replace('"final_margin": 812.4', f'"final_margin": {text}'))
    assert math.isnan(load(folder).claims[0].problems[0].final_margin)


def test_a_message_stays_short_whatever_the_file_holds(stored: Stored) -> None:
    folder = stored(claims=1)
    payload = json.loads((folder / "results.json").read_text())
    payload["claims"][0]["outcome"] = "x" * 10_000
    (folder / "results.json").write_text(json.dumps(payload))
    with pytest.raises(ReportError, match=r"x … x+' - at `\$\.claims\[0\]\.outcome`") as refused:
        load(folder)
    assert len(str(refused.value)) <= LONGEST + len(str(folder / "results.json: "))


def arrays(tmp_path: Path, **stored: Any) -> Path:
    path = tmp_path / "a.npz"
    np.savez(path, **stored)
    return path


STEPS = np.array([1, 10, 100])


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"gap": STEPS}, "has no array 'steps'; it has gap"),
        ({"steps": np.array([3, 2, 1])}, "must be one increasing row"),
        ({"steps": np.array(["a", "b"])}, "must be one increasing row"),
        ({"steps": STEPS, "kkt_gap:l2": np.zeros((2, 4))}, r"'kkt_gap:l2' has shape \(2, 4\).*\(3 checkpoints, runs\)"),
        ({"steps": STEPS, "kkt_gap:l2": np.zeros(3)}, "has shape"),
        ({"steps": STEPS, "alignment:l2": np.zeros((3, 1), dtype=complex)}, "dtype complex128"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, stored: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        load_curves(arrays(tmp_path, **stored))


def test_pickled_arrays_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, steps=np.array([1, None], dtype=object))
    with pytest.raises(ReportError, match="not an npz of plain arrays"):
        load_curves(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"not a zip", b"\x80\x04N."])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ReportError, match="not an npz of plain arrays"):
        load_curves(path)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, steps=np.arange(1, 1000))
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ReportError, match="not an npz of plain arrays"):
        load_curves(path)


def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("steps.npy", "w") as entry:
        for _ in range(MAX_BYTES // 10_000_000 + 1):
            entry.write(bytes(10_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ReportError, match="unpacks to 260,000,000 bytes"):
        load_curves(path)


def test_a_plain_npy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as stream:
        np.save(stream, STEPS)
    with pytest.raises(ReportError, match="not an npz of plain arrays"):
        load_curves(path)


def test_a_band_is_the_median_and_range_over_finite_runs() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((50, 5))
    values[rng.random((50, 5)) < 0.3] = np.nan
    values[7] = np.nan
    values[8, 0] = np.inf
    band = Band.of(np.arange(50), values)
    kept = [i for i in range(1, 50) if i != 7]  # step 0 has no place on a log axis
    expected = np.where(np.isinf(values), np.nan, values)[kept]
    assert band.steps.tolist() == kept
    np.testing.assert_allclose(band.median, np.nanmedian(expected, axis=1), rtol=1e-15)
    np.testing.assert_array_equal(band.low, np.nanmin(expected, axis=1))
    np.testing.assert_array_equal(band.high, np.nanmax(expected, axis=1))


@pytest.mark.parametrize("count", [1, 199, 200, 201, 5000])
def test_long_curves_are_thinned_evenly_in_log_and_keep_their_ends(tmp_path: Path, count: int) -> None:
    steps = np.arange(1, count + 1)
    values = steps[:, None] / count
    band = load_curves(arrays(tmp_path, **{"steps": steps, "kkt_gap:l2": values})).gap["l2"]
    assert len(band.steps) <= MAX_POINTS
    assert (band.steps[0], band.steps[-1]) == (1, count)
    np.testing.assert_array_equal(band.median, band.steps / count)  # thinned, not averaged
    if count == 5000:
        late = band.steps > 500
        assert np.diff(np.log(band.steps[late])).max() < 0.06  # log(5000)/198 = 0.043


def test_a_norm_without_a_finite_value_has_no_curve(tmp_path: Path) -> None:
    stored = {"steps": STEPS, "kkt_gap:l2": np.full((3, 2), np.nan), "kkt_gap:linf": np.ones((3, 2)), "margin": STEPS}
    curves = load_curves(arrays(tmp_path, **stored))
    assert list(curves.gap) == ["linf"]
    assert curves.runs == 2
