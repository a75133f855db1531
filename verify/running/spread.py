"""Work spread over threads, processes or machines: every piece once, each result as it is done.

A piece of work is a pure function of its specification, so it does not matter where it runs: what a lost worker had
under way is done again by another, and what is done is not.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from maxmargin.models.errors import InputError
from maxmargin.verify.progress.calls import Call
from maxmargin.verify.thresholds.training import CONNECT

Result = TypeVar("Result")
NAMES = ("auto", "loky", "threads", "dask")


class BackendError(InputError):
    """A backend that cannot be used, or whose workers end."""


@dataclass(frozen=True)
class Backend:
    """Where work is done.

    Attributes:
        name: One of NAMES; ``auto`` is ``threads`` for native runs, which leave the interpreter to others, and
            ``loky``, processes of this machine, for black boxes.
        scheduler: The address of a Dask scheduler, for ``dask``.
        workers: Threads or processes; a cluster has its own.
    """

    name: str = "auto"
    scheduler: str | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise BackendError(f"unknown backend {self.name!r}; known: {', '.join(NAMES)}")
        if (self.name == "dask") != (self.scheduler is not None):
            raise BackendError(
                "--backend dask needs --scheduler ADDRESS, e.g. tcp://127.0.0.1:8786; start one with 'dask scheduler', "
                "and 'dask worker ADDRESS' on every machine"
                if self.scheduler is None
                else f"--scheduler {self.scheduler} is for --backend dask"
            )

    def of(self, native: bool) -> str:
        """Return ``threads``, ``loky`` or ``dask``, for native runs or for black boxes, which may not share a process.

        Raises:
            BackendError: ``threads`` for a black box.
        """
        if self.name == "threads" and not native:
            raise BackendError(
                "--backend threads is for the engine's own optimizers: what others' set globally would mix; "
                "take loky or dask"
            )
        return self.name if self.name != "auto" else "threads" if native else "loky"

    def spread(
        self, work: Callable[..., Result], items: Sequence[tuple[str, tuple[Any, ...]]], native: bool
    ) -> Iterator[Result]:
        """Do ``work(*arguments)`` for every item.

        Args:
            work: A function that can be pickled.
            items: Each with a key of what it depends on, and its arguments.
            native: Whether it runs the engine's own optimizers alone.

        Yields:
            The results, as they are done.

        Raises:
            BackendError: one that cannot be used, or whose workers end.
        """
        where = self.of(native)
        if where == "dask":
            yield from _on_cluster(str(self.scheduler), work, items)
            return
        workers = min(self.workers, len(items))
        if workers <= 1:
            for _, arguments in items:
                yield work(*arguments)
            return
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers load their libraries
        # The pool says this in the thread that then replaces the worker: as an error it would end that thread, and
        # with it every result (pytest's `error` filter does so).
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
        pool = Parallel(
            n_jobs=workers,
            return_as="generator_unordered",
            batch_size=1,
            backend="threading" if where == "threads" else "loky",
        )
        try:
            yield from pool(delayed(work)(*arguments) for _, arguments in items)
        except TerminatedWorkerError as error:
            call = Call.of_the_lost()
            raise BackendError(
                f"a process that trained the optimizer ended{'' if call is None else f' {call.place}'}, without a "
                f"result, as os._exit() or a lack of memory does ({str(error).strip().splitlines()[-1]})"
            ) from error


def _on_cluster(
    address: str, work: Callable[..., Result], items: Sequence[tuple[str, tuple[Any, ...]]]
) -> Iterator[Result]:
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise BackendError("--backend dask needs Dask: pip install 'maxmargin[cluster]'") from None
    try:
        client = Client(address, set_as_default=False, timeout=CONNECT)
    except (OSError, ValueError, TimeoutError) as error:
        raise BackendError(
            f"no Dask scheduler answers at {address} ({error}); start one with 'dask scheduler'"
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise BackendError(f"the scheduler at {address} has no workers; start some with 'dask worker {address}'")
        futures = [client.submit(work, *arguments, key=f"maxmargin-{key}") for key, arguments in items]
        waiting = as_completed(futures, loop=client.loop)  # else it looks for a client set as the default
        del futures  # a result is kept by the cluster as long as a name of it is
        try:
            for future in waiting:
                yield future.result()
                future.release()
        except KilledWorker as error:
            raise BackendError(f"work on the cluster ended its worker again and again: {error}") from error
