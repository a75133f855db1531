"""The commands in one table: what each is for, examples, exit statuses and arguments. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from maxmargin.verify.cli.arguments import (
    COMMON,
    DATA,
    JOBS,
    LIMITS,
    MARKDOWN,
    NORM_HELP,
    PROBLEM_HELP,
    SPREAD,
    Argument,
    Parser,
    PrintCompletion,
    ShowVersion,
    arg,
    keywords,
    number,
    positive,
    several,
    tier,
)
from maxmargin.verify.cli.status import STATUS

NOT_USED = "not used by this command"


@final
@dataclass(frozen=True)
class Command:
    """A command as ``--help`` shows it; its own arguments, beside those of all; and what statuses 0, 1 and 3 say."""

    name: str
    help: str
    description: str
    examples: str
    arguments: tuple[Argument, ...]
    holds: str
    refuted: str = NOT_USED
    inconclusive: str = NOT_USED

    @property
    def epilog(self) -> str:
        """Examples and statuses."""
        statuses = STATUS.format(holds=self.holds, refuted=self.refuted, inconclusive=self.inconclusive)
        return f"{self.examples}\n{statuses}"


MAIN = Command(
    "maxmargin",
    "",
    "Which margin does your optimizer maximize? Ask it, or verify what theory says about known ones.",
    """\
examples:
  maxmargin check torch.optim:SGD --kw momentum=0.9       which norm's margin does it maximize?
  maxmargin check mypkg.optim:MyMuon --claim spectral     does it maximize the spectral margin?
  maxmargin check                                         all targets of your project's pyproject.toml, as in CI
  maxmargin compare old.py:Opt new.py:Opt                 do two optimizers make the same steps?
  maxmargin diff before.json after.json                   what changed between two results?
  maxmargin verify                                        the claims of the literature, and a page about them
  maxmargin sweep grid.toml                               optimizers × arguments × problems, in one table
  maxmargin solve --problem digits-3@linear --norm linf   the maximum margin itself, with a certificate
  maxmargin list norms

'maxmargin COMMAND --help' explains a command, with examples.
""",
    (
        arg("--version", action=ShowVersion, nargs=0, help="print the version and exit"),
        arg(
            "--print-completion",
            action=PrintCompletion,
            choices=("bash", "zsh", "tcsh"),
            help="print a completion script and exit (needs shtab: pip install 'maxmargin[completion]'); for bash: "
            'eval "$(maxmargin --print-completion bash)"',
        ),
    ),
    "holds (check without --claim: a norm was identified)",
    "refuted (check without --claim: no norm was identified)",
    "inconclusive: hypotheses unmet, norms not told apart, or too few steps",
)
CHECK = Command(
    "check",
    "find the norm whose margin an optimizer maximizes",
    "Train an optimizer, unchanged, on problems whose maximum-margin points under the candidate norms\n"
    "lie apart, and name the norm whose margin it maximizes; with --claim, test that norm.",
    """\
examples:
  maxmargin check torch.optim:SGD --kw momentum=0.9
  maxmargin check torch.optim:Adam --kw eps=0 'betas=(0.9,0.95)' --claim linf
  maxmargin check path/to/optim.py:make --tier full --html out      a page to look at: out/index.html
  maxmargin check mypkg.optim:MyMuon --claim spectral --quiet       in CI: the exit status speaks
  maxmargin check muon --problem digits-3@linear data.npz@linear    one of our own, on chosen problems
  maxmargin check muon --problem mynet.py:Net --data data.npz       a network of your own (torch.nn.Module)
  maxmargin check --md "$GITHUB_STEP_SUMMARY"                       the targets of [tool.maxmargin] in pyproject.toml
  maxmargin check mypkg.optim:MyMuon --baseline old.json            fail only on what is worse than it was

a project's pyproject.toml, for 'maxmargin check' alone (the exit status is the worst one):
  [tool.maxmargin]
  targets = ["mypkg.optim:MySign", { target = "mypkg.optim:MyMuon", claim = "spectral", kw = { momentum = 0.95 } }]
  problems = ["blocks", "binary@relu2:h=8"]     tier = "quick"     (each on a line of its own; both may be left out)
