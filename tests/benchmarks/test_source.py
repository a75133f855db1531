"""The mutations of our own source are faults of it as it is now; the script sees a fault and no other."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


MUTATIONS = loaded("source_mutations").MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.file}: {m.why}")
def test_the_old_text_is_there_once_and_the_new_file_is_python(mutation):
    text = (ROOT / mutation.file).read_text()
    assert text.count(mutation.old) == 1
    compile(text.replace(mutation.old, mutation.new), mutation.file, "exec")


def test_there_are_sixty_and_none_twice():
    keys = {(m.file, m.old, m.new) for m in MUTATIONS}
    assert len(keys) == len(MUTATIONS) >= 60


def test_a_text_that_is_there_twice_or_never_is_refused(tmp_path):
    bench = loaded("bench_source")
    (tmp_path / "a.py").write_text("x = 1\ny = 1\n")
    for old in ("= 1", "z"):
        with pytest.raises(ValueError, match="needed is once"):
            bench.mutated(bench.Mutation("a.py", old, "", ""), tmp_path)
