"""The tables that come with the package: from the benchmarks' rows to the page, and what a damaged one does."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from html_page import Page
from msgspec.structs import replace

from maxmargin.reports.mutants import Case, Found, MutantTable, Tally
from maxmargin.reports.published import MUTANTS, TABLES, THIRD_PARTY, Published, without_places
from maxmargin.reports.render import render
from maxmargin.reports.third_party import Entry, ThirdPartyTable
from maxmargin.verify.results.encoding import ReportError

Stored = Callable[..., Path]
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{ 7*7 }}'


def benchmark(name: str) -> ModuleType:
    """A script of tests/benchmarks, which is no package."""
    spec = importlib.util.spec_from_file_location(f"maxmargin_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def case(name: str, kind: str, broken: bool, outcomes: str, *, norm: str = "l2", told: bool = True) -> Case:
    """A row whose outcomes are h, f, i, e or - (not run), a letter a seed; what holds is of the given norm."""
    words = {"h": "holds", "f": "fails", "i": "inconclusive", "e": "error"}
    found = {
        seed: Found(words[letter], norm if letter == "h" else None)
        for seed, letter in enumerate(outcomes)
        if letter != "-"
    }
    honest = ("fails", "inconclusive") if broken else ("holds",)
    return Case(name, kind, f"{name} is so.", "l2", told, broken, honest, found, f"reason of {name}")


CASES = (
    case("flipped", "sign", True, "fff"),
    case("slow", "scale", True, "ifi"),
    case("unseen", "scale", True, "hfe"),
    case("plain", "rewritten", False, "hhh"),
    case("odd", "rewritten", False, "hfi", told=False),
    case("misread", "harmless", False, "hhh", norm="linf", told=False),
)
TABLE = MutantTable("quick", (0, 1, 2), {"maxmargin": "0.1.0", "torch": "2.13.0"}, CASES)


def entry(package: str, name: str, outcome: str, **change: Any) -> Entry:
    numbers = {"signature": None, "alignment": None, "margin_lost": None, "floor": None, "floor_step": None}
    spec = f"{package}.optim:{name}"
    plain = Entry(package, "1.2", spec, "", outcome, approximate=False, norm="linf", named=True, found=(), **numbers)
    return replace(plain, **change)


OTHERS = ThirdPartyTable(
    "quick",
    0,
    {"maxmargin": "0.1.0"},
    ("absent",),
    (
        entry("torch", "Adam", "fails", arguments="eps=0.0, betas=(0.9, 0.95)", floor=1e-8, floor_step=1200.0),
        entry("lion", "Lion", "holds", signature=1.0, alignment=0.9994, margin_lost=2.5e-3),
        entry("torch", "Muon", "fails", approximate=True, norm="spectral", signature=0.842, found=("rounded", "late")),
        entry("torch", "LBFGS", "refused", norm=None, named=False, found=("needs a closure",)),
        entry("torch", "Rprop", "inconclusive", named=False),
        entry("torch", "SGD", "holds", norm="l2"),
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both tables, as files."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / MUTANTS).write_text(json.dumps(TABLE.to_json()), encoding="utf-8")
    (tables / THIRD_PARTY).write_text(json.dumps(OTHERS.to_json()), encoding="utf-8")
    return tables


def load(path: Path) -> MutantTable | ThirdPartyTable:
    return MutantTable.load(path) if path.name == MUTANTS else ThirdPartyTable.load(path)


@pytest.mark.parametrize("name", [MUTANTS, THIRD_PARTY])
def test_the_tables_of_the_package_are_whole(name: str) -> None:
    """Here a damaged table is an error, not on a user's page; before the benchmarks are run there is none."""
    if not (TABLES / name).exists():
        pytest.skip(f"{name} has not been measured yet")
    table = load(TABLES / name)
    assert json.loads((TABLES / name).read_text(encoding="utf-8")) == table.to_json()
    assert isinstance(table, ThirdPartyTable) or table.complete


def test_every_file_beside_the_tables_is_one_of_them() -> None:
    assert {path.name for path in TABLES.glob("*")} <= {MUTANTS, THIRD_PARTY}


