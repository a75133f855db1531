"""One cell of a sweep: an optimizer with its arguments on a problem, with a schedule and a seed; it gives one row.

A cell is a pure function of its specification, and its key a hash of that, of the versions of what computes it, and of
the files that its optimizer and its problem name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maxmargin.models import problems
from maxmargin.models.errors import InputError
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.run import paced_for
from maxmargin.verify.evidence.hypotheses import Known
from maxmargin.verify.evidence.measure import Effort
from maxmargin.verify.judging.conclusion import nearest_norm
from maxmargin.verify.lab.examine import Exam, Laboratory
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.results.store import digest_of, fingerprint_of
from maxmargin.verify.running.job import Job
from maxmargin.verify.running.orphans import end_with
from maxmargin.verify.running.trial import Plan, Trial
from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK
from maxmargin.verify.thresholds.training import ENGINE_STEPS, LINEAR_START, NETWORK_START
from maxmargin.verify.training.train import Training

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """The specification.

    Attributes:
        optimizer: A target of ``check``.
        arguments: Its arguments, sorted by name.
        problem: By name.
        decay: The pace falls like t^(−decay).
        seed: Of the starts.
        steps: Of the run; None for those of the quick tier.
        claim: The norm that is judged; None for the optimizer's own, or else the nearest.
    """

    optimizer: str
    arguments: tuple[tuple[str, Any], ...]
    problem: str
    decay: float
    seed: int
    steps: int | None
    claim: str | None

    @property
    def native(self) -> bool:
        """Whether the engine runs it."""
        return ":" not in self.optimizer

    @property
    def key(self) -> str:
        """A hash of all that the row depends on."""
        named = (*_files(self.optimizer), *_files(self.problem))
        return fingerprint_of(versions(), self, *map(digest_of, named))

    def run(self, parent: int = 0) -> Row:
        """Train, measure and judge.

        Args:
            parent: The process to end with; 0 for none.

        Returns:
            A flat row: numbers, text and None. What the optimizer or the problem refuses stands in ``error``.
        """
        if parent:
            end_with(parent)
        started = time.perf_counter()
        row: Row = {"key": self.key, "optimizer": self.optimizer, "arguments": self.text}
        row |= {f"kw.{name}": _plain(value) for name, value in self.arguments}
        row |= {k: v for k, v in asdict(self).items() if k in ("problem", "decay", "seed")}
        try:
            found = self._verdict()
            row |= {
                "error": None,
                "steps": found.steps,
                "norm": found.norm,
                "outcome": found.outcome.value,
                "margin": found.final_margin,
                "separated": found.separated_runs == found.runs,
            }
            row |= {f"gap.{name}": e.kkt_gap for name, e in found.evidence.items()}
            row |= {f"alignment.{name}": e.alignment for name, e in found.evidence.items()}
        except InputError as error:
            row |= {"error": f"{type(error).__name__}: {error}"}
        return row | {"seconds": round(time.perf_counter() - started, 3)}

    @property
    def text(self) -> str:
        """The arguments in words."""
        return ", ".join(f"{name}={value}" for name, value in self.arguments)

    def _verdict(self) -> ProblemVerdict:
        target = load(self.optimizer, dict(self.arguments))
        claim = None if self.claim is None else get_norm(self.claim)
        if target.native is None:
            laboratory = Laboratory(target, self.seed)
            trial = Trial.of(laboratory, [self.problem], claim, Plan("quick", self.seed, "cpu"))
            job = self._led(trial.jobs[0])
            return replace(trial, jobs=[job]).judge({job.name: job.run()}).verdicts[0]
        claim = claim or target.native.norm
        job = self._led(self._native(target.native))
        job = replace(job, exam=replace(job.exam, claimed=() if claim is None else (claim,)))
        found = job.run()
        return job.judge(found, claim or nearest_norm([found]))

    def _native(self, optimizer: Optimizer) -> Job:
        linear = problems.get(self.problem).linear
        pace = replace(paced_for(optimizer), decay=self.decay)
        start = LINEAR_START if linear else NETWORK_START
        return Job(
            name=f"{self.optimizer} on {self.problem}",
            exam=Exam(problems.get(self.problem).name, candidates=tuple(get_norm(n) for n in CANDIDATES), claimed=()),
            training=Training(optimizer, ENGINE_STEPS["quick"], 1, start, pace),
            tier="quick",
            bounds=CHECK_LINEAR if linear else CHECK_NETWORK,
            effort=Effort(),
            seed=self.seed,
            device="cpu",
            known=Known.of(optimizer, pace),
            once=True,
        )

    def _led(self, job: Job) -> Job:
        """The job with the cell's schedule and steps."""
        training = job.training
        pace = replace(training.pace, decay=self.decay)
        led = replace(training, pace=pace, steps=self.steps or training.steps)
        return replace(job, training=led, once=job.once or bool(self.steps))


def row_of(cell: Cell, parent: int = 0) -> Row:
    """A cell's row: what a worker is given to do."""
    return cell.run(parent)


def _files(spec: str) -> Iterator[Path]:
    """The files that a target or a problem names: ``FILE.py:NAME``, ``module:NAME``, ``FILE.npz@MODEL``."""
    for part in spec.split("@"):
        place, colon, _ = part.partition(":")
        if (path := Path(place)).is_file():
            yield path
        elif colon:
            with suppress(ImportError, ValueError):
                found = find_spec(place.partition(".")[0])
                if found is not None and found.has_location and found.origin is not None:
                    yield Path(found.origin)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def arguments_of(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Arguments that can be hashed: sorted by name, lists as tuples."""
    return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(given.items()))
