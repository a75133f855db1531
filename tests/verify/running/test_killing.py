"""Kill -9 at random moments: nothing lost, nothing done twice. ``MAXMARGIN_KILLS=50`` for the long run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MOMENTS = int(os.environ.get("MAXMARGIN_KILLS", "8"))


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
def test_nothing_is_lost_and_nothing_done_twice():
    script = Path(__file__).parents[2] / "killing.py"
    command = [sys.executable, str(script), "--moments", str(MOMENTS)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["killed"] >= MOMENTS
    assert found["inside writes"] > 0
    assert (found["lost or changed"], found["done twice"]) == (0, 0)