""",
    (
        arg(
            "target",
            metavar="TARGET",
            nargs="?",
            help="module:attr or path/to/file.py:attr, a torch.optim.Optimizer class or factory(params, **kw); "
            "or a name from 'maxmargin list optimizers'; without it, the targets of [tool.maxmargin] in pyproject.toml",
        ),
        keywords("--kw", "the optimizer's arguments"),
        arg(
            "--claim",
            metavar="NORM",
            help=f"test this norm instead of searching: {NORM_HELP}; 'linf, then l2': one above an eps, one below it "
            "(a norm alone is claimed of the gradients that training starts with)",
        ),
        tier(default=None),
        *LIMITS,
        *SPREAD,
        several("--problem", "P", PROBLEM_HELP),
        DATA,
        arg(
            "--html",
            metavar="DIR",
            help="store the data in DIR and render DIR/index.html (of a project's targets: a folder of DIR for each)",
        ),
        arg(
            "--baseline",
            metavar="FILE",
            help="compare with an earlier --json FILE: exit status 1 if a verdict is worse than there, else 0",
        ),
        MARKDOWN,
    ),
    "holds, or holds in regimes: it maximizes the claimed norm's margin (without --claim: one was named)",
    "it does not: holds to a factor, data-dependent, refuted, no norm ('maxmargin list answers')",
    "undecided: hypotheses unmet, norms not told apart, too few steps; the reasons are printed",
)
COMPARE = Command(
    "compare",
    "see whether two optimizers make the same steps, and where they part",
    "Show two optimizers the same gradients, weights and learning rates, and compare their steps:\n"
    "small blocks over a whole rehearsal (changing gradients, low rank, absent entries, a late drift), then large\n"
    "matrices, tall and wide ones, convolution kernels and a long vector. Each runs in a process of its own, so\n"
    "that two releases of one package can be compared. Unless --quick, what each maximizes is found, too.",
    """\
examples:
  maxmargin compare torch.optim:SGD torch.optim:SGD --kw-a foreach=True --kw-b foreach=False --quick
  maxmargin compare original.py:Muon refactored.py:Muon --kw momentum=0.95 --tolerance 1e-6
  maxmargin compare old::timm.optim:AdafactorBigVision new::timm.optim:AdafactorBigVision     two releases, after
      pip install --target old --no-deps timm==1.0.28; pip install --target new --no-deps timm==1.0.29
  maxmargin compare signum lion --claim linf
""",
    (
        *(
            arg(
                name.lower(),
                metavar=name,
                help="a target as for 'check', or FOLDER::module:attr for a package in a folder of its own",
            )
            for name in "AB"
        ),
        keywords("--kw", "both sides' arguments"),
        keywords("--kw-a", "A's arguments"),
        keywords("--kw-b", "B's arguments"),
        arg("--claim", metavar="NORM", help="test each for this norm instead of searching for one"),
        arg("--quick", action="store_true", help="compare steps only, not what they maximize"),
        arg(
            "--tolerance",
            type=positive,
            default=1e-10,
            metavar="REL",
            help="a relative difference of a block's step up to it is none (default 1e-10; bfloat16 needs 5e-2)",
        ),
        tier(),
        *LIMITS,
    ),
    "they make the same steps",
    "they part; where, and by how much, is printed",
    "one of them is random: it differs from itself",
)
DIFF = Command(
    "diff",
    "see what changed between two stored results",
    "Compare two results of 'check' or 'verify': verdicts and norms that changed, gaps that moved\n"
    "beyond the range of their runs, verdicts that are gone. Nothing is run.",
    """\
examples:
  maxmargin diff before.json after.json
  maxmargin diff maxmargin-verify-1 maxmargin-verify-2 --json -
""",
    tuple(
        arg(name, metavar=metavar, help="a JSON file of 'check' or 'verify', or a folder with a results.json")
        for name, metavar in (("before", "A"), ("after", "B"))
    ),
    "nothing is worse",
    "a verdict is worse, or gone, or of another norm",
)
VERIFY = Command(
    "verify",
    "verify the claims of the literature and write a report",
    "For every claim: check its hypotheses, train, compare with the predicted maximum-margin points,\n"
    "and judge. Writes the data and an HTML page that opens offline.",
    """\
examples:
  maxmargin verify                          all claims, quick tier, into ./maxmargin-verify
  maxmargin verify signum-linf muon-spectral
  maxmargin verify --tier full --jobs 2 --out results --md summary.md
  maxmargin verify --tier full --jobs 2 --out results --resume      after an interruption
""",
    (
        arg(
            "claims",
            nargs="*",
            metavar="CLAIM",
            help="names from 'maxmargin list claims', or a paper's key, an optimizer, a part of a name (default: all)",
        ),
        arg(
            "--optimizer",
            metavar="NAME",
            help="hold the claims against this optimizer, one of 'list optimizers' or of a plugin, "
            "in place of their own",
        ),
        tier(takes=": all claims take 2 minutes on two cores, in the full tier 40"),
        *SPREAD,
        JOBS,
        arg("--out", default="maxmargin-verify", metavar="DIR", help="where to write (default ./maxmargin-verify)"),
        arg("--resume", action="store_true", help="keep the claims that DIR already has"),
        MARKDOWN,
        arg("--open", action="store_true", help="open the page in a browser"),
    ),
    "every claim holds",
    "at least one claim fails",
    "none fails, at least one is inconclusive",
)
SOLVE = Command(
    "solve",
    "solve a margin problem and certify it",
    "Maximize the margin of a problem under a norm: the point, its multipliers, and its KKT gap,\n"
    "recomputed without trusting the solver.",
    """\
