"""Released optimizers with a bug that was later fixed: one record each, ``CASES``.

A record's ``evidence`` is a measurement of the fault itself, in a few lines and without ``check``: what it gives with
the broken release and with the fixed one stands in ``measured``, and ``bench_history.py --evidence`` measures it again
in both. So a record cannot claim a bug that is not in the wheel. The rest says what the instrument should answer.

``named`` is what the answer to the broken release must say (a pattern, looked for in its reasons, findings and
comparison), and the answer to the fixed one must not. ``instrument`` is the part that is expected to say it:

- "verdict": the claim is refuted;
- "knob": an argument without effect is named, whatever the verdict;
- "paths": two code paths of one release differ;
- "finite": a step that is not finite, on a finite gradient;
- "shapes": wrong at shapes that toy problems do not have (four dimensions, tall matrices of 30 rows);
- "habits": what it does besides its steps;
- "eps": the size of gradients below which an eps takes over;
- "compare": both releases maximize the same margin, and ``maxmargin compare`` names the first step at which they part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Make = Callable[..., torch.optim.Optimizer]
RATE = 1e-3


@dataclass(frozen=True)
class Case:
    """One bug.

    Attributes:
        thread: Where it was reported or fixed: ``owner/repository#number``, or a commit.
        package: On PyPI, with the versions ``broken`` and ``fixed``.
        target: Where to import the class.
        wrong: What was wrong, in a sentence.
        instrument: What is expected to name it; see the module.
        named: A pattern of what is then said.
        evidence: Measures the fault, given how to make the optimizer.
        measured: What that gives with the broken and with the fixed release.
        meaning: What the number is.
        kwargs: The constructor's arguments.
        claim: What is claimed of it; None where nobody claims a norm.
        refuted: Why the fixed release is refuted too, for a reason that is not the bug; "" where it must not be.
        only: The one folder of the wheel that is used, where its package needs more than torch to be imported.
        needs: Other distributions that it imports.
    """

    thread: str
    package: str
    broken: str
    fixed: str
    target: str
    wrong: str
    instrument: str
    named: str
    evidence: Callable[[Make], float]
    measured: tuple[float, float]
    meaning: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    claim: str | None = None
    refuted: str = ""
    only: str = ""
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the row."""
        return f"{self.package} {self.target.rpartition(':')[2]} {self.broken} → {self.fixed}"


def moves(make: Make, gradients: Sequence[Tensor], **kwargs: Any) -> list[Tensor]:
    """What each gradient moves a parameter by that begins at zero."""
    p = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = make([p], **{"lr": RATE} | kwargs)
    found = []
    for g in gradients:
        before = p.detach().clone()
        p.grad = g.clone()
        optimizer.step()
        found.append(p.detach() - before)
    return found


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape or (4,), dtype=torch.float64)


