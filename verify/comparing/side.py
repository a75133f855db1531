"""One side of a comparison, in a process of its own: it loads its optimizer, makes steps, and checks it when asked.

Requests come as lines of JSON on standard input, replies go as lines of JSON to what was standard output; whatever
else is printed goes to standard error. Steps travel in a file.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from maxmargin.models import plugins
from maxmargin.models.errors import InputError
from maxmargin.verify.blackbox.as_torch import as_target
from maxmargin.verify.blackbox.source import file_of
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.rehearsal import Play, played
from maxmargin.verify.progress.report import Progress


class Side:
    """The optimizer of this process.

    Attributes:
        spec: Without the folder.
        kwargs: Its constructor's arguments.
        target: As it makes steps; one of our own behind torch's interface.
    """

    def __init__(self, spec: str, kwargs: Mapping[str, Any]) -> None:
        """Load the target.

        Args:
            spec: ``module:attr``, ``file.py:attr``, a name of ours, or ``FOLDER::module:attr``.
            kwargs: Arguments.

        Raises:
            TargetError: when it cannot be loaded, or was not found in the folder that was given.
        """
        folder, separated, rest = spec.partition("::")
        self.spec, self.kwargs = (rest if separated else spec), dict(kwargs)
        self._folder = Path(folder).resolve() if separated else None
        if self._folder is not None:
            if not self._folder.is_dir():
                raise TargetError(f"{folder!r} in {spec!r} is not a folder; give FOLDER::module:attr")
            sys.path.insert(0, str(self._folder))
        loaded = load(self.spec, self.kwargs)
        self.target = loaded if loaded.native is None else as_target(loaded.native, self.spec)
        file = file_of(loaded)
        self.file = str(file) if file is not None else None
        if self._folder is not None and (self.file is None or self._folder not in Path(self.file).parents):
            raise TargetError(
                f"{self.spec} was imported from {self.file}, not from {folder}; install it there: "
                f"pip install --target {folder} --no-deps PACKAGE==VERSION"
            )

    def about(self) -> dict[str, Any]:
        """Where it was found, and which release it is of."""
        top = self.spec.partition(":")[0].partition(".")[0]
        version = None
        with suppress(importlib.metadata.PackageNotFoundError, ValueError):
            version = importlib.metadata.version(top)
        return {"file": self.file, "version": version}

    def play(self, plays: Sequence[Play], path: str, tell: Progress, torch_seed: int = 0) -> dict[str, Any]:
        """Make the steps of some plays, and store them.

        Args:
            plays: All on the same shapes.
            path: The file.
            tell: Called with (plays done, plays, kind).
            torch_seed: Of what the optimizer draws.

        Returns:
            Nothing, or {"refused": the reason}.
        """
        arrays: dict[str, np.ndarray] = {}
        try:
            for done, play in enumerate(plays):
                moves = list(played(self.target, play, torch_seed=torch_seed))
                for i in range(len(play.shapes)):
                    arrays[f"{done}:{i}"] = np.stack([move.update[i].numpy() for move in moves])
                arrays[f"{done}:rounding"] = np.array([move.rounding for move in moves])
                tell(done + 1, len(plays), play.kind)
        except TargetError as error:
            return {"refused": str(error)}
        np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
        return {}

    def check(self, claim: str | None, tier: str, seed: int, tell: Progress) -> dict[str, Any]:
        """What it maximizes: the JSON of ``check``, and its sentence."""
        from maxmargin.verify.running.checking import check

        verdict = check(self.spec, kwargs=self.kwargs, claim=claim, tier=tier, seed=seed, progress=tell)
        return {"verdict": verdict.to_json(), "sentence": f"{verdict.outcome.name}: {verdict.sentence}"}


def main() -> None:
    """Serve requests until standard input ends."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the optimizer prints
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)

    def reply(**fields: Any) -> None:
        replies.write(json.dumps(fields) + "\n")
        replies.flush()

    def tell(done: float, total: float, text: str = "", /) -> None:
        reply(progress=[done, total, text])

    side: Side | None = None
    for line in requests:
        request = json.loads(line)
        what = request.pop("do")
        try:
            if what == "load":
                plugins.load()
                side = Side(request["spec"], dict(ast.literal_eval(request["kwargs"])))  # in which tuples stay tuples
                reply(done=side.about())
            else:
                assert side is not None
                reply(done=answer(side, what, request, tell))
        except InputError as error:
            reply(error=str(error))
        except KeyboardInterrupt:  # it went to the comparison as well, which says what there is to say
            return


def answer(side: Side, what: str, request: Mapping[str, Any], tell: Progress) -> dict[str, Any]:
    """Answer one request to make steps or to check."""
    if what == "check":
        return side.check(tell=tell, **request)
    plays = [
        Play(**{**play, "shapes": {name: tuple(shape) for name, shape in play["shapes"].items()}})
        for play in request["plays"]
    ]
    return side.play(tell=tell, **{**request, "plays": plays})