def test_verdicts_are_counted_seed_by_seed() -> None:
    assert TABLE.tallies == {
        0: Tally(1, 1, 1, 1, 0, held=2, false_alarms=0, misnamed=1, correct_undecided=0, correct_lost=0),
        1: Tally(3, 0, 0, 0, 0, held=1, false_alarms=1, misnamed=1, correct_undecided=0, correct_lost=0),
        2: Tally(1, 1, 1, 0, 1, held=1, false_alarms=0, misnamed=1, correct_undecided=1, correct_lost=0),
    }
    summary = TABLE.to_json()["summary"]
    assert [seed["detection_rate"] for seed in summary["seeds"].values()] == [0.3333, 1.0, 0.3333]
    assert (summary["broken"], summary["correct"], summary["stable"]) == (3, 3, 3)


def test_an_honest_inconclusive_is_counted_as_such_only_where_it_is_one() -> None:
    strict = replace(CASES[1], honest=("fails",))
    assert Tally.of([strict], 0).honestly == 0
    assert Tally.of([CASES[1]], 0).honestly == 1


def test_a_verdict_is_stable_if_its_outcome_is_and_what_holds_is_one_norm() -> None:
    two = {0: Found("holds", "l2"), 1: Found("holds", "linf")}
    assert not replace(CASES[3], found=two).stable
    assert replace(CASES[0], found={0: Found("fails", "l2"), 1: Found("fails", None)}).stable, (
        "no norm is claimed by it"
    )


def test_what_was_not_run_is_neither_caught_nor_complete() -> None:
    table = replace(TABLE, cases=(case("cut off", "sign", True, "ff-"), CASES[3]))
    assert table.tallies[2].refuted == 0
    assert table.tallies[2].lost == 1
    assert table.stable == 1
    assert not table.complete
    assert replace(table, seeds=(0, 1)).complete
    assert not replace(TABLE, cases=TABLE.broken).complete


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        (
            (CASES[0], CASES[3]),
            "1 of 1 broken optimizers refuted (at most 95.0 % missed); 0 of 1 correct ones refuted (at most 95.0 %); "
            "the same in 3 runs with other seeds.",
        ),
        (
            CASES,
            "1–3 of 3 broken optimizers refuted (at most 98.3 % missed), 0–1 undecided, 0–1 not noticed, 0–1 not "
            "finished; 0–1 of 3 correct ones refuted (at most 86.5 %), 0–1 undecided, 1 given a wrong norm; "
            "3 of 6 verdicts the same in 3 runs with other seeds.",
        ),
        (CASES[3:4], "0 of 1 correct ones refuted (at most 95.0 %); the same in 3 runs with other seeds."),
    ],
)
def test_the_sentence_says_the_counts(cases: tuple[Case, ...], sentence: str) -> None:
    assert replace(TABLE, cases=cases).sentence == sentence


def test_an_answer_other_than_holds_may_be_right() -> None:
    row = replace(CASES[3], honest=("data-dependent",))
    assert [replace(row, found={0: Found("fails", None, said)}).note(0) for said in ("data-dependent", None)] == [
        "",
        "false alarm",
    ]
    assert replace(row, found={0: Found("holds", "l2")}).note(0) == "said to be: holds"
    assert Tally.of([replace(row, found={0: Found("fails", None, "data-dependent")})], 0).held == 1


def test_one_seed_has_nothing_to_compare_with() -> None:
    assert replace(TABLE, seeds=(1,)).sentence.endswith(
        "1 of 3 correct ones refuted (at most 86.5 %), 1 given a wrong norm."
    )


def test_the_files_hold_the_tables(folder: Path) -> None:
    assert Published.of(folder) == Published(TABLE, OTHERS)


def test_a_missing_table_is_left_out_and_the_other_stays(folder: Path) -> None:
    (folder / MUTANTS).unlink()
    assert Published.of(folder) == Published(None, OTHERS)
    assert Published.of(folder / "nowhere") == Published(None, None)


def _summary(payload: dict[str, Any]) -> None:
    payload["summary"]["seeds"]["0"]["refuted"] += 1


def _flip(payload: dict[str, Any]) -> None:
    payload["rows"][0]["outcomes"]["0"]["outcome"] = "holds"


