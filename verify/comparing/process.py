"""A side's process, seen from the comparison: asked a question, it answers, and says how far it is meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.progress.report import Progress, silent

_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from maxmargin.verify.comparing.side import main
main()
"""


class SideProcess:
    """The process of one side.

    Attributes:
        name: ``A`` or ``B``.
        spec: Its target.
        about: Where the target was found, and its version.
    """

    def __init__(self, name: str, spec: str, kwargs: Mapping[str, Any]) -> None:
        self.name, self.spec, self.kwargs = name, spec, dict(kwargs)
        self.about: dict[str, Any] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def load(self) -> None:
        """Import the target there."""
        self.about = self.ask("load", spec=self.spec, kwargs=repr(self.kwargs))

    def ask(self, what: str, progress: Progress = silent, **fields: Any) -> dict[str, Any]:
        """Ask for something, and wait for it.

        Args:
            what: ``load``, ``play`` or ``check``.
            progress: Called as the work goes on.
            fields: Of the request.

        Returns:
            The answer.

        Raises:
            TargetError: when the optimizer cannot be loaded or checked, or ends its process.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": what, **fields}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; its status is below
        for line in stdout:
            reply = json.loads(line)
            if "progress" in reply:
                progress(*reply["progress"])
            elif "error" in reply:
                raise TargetError(f"{self.name}: {reply['error']}")
            else:
                return dict(reply["done"])
        status = self._process.wait()
        raise TargetError(
            f"{self.name}: the process of {self.spec} ended with status {status}; see above for its words"
        )
