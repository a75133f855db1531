"""What arguments are made of: the parser, their types, and those that several commands take. Loads nothing heavy."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Callable
from typing import Any, NoReturn, final

from typing_extensions import override

from maxmargin.verify.cli.status import BAD_INPUT

NORM_HELP = (
    "l1, l2, linf, spectral, nuclear, schatten:P, entrywise:P, hybrid, hybrid:R "
    "(R: ratio of the vectors' to the matrices' learning rate), …; see 'maxmargin list norms'"
)
STEP_TIMEOUT = 300.0
"""Seconds after which a step is taken for endless: of small blocks, it takes a millisecond."""


@final
class Parser(argparse.ArgumentParser):
    """An argparse parser that speaks like the rest of the program: one line, then where to read more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings: dict[str, Any] = {
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,  # an abbreviation that works today is ambiguous tomorrow
        }
        super().__init__(*args, **(settings | kwargs))

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"maxmargin: error: {message}\nTry '{self.prog} --help'.\n")


def key_value(text: str) -> tuple[str, Any]:
    """Return name and value of one ``--kw``: NAME=VALUE, the value a Python literal, or else text.

    Example:
        >>> key_value("betas=(0.9,0.95)"), key_value("foreach=False"), key_value("mode=fast")
        (('betas', (0.9, 0.95)), ('foreach', False), ('mode', 'fast'))

    Raises:
        argparse.ArgumentTypeError: when there is no ``=`` or the name is no identifier.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, e.g. momentum=0.9 or betas=(0.9,0.95)")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return name, value


def whole(least: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number, ``least`` (0 or 1) or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
        return int(text)

    return number


def positive(text: str) -> float:
    """Return the number that an argument is, above 0 and finite.

    Raises:
        argparse.ArgumentTypeError: when it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


@final
class ShowVersion(argparse.Action):
    """``--version``, read from the installed distribution only when asked for."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        parser.exit(0, f"maxmargin {version('maxmargin')}\n")


@final
class PrintCompletion(argparse.Action):
    """``--print-completion SHELL``, written by shtab from this very grammar."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, option: str | None = None) -> None:
        try:
            import shtab
        except ImportError:
            parser.error(f"{option} needs shtab; install it with: pip install 'maxmargin[completion]'")
        print(shtab.complete(parser, shell))  # parser.exit would write it to standard error
        parser.exit(0)


Argument = Callable[[Any], Any]
"""Adds one argument to a parser, or to a group of one."""


def arg(*names: str, **options: Any) -> Argument:
    """An argument, as ``argparse.ArgumentParser.add_argument`` takes it."""
    return lambda parser: parser.add_argument(*names, **options)


def number(name: str, default: int, help: str, least: int = 1) -> Argument:
    """One that is a whole number."""
    return arg(name, type=whole(least), default=default, metavar="N", help=help)


def several(name: str, metavar: str, help: str, **options: Any) -> Argument:
    """One that takes several values, and may be given several times."""
    return arg(name, nargs="+", action="extend", metavar=metavar, help=help, **options)


def keywords(name: str, help: str) -> Argument:
    """Constructor arguments of an optimizer."""
    return several(name, "NAME=VALUE", help, type=key_value, default=[])


def tier(default: str | None = "quick", takes: str = "") -> Argument:
    """How long to train, and what that takes."""
    said = f"how long to train{takes} (default quick)"
    return arg("--tier", choices=("quick", "full"), default=default, help=said)


COMMON = (
    number("--seed", 0, "of everything random (default 0)", least=0),
    arg("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)"),
    arg(
        "--json", metavar="FILE|-", help="write the result as JSON; '-': to standard output, the rest to standard error"
    ),
    arg(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE|FILE.py",
        help="load other people's norms, models, optimizers or claims first (once for each; also MAXMARGIN_PLUGINS)",
    ),
    arg("-q", "--quiet", action="store_true", help="no progress, and only the headline of the result"),
)
DATA = arg(
    "--data",
    metavar="FILE",
    help="the data (X and y) of the models that --problem names alone: --problem mynet.py:Net --data mine.npz",
)
PROBLEM_HELP = (
    "a name from 'maxmargin list problems', or file.npz / file.csv with X and y, plus @MODEL; MODEL may be a "
    "torch.nn.Module of your own, FILE.py:NAME[:option=value,…]: its degree of homogeneity is found and checked"
)
MARKDOWN = arg("--md", metavar="FILE", help='append the verdict as Markdown, e.g. --md "$GITHUB_STEP_SUMMARY"')
JOBS = number("--jobs", os.cpu_count() or 1, "processes (default: one a core)")
LIMITS = (
    arg(
        "--step-timeout",
        type=positive,
        default=STEP_TIMEOUT,
        metavar="SECONDS",
        help=f"end a run of which one step takes longer (default {STEP_TIMEOUT:g})",
    ),
    arg(
        "--memory-limit",
        type=positive,
        metavar="GIB",
        help="end a run whose processes together take more (default: nine tenths of the memory at hand; Linux)",
    ),
)
SPREAD = (
    arg(
        "--backend",
        choices=("auto", "loky", "threads", "dask"),
        default="auto",
        help="where runs are spread: processes or threads here, or a Dask cluster; the results are the same",
    ),
    arg("--scheduler", metavar="ADDRESS", help="of the Dask scheduler, e.g. tcp://127.0.0.1:8786"),
)