examples:
  maxmargin solve --problem digits-3@linear --norm spectral
  maxmargin solve --problem data.csv@linear --norm linf --certify --json -
  maxmargin solve --problem ./points.npz@relu2 --norm l2 --starts 20
  maxmargin solve --problem mynet.py:Net:width=4 --data points.npz --norm l2     a torch.nn.Module of your own
  maxmargin solve --problem binary@relu2 --norm l2 --prove            an exact KKT point within 1e-16 of this one
  maxmargin solve --problem "F1'" --norm l2 --starts 9                what theory says, beside what is found
  maxmargin solve --problem G2:k=5 --norm spectral
""",
    (
        arg("--problem", required=True, metavar="P", help=PROBLEM_HELP),
        DATA,
        arg("--norm", required=True, metavar="NORM", help=NORM_HELP),
        arg(
            "--certify",
            action="store_true",
            help="enclose the optimum in exact arithmetic, and compute it by a second route (linear models)",
        ),
        arg(
            "--prove",
            action="store_true",
            help="prove that an exact KKT point lies near the one found, and how near (interval arithmetic; "
            "up to 1,000 parameters)",
        ),
        number("--starts", 1, "starts of the search for KKT points (default 1)"),
    ),
    "solved",
    inconclusive="none of the starts led to a KKT point; try more --starts or another --seed",
)
SWEEP = Command(
    "sweep",
    "run a grid of optimizers, arguments, problems, schedules and seeds",
    "Train every optimizer of a grid with all its arguments on every problem, with every schedule and\n"
    "seed, and write one table.",
    """\
a file:
  problems = ["blocks", "digits-3@linear"]    # as in 'maxmargin list problems'
  decays = [0.2, 0.5]                         # schedules: the pace falls like t^(-decay); default [0.2]
  seeds = 3                                   # 0, 1, 2; or a list of them; default 1
  steps = 20000                               # of each run; default: those of the quick tier
  claim = "linf"                              # the norm that is judged; default: each optimizer's own

  [[optimizer]]
  target = "signum"                           # as for 'check'
  kw = { beta = [0.5, 0.9, 0.99] }            # a list is crossed with all the others

  [[optimizer]]
  target = "mine.py:Muon"
  kw = { betas = [[0.9, 0.99], [0.9, 0.999]], lr = 0.1 }

written into DIR: cells.parquet (one row a cell; pandas.read_parquet reads it), heat.svg (KKT gaps, medians over the
seeds), and cells.jsonl, from which a sweep that was broken off, or killed, goes on by the same command.

examples:
  maxmargin sweep grid.toml
  maxmargin sweep grid.toml --out grid --jobs 2 --json -
  maxmargin sweep grid.toml --backend dask --scheduler tcp://127.0.0.1:8786
""",
    (
        arg("file", metavar="FILE.toml", help="what is crossed; see below"),
        arg("--out", default="maxmargin-sweep", metavar="DIR", help="where to write (default ./maxmargin-sweep)"),
        JOBS,
        *SPREAD,
        *LIMITS,
    ),
    "every cell was run",
    inconclusive="some cells were refused; the table's column 'error' says why",
)
LIST = Command(
    "list",
    "list claims, problems, norms, optimizers, thresholds or the classes of answer",
    "Print the names that the other commands take, the numbers that decide, or the answers that\n"
    "'check' gives with their exit statuses, each with one line.",
    """\
examples:
  maxmargin list norms
  maxmargin list claims --json -
""",
    (
        arg(
            "what",
            choices=("claims", "problems", "norms", "optimizers", "thresholds", "answers"),
            help="what to list",
        ),
    ),
    "listed",
)
REPORT = Command(
    "report",
    "render the page again from stored data",
    "Render DIR/index.html from DIR/results.json and its arrays; nothing is recomputed.\n"
    "Of several results, one page with the table of optimizers and norms.",
    """\
examples:
  maxmargin report maxmargin-verify
  maxmargin report sgd/ adam/ muon.json --out overview
""",
    (
        arg(
            "dir",
            metavar="DIR",
            nargs="+",
            help="a folder written by 'verify' or by 'check --html'; or a file of --json",
        ),
        arg("--out", metavar="FOLDER", help="where the page goes: DIR itself, or maxmargin-report of several"),
    ),
    "rendered",
)
COMMANDS = (CHECK, COMPARE, DIFF, VERIFY, SOLVE, SWEEP, LIST, REPORT)


def build_parser() -> Parser:
    """The whole grammar."""
    common = Parser(add_help=False)
    parser = Parser(prog=MAIN.name, description=MAIN.description, epilog=MAIN.epilog)
    _add(COMMON, common.add_argument_group("common options"))
    _add(MAIN.arguments, parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for c in COMMANDS:
        _add(
            c.arguments,
            commands.add_parser(c.name, parents=[common], help=c.help, description=c.description, epilog=c.epilog),
        )
    return parser


def _add(arguments: Iterable[Argument], to: Any) -> None:
    for argument in arguments:
        argument(to)