DAMAGES: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "another schema": (MUTANTS, lambda p: p.update(schema=2), r"Invalid enum value 2 - at `\$\.schema`"),
    "the other table": (MUTANTS, lambda p: p.update(kind="third_party"), r"value 'third_party' - at `\$\.kind`"),
    "prettier summary": (MUTANTS, _summary, r"summary is not what its rows add up to"),
    "changed verdict": (MUTANTS, _flip, r"summary is not what its rows add up to"),
    "no seeds": (MUTANTS, lambda p: p.update(seeds=[]), r"`array` of length >= 1 - at `\$\.seeds`"),
    "seed of text": (MUTANTS, lambda p: p.update(seeds=["0"]), r"Expected `int`, got `str` - at `\$\.seeds\[0\]`"),
    "no rows": (MUTANTS, lambda p: p.pop("rows"), r"missing required field `rows`"),
    "unknown outcome": (
        MUTANTS,
        lambda p: p["rows"][1]["outcomes"]["0"].update(outcome="fine"),
        r"value 'fine' - at `\$\.rows\[1\]\.outcomes\[\.\.\.\]\.outcome`",
    ),
    "broken is text": (MUTANTS, lambda p: p["rows"][0].update(broken="yes"), r"got `str` - at `\$\.rows\[0\]\.broken`"),
    "versions a list": (MUTANTS, lambda p: p.update(versions=[1]), r"got `array` - at `\$\.versions`"),
    "number of text": (
        THIRD_PARTY,
        lambda p: p["rows"][0].update(floor="1e-8"),
        r"got `str` - at `\$\.rows\[0\]\.floor`",
    ),
    "no seed": (THIRD_PARTY, lambda p: p.pop("seed"), r"missing required field `seed`"),
    "found no list": (
        THIRD_PARTY,
        lambda p: p["rows"][0].update(found="eps"),
        r"got `str` - at `\$\.rows\[0\]\.found`",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named_to_the_developer_and_kept_from_the_user(
    damage: str, folder: Path, stored: Stored
) -> None:
    name, change, message = DAMAGES[damage]
    payload = json.loads((folder / name).read_text(encoding="utf-8"))
    change(payload)
    (folder / name).write_text(json.dumps(payload), encoding="utf-8")
    with pytest.raises(ReportError, match=message):
        load(folder / name)
    page = published(stored(claims=1, figures=False), folder)
    assert ("faults" in page.values("id"), "others" in page.values("id")) == (name != MUTANTS, name != THIRD_PARTY)
    assert ("#faults" in page.values("href"), "#others" in page.values("href")) == (
        name != MUTANTS,
        name != THIRD_PARTY,
    )


@pytest.mark.parametrize("content", [b"", b'{"schema": 1', b"\xff\xfe", b"[]", b"[" * 100_000])
def test_a_file_that_is_no_table_at_all_is_kept_from_the_user_too(content: bytes, folder: Path) -> None:
    (folder / MUTANTS).write_bytes(content)
    with pytest.raises(ReportError):
        MutantTable.load(folder / MUTANTS)
    assert Published.of(folder) == Published(None, OTHERS)


def test_without_tables_there_is_no_such_page_and_no_link_to_it(stored: Stored, tmp_path: Path) -> None:
    path = render(stored(claims=1, figures=False), tables=tmp_path / "nowhere")
    assert "published" not in path.read_text(encoding="utf-8")
    assert not (path.parent / "published.html").exists()


def published(results: Path, tables: Path) -> Page:
    """The page of the tables, which lies beside that of some results."""
    return Page(render(results, tables=tables).with_name("published.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["verify", "check"])
def test_the_tables_are_linked_and_not_pasted_into_the_page(kind: str, stored: Stored, folder: Path) -> None:
    path = render(stored(claims=1, kind=kind, figures=False), tables=folder)
    page = Page(path.read_text(encoding="utf-8"))
    assert "published.html" in page.values("href")
    assert "flipped" not in page.text
    assert "Lion" not in page.text


def test_the_page_shows_every_verdict_with_its_kind(stored: Stored, folder: Path) -> None:
    page = published(stored(claims=1, figures=False), folder)
    assert TABLE.sentence in page.text
    assert "seeds 0, 1, 2" in page.text
    assert [" | ".join(row).replace(" # ", " ") for row in page.rows("broken")] == [
        "Optimizer, and why | Kind | Claim | Seed 0 | Seed 1 | Seed 2 | First reason given",
        "flipped flipped is so. | sign | l2 | ✗ FAILS | ✗ FAILS | ✗ FAILS | reason of flipped",
        "slow slow is so. | scale | l2 | ? INCONCLUSIVE | ✗ FAILS | ? INCONCLUSIVE | reason of slow",
        "unseen unseen is so. | scale | l2 | ✓ HOLDS not noticed | ✗ FAILS | – ERROR | reason of unseen",
    ]
    assert [" | ".join(row).replace(" # ", " ") for row in page.rows("correct")][1:] == [
        "plain plain is so. | rewritten | l2 | ✓ HOLDS | ✓ HOLDS | ✓ HOLDS | reason of plain",
        "odd odd is so. | rewritten | l2 to be found | ✓ HOLDS | ✗ FAILS false alarm | ? INCONCLUSIVE | reason of odd",
        "misread misread is so. | harmless | l2 to be found | ✓ HOLDS wrong norm: linf | ✓ HOLDS wrong norm: linf "
        "| ✓ HOLDS wrong norm: linf | reason of misread",
    ]


def test_the_page_shows_other_peoples_optimizers_and_folds_what_was_found(stored: Stored, folder: Path) -> None:
    page = published(stored(claims=1, figures=False), folder)
    assert "6 optimizers of 2 packages: 2 maximize a norm’s margin, 2 do not (1 of them approximately)" in page.text
    assert "1 is not decided; 1 could not be checked." in page.text
    assert "Not installed, so not measured: absent." in page.text
    assert [" | ".join(row).replace(" #", "") for row in page.rows("rows")][1:] == [
        "Adam eps=0.0, betas=(0.9, 0.95) | torch 1.2 | ✗ FAILS | linf | – | – | – | 1.0×10⁻⁸ from step 1,200 | –",
        "Lion | lion 1.2 | ✓ HOLDS | linf | 1.000 | 0.999 | 2.5×10⁻³ | – | –",
        "Muon | torch 1.2 | ✗ FAILS approximately | spectral | 0.842 | – | – | – | 2 findings rounded late",
        "LBFGS | torch 1.2 | – REFUSED | – | – | – | – | – | 1 finding needs a closure",
        "Rprop | torch 1.2 | ? INCONCLUSIVE | none, nearest: linf | – | – | – | – | –",
        "SGD | torch 1.2 | ✓ HOLDS | l2 | – | – | – | – | –",
    ]
    assert not [name for tag, name, _ in page.attributes if (tag, name) == ("details", "open")]


def test_hostile_texts_in_a_table_are_shown_not_obeyed(stored: Stored, folder: Path) -> None:
    results = stored(claims=1, figures=False)
    clean = published(results, folder)
    bad = [replace(c, name=HOSTILE, kind=HOSTILE, why=HOSTILE, claim=HOSTILE, reason=HOSTILE) for c in CASES]
    table = replace(TABLE, tier=HOSTILE, versions={HOSTILE: HOSTILE}, cases=tuple(bad))
    (folder / MUTANTS).write_text(json.dumps(table.to_json()), encoding="utf-8")
    text: dict[str, Any] = dict.fromkeys(("package", "version", "optimizer", "arguments", "norm", "said"), HOSTILE)
    rows = tuple(replace(e, **text, found=(HOSTILE,)) for e in OTHERS.entries)
    others = replace(OTHERS, versions={HOSTILE: HOSTILE}, missing=(HOSTILE,), entries=rows)
    (folder / THIRD_PARTY).write_text(json.dumps(others.to_json()), encoding="utf-8")
    assert Published.of(folder) == Published(table, others)
    page = published(results, folder)
    assert set(page.tags) == set(clean.tags)
    assert page.tags["script"] == 1
    assert page.text.count("{{ 7*7 }}") > 50


def test_ids_of_the_tables_page_are_unique_and_its_links_lead_somewhere(stored: Stored, folder: Path) -> None:
    page = published(stored(claims=1, figures=False), folder)
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert {"#faults", "#others"} <= set(page.values("href")) <= {*(f"#{name}" for name in ids), "index.html"}
    assert set(page.values("data-for")) <= set(ids)


def test_every_table_header_is_scoped(stored: Stored, folder: Path) -> None:
    page = published(stored(claims=1, figures=False), folder)
    assert re.findall(r"<th (?![^>]*scope=)[^>]*>", page.html) == []


# The benchmarks that write the tables.


def options(tmp_path: Path, **change: Any) -> argparse.Namespace:
    files = {"table": tmp_path / "people.md", "out": tmp_path / "people.md", "data": tmp_path / "data.json"}
    return argparse.Namespace(**{"seeds": [0, 1], "tier": "quick", "problem": None} | files | change)


def described(name: str, broken: bool, claim: str = "l2") -> dict[str, Any]:
    row = {"name": name, "kind": "sign", "why": "so.", "claim": claim, "told": True, "honest": ["fails"]}
    return row | {"broken": broken, "kwargs": {}, "target": "x:Y"}


def done(**outcomes: str) -> dict[tuple[str, int], dict[str, Any]]:
    words = {"h": "holds", "f": "fails", "i": "inconclusive"}
    return {
        (name, seed): {
            "outcome": words[letter],
            "norm": "l2",
            "reason": f"seed {seed} in /opt/place/x.py | why",
            "seconds": 3,
        }
        for name, letters in outcomes.items()
        for seed, letter in enumerate(letters)
    }


def test_the_mutants_benchmark_writes_what_the_page_reads(tmp_path: Path) -> None:
    bench = benchmark("bench_mutants")
    given = [described("flipped", True), described("plain", False)]
    table = bench.write(given, done(flipped="fi", plain="hh"), options(tmp_path))
    assert MutantTable.load(tmp_path / "data.json") == table
    assert table.cases[0].found == {0: Found("fails", "l2"), 1: Found("inconclusive", "l2")}
    assert table.cases[0].reason == "seed 0 in …/x.py | why"
    assert table.complete
    text = (tmp_path / "people.md").read_text(encoding="utf-8")
    assert "| flipped | sign | l2 | fails | **inconclusive** | seed 0 in …/x.py \\| why | 3 |" in text
    assert "0–1 of" not in text.partition("- seed 1")[2]
    assert "- not the same with every seed: flipped." in text
    first = (tmp_path / "data.json").read_bytes()
    bench.write(given, done(flipped="fi", plain="hh"), options(tmp_path))
    assert (tmp_path / "data.json").read_bytes() == first


@pytest.mark.parametrize(
    ("outcomes", "change"),
    [
        ({"flipped": "fff", "plain": "hh"}, {}),
        ({"flipped": "fff"}, {}),
        ({"flipped": "fff", "plain": "hhh"}, {"problem": ["binary"]}),
        ({"flipped": "fff", "plain": "hhh"}, {"seeds": [0, 1]}),
    ],
)
def test_a_partial_run_of_the_mutants_does_not_become_the_published_table(
    outcomes: dict[str, str], change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benchmark("bench_mutants")
    monkeypatch.setattr(bench, "PUBLISHED", tmp_path / "published.json")
    given = [described("flipped", True), described("plain", False)]
    bench.write(given, done(**outcomes), options(tmp_path, data=None, **{"seeds": [0, 1, 2]} | change))
    assert (tmp_path / "people.md").exists()
    assert not (tmp_path / "published.json").exists()
    bench.write(given, done(flipped="fff", plain="hhh"), options(tmp_path, data=None, seeds=[0, 1, 2]))
    assert MutantTable.load(tmp_path / "published.json").complete


def test_the_mutants_benchmark_describes_every_class() -> None:
    bench = benchmark("bench_mutants")
    given = bench.described(bench.rows_of())

    def right(row: dict[str, Any]) -> dict[str, Any]:
        answer = None if row["broken"] else row["honest"][0]
        outcome = "fails" if answer in ("data-dependent", "holds to a factor") else "holds"
        return {"outcome": outcome, "norm": row["claim"], "answer": answer, "reason": ""}

    verdicts = {(row["name"], 0): right(row) for row in given}
    table = bench.gathered(given, verdicts, [0], "quick", {})
    assert len(table.cases) == len(given)
    assert all(c.why and "``" not in c.why and "\n" not in c.why for c in table.cases)
    assert table.tallies[0].unnoticed == len(table.broken)
    assert table.tallies[0].held == len(table.correct)


def measured(bench: ModuleType, row: Any, **change: Any) -> dict[str, Any]:
    base = {"key": row.key, "package": row.package, "spec": row.spec, "kwargs": row.kwargs, "version": "9"}
    return json.loads(json.dumps(base | {"outcome": "holds", "norm": "l2", "named": True, "seconds": 2.0} | change))


def test_the_third_party_benchmark_writes_what_the_page_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = benchmark("bench_third_party")
    sgd, adam, lion = bench.Row("torch", "torch.optim:SGD"), bench.Row("torch", "torch.optim:Adam", bench.EXACT_ADAM), (
        bench.Row("a-lion", "certainly_not_installed:Lion")
    )  # fmt: skip
    monkeypatch.setattr(bench, "ROWS", (sgd, adam, lion))
    monkeypatch.setattr(bench, "PUBLISHED", tmp_path / "published.json")
    finished = {sgd.key: measured(bench, sgd, outcome="error", norm=None, named=False, error="no /opt/lib/a.py | b")}
    bench.write(finished, options(tmp_path, data=None))
    assert not (tmp_path / "published.json").exists(), "Adam is installed and missing"
    found = {"outcome": "fails", "signature": 0.9, "floor": 1e-8, "floor_step": 12, "reasons": ["it levels off"]}
    finished[adam.key] = measured(bench, adam, **found)
    table = bench.write(finished, options(tmp_path, data=None))
    assert ThirdPartyTable.load(tmp_path / "published.json") == table
    assert table.missing == ("a-lion",)
    assert table.entries[0].found == ("no …/a.py | b",)
    assert table.entries[1].found == ("it levels off",), "a verdict that is no HOLDS says why"
    assert table.entries[1].call == "Adam(eps=0.0, betas=(0.9, 0.95))"
    text = (tmp_path / "people.md").read_text(encoding="utf-8")
    assert (
        "| torch | `Adam(eps=0.0, betas=(0.9, 0.95))` | l2 | **refuted** | – | 0.900 | – | – | 1e-08 | 12 | it" in text
    )
    assert "| torch | `SGD()` | – | **error** | – | – | – | – | – | – | no …/a.py \\| b |" in text
    assert "Not installed, and left out: a-lion." in text


def test_every_outcome_of_the_third_party_benchmark_can_be_read(tmp_path: Path) -> None:
    bench = benchmark("bench_third_party")
    row = bench.Row("torch", "torch.optim:SGD")
    source = (BENCHMARKS / "bench_third_party.py").read_text(encoding="utf-8")
    written = set(re.findall(r'"outcome": "([a-z ]+)"', source)) | {"holds", "fails", "inconclusive"}
    assert {"refused", "error", "not finished"} <= written
    entries = tuple(bench.entry(measured(bench, row, outcome=outcome)) for outcome in sorted(written))
    table = replace(OTHERS, entries=entries)
    (tmp_path / "x.json").write_text(json.dumps(table.to_json()), encoding="utf-8")
    assert ThirdPartyTable.load(tmp_path / "x.json") == table


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("see /opt/a-b/c.d/e.py:3", "see …/e.py:3"),
        ("'/opt/x/y'", "'…/y'"),
        ("a step of 1/2 and rows/cols, I/O, km/h", "a step of 1/2 and rows/cols, I/O, km/h"),
        ("C:/Programs/me/x.py", "…/x.py"),
        ("tests/theory/mutants.py:Sign", "tests/theory/mutants.py:Sign"),
        ("‖θ‖ / Σ η", "‖θ‖ / Σ η"),
    ],
)
def test_no_folder_of_a_machine_gets_into_a_table(text: str, wanted: str) -> None:
    assert without_places(text) == wanted