def matrix(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def after_a_turn(gradient: Tensor, **kwargs: Any) -> Callable[[Make], float]:
    """The first entry's move, in learning rates, when a gradient of −0.1 follows twenty of 1: −1 with a memory."""
    return lambda make: round(
        float(moves(make, [gradient] * 20 + [-0.1 * gradient], **kwargs)[-1].flatten()[0]) / RATE, 3
    )


def change(name: str, values: tuple[Any, Any], **kwargs: Any) -> Callable[[Make], float]:
    """The most that steps on random gradients differ between two values of an argument, in learning rates."""

    def measured(make: Make) -> float:
        g = list(matrix(40, 5))
        pairs = zip(*(moves(make, g, **kwargs | {name: value}) for value in values), strict=True)
        return round(max(float((a - b).abs().max()) for a, b in pairs) / RATE, 3)

    return measured


def lengths(make: Make, small: float, large: float) -> float:
    """How much longer a step is on a gradient of the larger size."""
    return float(
        moves(make, [large * matrix(4, 3)] * 3)[-1].norm() / moves(make, [small * matrix(4, 3)] * 3)[-1].norm()
    )


def vector_to_matrix(make: Make) -> float:
    """The length of a vector's entry against a matrix's, both under a constant gradient."""
    vector, block = (moves(make, [ones(*shape)] * 60)[-1].flatten()[0] for shape in ((40,), (8, 5)))
    return round(float(vector / block), 4)


def orientation(make: Make) -> float:
    """How much the step on a matrix differs from the transposed step on its transpose, relative to it."""
    g = matrix(30, 20)
    a, b = (moves(make, [h.contiguous()] * 3)[-1] for h in (g, g.T))
    return round(float((a - b.T).abs().max() / a.abs().max()), 3)


def convolution(make: Make) -> float:
    """The root mean square of a kernel's step against a matrix's."""
    kernel, block = (moves(make, [matrix(*s)] * 5)[-1].pow(2).mean().sqrt() for s in ((8, 4, 3, 3), (8, 4)))
    return round(float(kernel / block), 3)


def exponent(make: Make) -> float:
    """The power of its gradient's singular values that those of a step are: 0 for a polar factor."""
    g = matrix(5, 4) @ torch.diag(torch.tensor([10.0, 1.0, 0.1, 0.01], dtype=torch.float64))
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    step = torch.diag(u.T @ -moves(make, [g] * 30)[-1] @ vh.T)
    return round(math.log(step[1] / step[0]) / math.log(s[1] / s[0]), 3)


def share_left(size: float) -> Callable[[Make], float]:
    """How long a step on gradients of this size is, against one on gradients of 1."""
    return lambda make: round(float(moves(make, [size * ones()] * 200)[-1][0] / moves(make, [ones()] * 200)[-1][0]), 3)


def nesterov(make: Make) -> float:
    """The third step under a constant gradient, in learning rates: dampened Nesterov's EMA makes 2.71."""
    return round(-float(moves(make, [ones()] * 3, momentum=0.9, nesterov=True)[1][0]) / RATE, 3)


def jump(before: int, factor: float, **kwargs: Any) -> Callable[[Make], float]:
    """How long a step is, in learning rates, whose gradient is so many times those before."""
    return lambda make: round(
        -float(moves(make, [ones(4, 4)] * before + [factor * ones(4, 4)], **kwargs)[-1][0, 0]) / RATE, 3
    )


def enlarged(make: Make) -> float:
    """The step on a small gradient with clipping against that without."""
    with_it, without = (jump(10, 1 / 30, clipping_threshold=limit)(make) for limit in (1.0, None))
    return round(with_it / without, 3)


def growth(make: Make) -> float:
    """How much longer the hundredth step is than the tenth, under a constant gradient."""
    steps = moves(make, [ones()] * 101)
    return round(float(steps[100][0] / steps[10][0]), 1)


def last_finite(gradients: Sequence[Tensor]) -> Callable[[Make], float]:
    """Whether the step on the last of these finite gradients is finite."""
    return lambda make: float(moves(make, gradients)[-1].isfinite().all())


def unfilled(make: Make) -> float:
    """Whether steps are finite where memory that was not filled is made NaN."""
    torch.use_deterministic_algorithms(True)
    return float(all(step.isfinite().all() for step in moves(make, [ones()] * 4)))


def touched(make: Make) -> float:
    """By how much a step changes the gradient that it is given, relative to its largest entry."""
    p, g = torch.nn.Parameter(ones()), matrix(4)
    optimizer = make([p], lr=RATE, momentum=0.9, nesterov=True, foreach=True)
    p.grad = g.clone()
    optimizer.step()
    return round(float((p.grad - g).abs().max() / g.abs().max()), 3)


def ascent(make: Make) -> float:
    """The first step along the gradient, in learning rates: negative where it descends."""
    return round(float(moves(make, [ones()])[0][0]) / RATE, 2)


def turned(make: Make) -> float:
    """The share of a vector's step along a small gradient, sixty steps after it has turned into a right angle."""
    before, after = 1e-3 * torch.eye(4, dtype=torch.float64)[:2]
    last = moves(make, [before] * 20 + [after] * 60)[-1]
    return round(float(-last[1] / last.norm()), 3)


def remembered(make: Make) -> float:
    """For how many steps a sign outlasts a turn of the gradient to −1/2."""
    after = moves(make, [ones()] * 300 + [-0.5 * ones()] * 300)[300:]
    return float(sum(bool(step[0] < 0) for step in after))


KOZISTR = "pytorch-optimizer"
REFUTED = r"^answer: (refuted|no norm)"  # what bench_history.py writes first of an answer
PARTS = r"^answer: they part"
NOT_FINITE = r"not finite|non-finite|nan\b"

CASES: tuple[Case, ...] = (
    Case(
        "kozistr/pytorch_optimizer#516", KOZISTR, "3.10.1", "3.11.0", "pytorch_optimizer:SignSGD",
        "The momentum buffer is set to zero before every step: the default momentum of 0.9 has no effect.",
        "knob", r"momentum\S* .*has no effect",
        after_a_turn(ones(), momentum=0.9), (1.0, -1.0), "move after the gradient turns, in learning rates",
        {"momentum": 0.9}, "linf",
    ),
    Case(
        "kozistr/pytorch_optimizer#518", KOZISTR, "3.10.1", "3.11.0", "pytorch_optimizer:SignSGD",
        "weight_decay is accepted, and never applied.",
        "knob", r"weight_decay\S* .*has no effect",
        change("weight_decay", (0.0, 0.5)), (0.0, 0.015), "change of a step by weight_decay, in learning rates",
        {"weight_decay": 0.01}, refuted="weight decay: no margin is maximized, the weights stay bounded",
    ),
    Case(
        "kozistr/pytorch_optimizer#385", KOZISTR, "3.6.0", "3.6.1", "pytorch_optimizer:SCION",
        "The step is taken along the gradient, not along its average: momentum has no effect.",
        "knob", r"momentum\S* .*has no effect",
        lambda make: math.copysign(1.0, after_a_turn(torch.eye(3, dtype=torch.float64) + 0.5, momentum=0.1)(make)),
        (1.0, -1.0), "sign of the move after the gradient turns", {"momentum": 0.1},
        refuted="a vector's average is divided by its length in place, until 4.0.0",
    ),
    Case(
        "kozistr/pytorch_optimizer, release 4.0.0", KOZISTR, "3.11.0", "4.0.0", "pytorch_optimizer:SCION",
        "A vector's average is divided by its length in place, in every step: gradients that are small beside 1 never "
        "enter it.",
        "verdict", r"never forgets",
        turned, (0.007, 1.0), "share of the step along gradients of 1e-3 that have been shown 60 times",
        {"momentum": 0.1}, refuted="five Newton–Schulz steps: a factor",
    ),
    Case(
        "kozistr/pytorch_optimizer#519", KOZISTR, "3.11.0", "4.0.0", "pytorch_optimizer:SGDW",
        "In the foreach path, the default, the buffer is overwritten by the gradient: momentum has no effect, and the "
        "loop does something else.",
        "knob", r"momentum\S* .*has no effect|foreach",
        after_a_turn(ones(), momentum=0.9, weight_decay=0.0), (0.1, -7.806),
        "move after the gradient turns, in learning rates", {"momentum": 0.9, "weight_decay": 0.0}, "l2",
    ),
    Case(
        "kozistr/pytorch_optimizer#519", KOZISTR, "3.11.0", "4.0.0", "pytorch_optimizer:SGDW",
        "The foreach path and the loop compute different recurrences; foreach is the default.",
        "paths", r"foreach",
        change("foreach", (True, False), momentum=0.9, weight_decay=0.0), (5.831, 0.0),
        "largest difference of the paths' steps, in learning rates", {"momentum": 0.9, "weight_decay": 0.0}, "l2",
    ),
    Case(
        "lucidrains/adam-atan2-pytorch#5", "adam-atan2-pytorch", "0.3.6", "0.3.7",
        "adam_atan2_pytorch.adopt_atan2:AdoptAtan2",
        "The update is compared with the gradient that it has the sign of: cautious_factor has no effect.",
        "knob", r"cautious_factor\S* .*has no effect",
        change("cautious_factor", (1.0, 0.0)), (0.0, 1.246), "change of a step by cautious_factor, in learning rates",
        {"cautious_factor": 0.0}, refuted="a mask over the momentum's entries", needs=("einops==0.8.1",),
    ),
    Case(
        "lucidrains/adam-atan2-pytorch#3", "adam-atan2-pytorch", "0.1.6", "0.1.10",
        "adam_atan2_pytorch.adopt_atan2:AdoptAtan2",
        "The momentum begins as memory that nobody filled: what was there, NaN at times, is averaged into the first "
        "steps.",
        "compare", PARTS + "|^answer: random",
        unfilled, (0.0, 1.0), "whether steps are finite where unfilled memory is made NaN",
        claim="linf", needs=("einops==0.8.1",),
    ),
    Case(
        "HomebrewML/HeavyBall#78", "heavyball", "2.0.0", "2.1.1", "heavyball:Muon",
        "Newton–Schulz starts from the matrix times its norm instead of divided by it: no step at 1e-4, NaN from 1 on.",
        "finite", NOT_FINITE,
        lambda make: round(lengths(make, 1e-4, 1e-2), 1), (8998.1, 1.0), "length of a step at ‖G‖ 100 times larger",
        refuted="five Newton–Schulz steps: a factor",
    ),
    Case(
        "HomebrewML/HeavyBall, commit 7b4a465", "heavyball", "3.1.1", "3.2.0", "heavyball:ADOPT",
        "What is applied is the average's buffer before the rounding copy: the normalized gradient itself, so betas[0] "
        "has no effect, and one large gradient is a step of its size.",
        "knob", r"betas?\S* .*has no effect",
        jump(100, 10.0), (10.0, 1.9), "length of the step on a gradient ten times those before, in learning rates",
    ),
    Case(
        "kozistr/pytorch_optimizer#480", KOZISTR, "3.9.0", "3.10.0", "pytorch_optimizer:AdamP",
        "eps is added after the reciprocal root: an entry whose gradient is 0 becomes NaN, and eps means nothing.",
        "finite", NOT_FINITE,
        last_finite([torch.tensor([1.0, 0.0], dtype=torch.float64)] * 3), (0.0, 1.0), "whether the step is finite",
        claim=None, refuted="AdamP projects the radial part out",
    ),
    Case(
        "kozistr/pytorch_optimizer#431", KOZISTR, "3.8.0", "3.8.1", "pytorch_optimizer:StableSPAM",
        "Divided by the gradient's norm: a gradient of 0 makes every later step NaN.",
        "finite", NOT_FINITE,
        last_finite([ones(), 0 * ones(), ones()]), (0.0, 1.0), "whether the step after a gradient of 0 is finite",
    ),
    Case(
        "kozistr/pytorch_optimizer#308", KOZISTR, "3.3.0", "3.3.1", "pytorch_optimizer:AdamG",
        "The bias correction is subtracted from 1 twice: steps are divided by powers of beta, and explode.",
        "verdict", REFUTED + "|" + NOT_FINITE,
        growth, (508.9, 6.8), "length of step 100 against step 10 under a constant gradient",
    ),
    Case(
        "kozistr/pytorch_optimizer#179", KOZISTR, "2.10.0", "2.10.1", "pytorch_optimizer:SWATS",
        "The update is multiplied by −lr out of place, and the product dropped: it ascends, by steps of order one at "
        "any learning rate.",
        "verdict", REFUTED + "|ascends",
        ascent, (3162.28, -1.0), "first step along the gradient, in learning rates",
    ),
    Case(
        "kozistr/pytorch_optimizer#479", KOZISTR, "3.9.0", "3.10.0", "pytorch_optimizer:EmoFact",
        "The sign is missing: the update is Adam's, not a sign.",
        "compare", PARTS,
        lambda make: round(-float(moves(make, [ones()])[0][0]) / RATE, 3), (3.162, 1.0), "length of the first step",
        claim="linf",
    ),
    Case(
        "yangluo7/CAME, release 0.1.3", "came-pytorch", "0.1.2", "0.1.3", "came_pytorch:CAME",
        "A vector's momentum is multiplied by the learning rate in place: it is lost, and vectors move a tenth.",
        "compare", PARTS,
        vector_to_matrix, (0.0021, 0.0206), "step of a vector's entry against a matrix's",
        refuted="a factored second moment",
    ),
    Case(
        "huggingface/pytorch-image-models#2791", "timm", "1.0.29", "1.0.30", "timm.optim.muon:Muon",
        "AdaMuon scales a convolution by its kernel's dimensions: 5.7 times too short at 8×4×3×3.",
        "shapes", r"times as far as the matrix that it flattens to",
        convolution, (0.177, 1.0), "root mean square of a kernel's step against a matrix's",
        {"algo": "adamuon", "weight_decay": 0.0}, refuted="five Newton–Schulz steps, then Adam's second moment",
        only="timm/optim",
    ),
    Case(
        "huggingface/pytorch-image-models#2749", "timm", "1.0.28", "1.0.29",
        "timm.optim.adafactor_bv:AdafactorBigVision",
        "The factor of the rows is lost on matrices that are taller than wide, from 16 rows on.",
        "shapes", r"block follows maxrow",
        orientation, (0.22, 0.0), "step on a matrix against that on its transpose, relative",
        {"weight_decay": 0.0}, refuted="a factored second moment", only="timm/optim",
    ),
    Case(
        "huggingface/pytorch-image-models#2790", "timm", "1.0.29", "1.0.30",
        "timm.optim.adafactor_bv:AdafactorBigVision",
        "Clipping the wrong way round: large updates are left alone, small ones are made large.",
        "compare", PARTS,
        enlarged, (1.164, 1.0),
        "step on a small gradient with clipping against without", {"weight_decay": 0.0, "clipping_threshold": 1.0},
        refuted="a factored second moment", only="timm/optim",
    ),
    Case(
        "huggingface/pytorch-image-models, release 1.0.31", "timm", "1.0.30", "1.0.31", "timm.optim.sgdw:SGDW",
        "With Nesterov and foreach, the default, the gradient that it is given is overwritten.",
        "habits", "changes the gradients that it is given",
        touched, (0.9, 0.0), "change of the gradient that it is given, relative",
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0, "foreach": True}, "l2", only="timm/optim",
    ),
    Case(
        "kozistr/pytorch_optimizer#135", KOZISTR, "2.7.0", "2.8.0", "pytorch_optimizer:Lion",
        "The update and the momentum are one tensor, averaged twice a step: a memory of 9 steps for 100.",
        "compare", PARTS,
        remembered, (9.0, 96.0), "steps for which a sign outlasts a turn of the gradient", claim="linf",
    ),
    Case(
        "kozistr/pytorch_optimizer#139", KOZISTR, "2.7.0", "2.8.0", "pytorch_optimizer:SGDP",
        "Nesterov's look-ahead is written into the momentum buffer.",
        "compare", PARTS,
        nesterov, (3.439, 2.71), "second step with Nesterov under a constant gradient, in learning rates",
        {"momentum": 0.9, "nesterov": True}, refuted="SGDP projects the radial part out",
    ),
    Case(
        "kozistr/pytorch_optimizer#346", KOZISTR, "3.4.0", "3.4.1", "pytorch_optimizer:ADOPT",
        "Divided by the second moment that has this very gradient in it, which ADOPT is there to avoid.",
        "compare", PARTS,
        jump(100, 3.0, betas=(0.0, 0.99)), (2.887, 3.0),
        "length of the step on a gradient three times those before, in learning rates", claim="linf",
    ),
    Case(
        "kozistr/pytorch_optimizer#397", KOZISTR, "3.6.1", "3.7.0", "pytorch_optimizer:DiffGrad",
        "eps is added inside the root as well: 1e-8 acts like 1e-4, and the method is gradient descent below that.",
        "eps", r"below (8e-05|9e-05|1e-04|[1-9]e-04|[1-9]e-03|0\.\d+)",
        share_left(1e-5), (0.099, 0.999), "step on gradients of 1e-5 against one on gradients of 1",
        {"betas": (0.9, 0.95)}, "linf",
    ),
    Case(
        "kozistr/pytorch_optimizer#530", KOZISTR, "4.0.0", "4.1.0", "pytorch_optimizer:Shampoo",
        "The inverse fourth root is an inverse eighth root: the step keeps the fourth root of the singular values.",
        "compare", PARTS,
        exponent, (0.25, 0.0), "power of the gradient's singular values that the step's are",
        refuted="never forgets: no fixed norm",
    ),
)  # fmt: skip
