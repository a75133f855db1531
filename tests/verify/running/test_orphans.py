"""Workers do not outlive the run that they work for, however it ends."""

import subprocess
import sys
import time
from pathlib import Path

SOURCE = """
import os, time, torch
class Slow(torch.optim.SGD):
    def step(self, closure=None):
        open({folder!r} + "/" + str(os.getpid()), "w").close()
        time.sleep(0.02 if len(os.listdir({folder!r})) > 1 else 0)
        super().step(closure)
"""
RUN = "from maxmargin.verify import check; check('mine.py:Slow', problems=['blocks', 'multiclass'])"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_run_leaves_no_worker(tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()
    # No twin stands in for it: it goes back at irregular calls, so its own processes make the long runs.
    late = "        self.calls = getattr(self, 'calls', 0) + 1\n        lr = self.param_groups[0]['lr']\n"
    late += "        self.param_groups[0]['lr'] = lr if self.calls**2 % 7 != 4 else -0.5 * lr\n"
    text = SOURCE.format(folder=str(seen)).replace("        super()", late + "        super()")
    text += "        self.param_groups[0]['lr'] = lr\n"
    (tmp_path / "mine.py").write_text(text)
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=tmp_path)
    for _ in range(1200):
        time.sleep(0.1)
        if len(list(seen.iterdir())) > 1 or run.poll() is not None:
            break
    workers = [int(path.name) for path in seen.iterdir() if int(path.name) != run.pid]
    assert workers, "no worker made a step"
    run.kill()
    run.wait()
    for _ in range(100):
        time.sleep(0.1)
        if not any(map(alive, workers)):
            return
    raise AssertionError(f"still running: {workers}")
