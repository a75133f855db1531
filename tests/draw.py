"""Draw the pictures of CONTRIBUTING.md, and the rules in README.md, from the code as it is.

python tests/draw.py            rewrite them
python tests/draw.py --check    say whether they are stale
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).resolve().parents[1]
TOP = ("models", "solvers", "verify", "reports")


def folders() -> dict[str, set[str]]:
    """Each folder of the packages → the folders that it imports, without those that others of these import for it."""
    graph = grimp.build_graph("maxmargin", cache_dir=None)
    modules = graph.modules - {"maxmargin"}  # the door: it hands on names, and belongs to no folder
    names = {m for m in modules if list(graph.find_children(m))}

    def home(module: str) -> str:
        return module if module in names else module.rpartition(".")[0]

    direct: dict[str, set[str]] = {name: set() for name in names}
    for module in modules:
        for other in graph.find_modules_directly_imported_by(module):
            if home(module) != home(other):
                direct[home(module)].add(home(other))

    def beyond(name: str) -> set[str]:
        return {far for near in direct[name] for far in direct[near] | beyond(near)}

    return {name: direct[name] - beyond(name) for name in sorted(names)}


def picture() -> Iterator[str]:
    """A Mermaid flowchart, one box a folder."""
    yield "```mermaid"
    yield "flowchart BT"
    drawn = folders()
    for top in TOP:
        yield f"  subgraph {top}"
        for name in drawn:
            if name.split(".")[1] == top:
                files = len(list((ROOT / Path(*name.split(".")[1:])).glob("*.py"))) - 1
                yield f'    {_box(name)}["{name.removeprefix("maxmargin.").replace(".", "/")} ({files})"]'
        yield "  end"
    for name, others in drawn.items():
        for other in sorted(others):
            yield f"  {_box(other)} --> {_box(name)}"
    yield "```"
    yield ""
    yield "An arrow: what the upper one imports. In brackets: files. What each folder is for:"
    yield ""
    for name in drawn:
        said = (import_module(name).__doc__ or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")
        yield f"- `{name.removeprefix('maxmargin.').replace('.', '/')}`: {said}."


PATH = (
    "verify.cli.entry:main",
    "verify.cli.check:check",
    "verify.running.checking:check",
    "verify.blackbox.targets:load",
    "verify.lab.examine:Laboratory.examine",
    "verify.running.job:run_all",
    "verify.training.train:Training.run",
    "verify.evidence.measure:measure",
    "verify.judging.rules:judge",
    "verify.judging.conclusion:conclude",
)
"""From the command line to the exit status of ``maxmargin check X`` on one problem: each called once, in this order."""


def path() -> Iterator[str]:
    """The functions that a check goes through, each with what it says of itself."""
    for number, name in enumerate(PATH, 1):
        module, _, function = name.partition(":")
        found: Any = import_module(f"maxmargin.{module}")
        for part in function.split("."):
            found = getattr(found, part)
        said = (found.__doc__ or "").partition("\n")[0].rstrip(".").replace("``", "`")
        yield f"{number}. `{module.replace('.', '/')}.py` `{function}`: {said}."
    yield ""
    yield "The verdict's outcome is the exit status. Steps 7 to 9 run once for each problem, in processes side by side."


def _rules() -> tuple[str, str]:
    """What the judging's package says of its rules: in short, and whole."""
    said = import_module("maxmargin.verify.judging").__doc__ or ""
    short, _, whole = said.partition("How a verdict is reached\n")
    return short.partition("--\n")[2].strip(), whole.partition("--\n")[2].strip()


def brief() -> Iterator[str]:
    """The rules in short, with the quick tier's numbers."""
    from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK
    from maxmargin.verify.thresholds.table import THRESHOLDS

    linear, network = CHECK_LINEAR["quick"], CHECK_NETWORK["quick"]
    numbers = {"gap_linear": linear.gap, "gap_network": network.gap}
    numbers |= {"steps_linear": linear.alignment, "steps_network": network.alignment}
    told = numbers | {name: row.value for name, row in THRESHOLDS.items() if isinstance(row.value, float)}
    yield _rules()[0].format_map({name: f"{value:g}" for name, value in told.items()})


def verdict() -> Iterator[str]:
    """The rules whole."""
    yield _rules()[1].replace("``", "`")


def _box(name: str) -> str:
    return name.removeprefix("maxmargin.").replace(".", "_")


PICTURES = {"layers": picture, "path": path, "brief": brief, "verdict": verdict}


def redrawn(text: str) -> str:
    """The text with each picture drawn anew between its marks."""
    for name, draw in PICTURES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        new = begin + "\n".join(draw()) + "\n" + end
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, new=new: new, text, flags=re.DOTALL)
    return text


def main() -> int:
    stale = 0
    for file in (ROOT / "CONTRIBUTING.md", ROOT / "README.md"):
        old = file.read_text(encoding="utf-8")
        new = redrawn(old)
        stale |= old != new
        if "--check" not in sys.argv:
            file.write_text(new, encoding="utf-8")
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
