"""A grid: what it crosses, what it refuses, and that what was done is done once, whatever happens to the file."""

import pytest

from maxmargin.models.errors import InputError
from maxmargin.reports.heat import heat_map
from maxmargin.verify.running import sweeping
from maxmargin.verify.running.cell import Cell
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.running.sweeping import LINES, Grid, parquet, read_rows, sweep

FILE = """
problems = ["blocks", "two-points"]
decays = [0.2, 0.5]
seeds = 2
steps = 300
[[optimizer]]
target = "signum"
kw = { beta = [0.5, 0.9] }
[[optimizer]]
target = "ngd"
"""


@pytest.fixture
def grid(tmp_path):
    def read(text=FILE):
        (tmp_path / "grid.toml").write_text(text)
        return Grid.read(tmp_path / "grid.toml")

    return read


@pytest.fixture
def counted(monkeypatch):
    ran = []

    def row(cell, parent=0):
        ran.append(cell.key)
        return {
            "key": cell.key, "optimizer": cell.optimizer, "arguments": cell.text, "problem": cell.problem,
            "decay": cell.decay, "norm": "l2", "gap.l2": 0.1, "error": None,
        }  # fmt: skip

    monkeypatch.setattr(sweeping, "row_of", row)
    return ran


def test_everything_is_crossed_and_each_cell_is_there_once(grid):
    cells = grid().cells()
    assert len(cells) == 3 * 2 * 2 * 2
    assert len({cell.key for cell in cells}) == len(cells)
    assert {dict(cell.arguments).get("beta") for cell in cells} == {0.5, 0.9, None}
    assert len(grid(FILE.replace("[0.5, 0.9]", "[0.9, 0.9]")).cells()) == 2 * 2 * 2 * 2


@pytest.mark.parametrize(
    ("optimizer", "problem", "file"),
    [
        ("rule.py:Rule", "blocks", "rule.py"),
        ("rule:Rule", "blocks", "rule.py"),
        ("signum", "points.csv", "points.csv"),
        ("signum", "points.csv@net.py:Net:width=4", "net.py"),
    ],
)
def test_a_changed_file_makes_another_cell(tmp_path, monkeypatch, optimizer, problem, file):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("rule.py", "points.csv", "net.py", "other.py"):
        (tmp_path / name).write_text("as it was")

    def key():
        return Cell(optimizer, (), problem, 0.5, 0, None, None).key

    before = key()
    (tmp_path / "other.py").write_text("as it is now")
    assert key() == before
    (tmp_path / file).write_text("as it is now")
    assert key() != before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("problems =", "problem =", "problem"),
        ('"blocks"', '"bloks"', "did you mean 'blocks'"),
        ("seeds = 2", 'seeds = "2"', "seeds"),
        ("seeds = 2", "seeds = 0", "at least one"),
        ("seeds = 2", "seeds = [-1]", "0 or more"),
        ("steps = 300", "steps = 0", "steps 1 or more"),
        ("steps = 300", 'claim = "l7"', "l7"),
        ("[0.2, 0.5]", "[1.5]", "from 0 to 1"),
        ("[0.2, 0.5]", "[nan]", "from 0 to 1"),
        ('"signum"', '"signun"', "signun"),
        ("beta", "betta", "betta"),
        ("problems", "\x00", "grid.toml"),
        (FILE, "", "problems"),
    ],
)
def test_a_bad_file_is_refused(grid, old, new, says):
    with pytest.raises(InputError, match=says):
        grid(FILE.replace(old, new, 1))


def test_what_is_done_is_not_done_again(grid, counted, tmp_path):
    rows = sweep(grid(), tmp_path / "out", backend=Backend())
    assert [row["key"] for row in rows] == [cell.key for cell in grid().cells()]
    assert sweep(grid(), tmp_path / "out", backend=Backend()) == rows
    assert len(counted) == 24
    more = sweep(grid(FILE.replace("seeds = 2", "seeds = 3")), tmp_path / "out", backend=Backend())
    assert (len(more), len(counted)) == (36, 36)


@pytest.mark.parametrize("byte", range(0, 900, 150))
def test_a_torn_or_damaged_line_is_run_again_and_no_other(grid, counted, tmp_path, byte):
    rows = sweep(grid(), tmp_path / "out", backend=Backend())
    file = tmp_path / "out" / LINES
    data = bytearray(file.read_bytes())
    data[byte] ^= 1
    file.write_bytes(data[:-10])
    assert sweep(grid(), tmp_path / "out", backend=Backend()) == rows
    assert 25 <= len(counted) <= 26  # two, unless the byte was a blank line's
    assert len(read_rows(file)) == 24


def test_an_error_is_a_row_and_is_tried_again(tmp_path):
    cell = Cell("signum", (("beta", 2.0),), "blocks", 0.2, 0, 10, None)
    assert "beta" in cell.run()["error"]


def test_a_cell_does_not_depend_on_where_it_runs(grid, tmp_path):
    text = FILE.replace('"two-points"', '"multiclass"').replace("seeds = 2", "seeds = 1").replace("300", "30_000")
    here = sweep(grid(text), tmp_path / "here", backend=Backend())
    there = sweep(grid(text), tmp_path / "there", backend=Backend("threads", workers=2))
    assert _without_time(here) == _without_time(there)
    assert all(row["error"] is None for row in here)
    assert len({row["gap.l2"] for row in here}) == len(here)
    page = heat_map(here)
    assert page == heat_map(there)
    assert "signum(beta=0.5)" in page


def test_pandas_reads_the_table(tmp_path):
    pytest.importorskip("pyarrow", reason="an extra: pip install 'maxmargin[sweep]'")
    pandas = pytest.importorskip("pandas", reason="what reads it")
    (tmp_path / "t.parquet").write_bytes(parquet([{"a": 1, "b": "x"}, {"a": 2.5, "b": None}, {"a": None, "b": 3}]))
    table = pandas.read_parquet(tmp_path / "t.parquet")
    assert table["a"].tolist()[:2] == [1.0, 2.5]
    assert table["b"].dropna().tolist() == ["x", "3"]


def _without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
