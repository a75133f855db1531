"""The command line: ``maxmargin check | compare | diff | verify | sweep | solve | list | report``.

This module ends a command with its status. What the arguments are stands in :mod:`maxmargin.verify.cli.grammar`; what
the commands do, in :mod:`maxmargin.verify.cli.commands`: the heavy libraries load there, when they are needed, so that
``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NoReturn

from maxmargin.verify.cli.grammar import build_parser
from maxmargin.verify.cli.status import BAD_INPUT, BROKEN_PIPE, INTERNAL_ERROR, INTERRUPTED, TERMINATED
from maxmargin.verify.cli.streams import results, usable_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; ``sys.argv`` by default.

    Returns:
        The exit status.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    usable_streams()
    args = read(argv)
    if isinstance(args, int):
        return args
    before = signal.signal(signal.SIGTERM, _terminate) if current_thread() is main_thread() else None
    try:
        from maxmargin.verify.cli import commands

        status = commands.run(args)
        results().flush()
        return status
    except Terminated:
        print(f"\nmaxmargin: terminated. {_what_is_kept(args, argv)}", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print(f"\nmaxmargin: interrupted. {_what_is_kept(args, argv)}", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # a target that calls sys.exit(0) when imported must not look like a verdict
        print(f"maxmargin: error: the target called sys.exit({stop.code!r})", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # the reader of a pipe left, as `| head` does: not our fault, and nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), results().fileno())  # else the final flush complains
        return BROKEN_PIPE
    except Exception as error:
        return _failed(error, args)
    except BaseException as error:  # CancelledError, pytest's outcomes: Python's own way out would be status 1
        name = type(error).__name__
        print(f"maxmargin: error: the target raised {name}({str(error)!r})", file=sys.stderr)
        return BAD_INPUT
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def read(argv: Sequence[str]) -> argparse.Namespace | int:
    """The arguments; or the status, where reading them ends a command: after ``--help``, or bad usage."""
    parser = build_parser()
    try:
        if any("\0" in word for word in argv):
            parser.error("an argument holds a NUL, which no name or path may")
        return parser.parse_args(argv, argparse.Namespace(argv=list(argv)))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else BAD_INPUT


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run as Ctrl-C does, with a status of its own."""


def _terminate(*_: Any) -> NoReturn:
    raise Terminated


def _failed(error: Exception, args: argparse.Namespace) -> int:
    """The exit status: bad input, with its message, is told from a fault of the program, with its traceback."""
    with suppress(Exception):  # a broken installation may lack what tells them apart
        from maxmargin.verify.cli import given

        if given.is_input_error(error, args):
            return given.report_input_error(error, args)
    traceback.print_exception(error)
    print("maxmargin: this is a fault of the program, not a verdict; please report it.", file=sys.stderr)
    return INTERNAL_ERROR


def _what_is_kept(args: argparse.Namespace, argv: Sequence[str]) -> str:
    """After Ctrl-C: what the user still has, and the command that goes on from there."""
    if args.command == "verify":
        again = [*argv, *(() if args.resume else ("--resume",))]
        return f"What is finished is kept in {Path(args.out)}; go on with:\n  {shlex.join(['maxmargin', *again])}"
    if args.command == "sweep":
        return f"Finished cells are kept in {Path(args.out)}; go on with:\n  {shlex.join(['maxmargin', *argv])}"
    if args.command == "report":
        return "The page that was there, if any, is unchanged."
    return "Nothing was stored; 'maxmargin verify' is the command that keeps what is done."
