"""Exponentials and logarithms for vectors: the C library has them number by number, which was half of a small step.

To one unit in the last place or so, over the whole range, infinities, zeros and NaN as in C.
"""

from __future__ import annotations

from math import factorial, inf, nan

import torch

from maxmargin.verify.engine.native.ir import Code, literal, suffix, vector

ROUND = 6755399441055744.0
"""1.5 · 2^52: added and taken away again it rounds to a whole number, which meanwhile are the last bits."""
TERMS = 14
"""Of the series of e^r with |r| ≤ ln 2 / 2; the first one left out is 4e-18."""
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""ln 2 in two parts; the first has 32 bits, so that its products with exponents are exact (as fdlibm splits it)."""
LOGARITHM = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
"""fdlibm's polynomial of the logarithm, in powers of (f/(2+f))², for 1 + f between √½ and √2."""
_SQRT_HALF = 0x3FE6A09E << 32  # the upper bits of √½ as a number
_ONE = 0x3FF << 52


class _Row:
    """Arithmetic on vectors of a width, written down instruction by instruction."""

    def __init__(self, code: Code, width: int) -> None:
        self.code, self.width = code, width
        self.real, self.whole, self.flag = (vector(kind, width) for kind in ("double", "i64", "i1"))

    def number(self, value: float) -> str:
        return self.code.splat(literal(value, torch.float64), "double", self.width)

    def f(self, name: str, a: str, b: str) -> str:
        return self.code.op(f"f{name} {self.real} {a}, {b}")

    def i(self, name: str, a: str, b: int | str) -> str:
        b = self.code.splat(str(b), "i64", self.width) if isinstance(b, int) else b
        return self.code.op(f"{name} {self.whole} {a}, {b}")

    def fma(self, a: str, b: str, c: str) -> str:
        name = f"llvm.fmuladd.{suffix('double', self.width)}"
        return self.code.call(name, self.real, (self.real, a), (self.real, b), (self.real, c))

    def bits(self, x: str) -> str:
        return self.code.op(f"bitcast {self.real} {x} to {self.whole}")

    def real_of(self, bits: str) -> str:
        return self.code.op(f"bitcast {self.whole} {bits} to {self.real}")

    def where(self, how: str, x: str, bound: float, then: str, otherwise: str) -> str:
        """``then`` where x compares so with a number."""
        holds = self.code.op(f"fcmp {how} {self.real} {x}, {self.number(bound)}")
        return self.code.op(f"select {self.flag} {holds}, {self.real} {then}, {self.real} {otherwise}")

    def polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        """c₀ + c₁ x + …, in pairs, so that products wait less for each other."""
        terms = [self.number(c) for c in coefficients]
        power = x
        while len(terms) > 1:
            pairs = [self.fma(power, b, a) for a, b in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + terms[len(pairs) * 2 :]
            power = self.f("mul", power, power) if len(terms) > 1 else power
        return terms[0]


def exp(code: Code, width: int, x: str) -> str:
    """e^x = 2^n e^r with |r| ≤ ln 2 / 2, e^r by its series; 2^n in two factors, so that small results are gradual."""
    row = _Row(code, width)
    # Beyond these e^x is 0 or infinite; NaN stays.
    x = row.where("ogt", x, 710.0, row.number(710.0), row.where("olt", x, -746.0, row.number(-746.0), x))
    shifted = row.fma(x, row.number(1.4426950408889634), row.number(ROUND))
    n = row.f("sub", shifted, row.number(ROUND))
    r = row.fma(n, row.number(-LN2_HIGH), x)
    r = row.fma(n, row.number(-LN2_LOW), r)
    rest = row.polynomial(r, tuple(1.0 / factorial(k) for k in range(2, TERMS)))
    small = row.fma(row.f("mul", r, r), rest, r)
    out = row.f("add", small, row.number(1.0))
    count = row.i("sub", row.bits(shifted), row.bits(row.number(ROUND)))
    half = row.i("ashr", count, 1)
    for part in (half, row.i("sub", count, half)):
        out = row.f("mul", out, row.real_of(row.i("shl", row.i("add", part, 1023), 52)))
    return out


def _logarithm(row: _Row, u: str, x: str | None) -> str:
    """log u for positive normal u, with x: log(1 + x), where u is 1 + x rounded."""
    moved = row.i("add", row.bits(u), _ONE - _SQRT_HALF)
    k = row.i("sub", row.i("lshr", moved, 52), 1023)
    m = row.real_of(row.i("add", row.i("and", moved, (1 << 52) - 1), _SQRT_HALF))
    f = row.f("sub", m, row.number(1.0))
    exponent = row.f("sub", row.real_of(row.i("add", k, row.bits(row.number(ROUND)))), row.number(ROUND))
    low = row.f("mul", exponent, row.number(LN2_LOW))
    if x is not None:
        # What rounding 1 + x lost, relative to it; where x is small it is f itself.
        lost = row.where(
            "ogt", exponent, 1.5,
            row.f("sub", row.number(1.0), row.f("sub", u, x)), row.f("sub", x, row.f("sub", u, row.number(1.0))),
        )  # fmt: skip
        lost = row.where("oeq", exponent, 0.0, row.number(0.0), row.f("div", lost, u))
        f = row.where("oeq", exponent, 0.0, x, f)
        low = row.f("add", low, lost)
    s = row.f("div", f, row.f("add", f, row.number(2.0)))
    z = row.f("mul", s, s)
    R = row.f("mul", z, row.polynomial(z, LOGARITHM))
    half = row.f("mul", row.f("mul", f, f), row.number(0.5))
    inner = row.fma(s, row.f("add", half, R), low)
    return row.fma(
        exponent, row.number(LN2_HIGH), row.f("sub", f, row.f("sub", half, inner))
    )  # fmt: skip


def log(code: Code, width: int, x: str) -> str:
    """The natural logarithm; −inf of 0, NaN of negative numbers."""
    row = _Row(code, width)
    tiny = row.f("mul", x, row.number(2.0**54))
    normal = row.where("olt", x, 2.0**-1022, tiny, x)
    found = _logarithm(row, normal, None)
    found = row.where("olt", x, 2.0**-1022, row.f("sub", found, row.number(54 * 0.6931471805599453)), found)
    return _outside(row, x, 0.0, found)


def log1p(code: Code, width: int, x: str) -> str:
    """log(1 + x), exact for small x too; −inf of −1, NaN below."""
    row = _Row(code, width)
    u = row.f("add", x, row.number(1.0))
    return _outside(row, x, -1.0, _logarithm(row, u, x))


def _outside(row: _Row, x: str, least: float, found: str) -> str:
    found = row.where("oeq", x, inf, row.number(inf), found)
    found = row.where("oeq", x, least, row.number(-inf), found)
    found = row.where("olt", x, least, row.number(nan), found)
    return row.where("uno", x, 0.0, x, found)


def hypot(code: Code, width: int, a: str, b: str) -> str:
    """√(a² + b²) without overflow or underflow: the larger one times √(1 + ratio²)."""
    row = _Row(code, width)

    def one(name: str, *operands: str) -> str:
        return code.call(f"llvm.{name}.{suffix('double', width)}", row.real, *[(row.real, x) for x in operands])

    a, b = one("fabs", a), one("fabs", b)
    large, small = one("maximum", a, b), one("minimum", a, b)
    ratio = row.f("div", small, large)
    found = row.f("mul", large, one("sqrt", row.fma(ratio, ratio, row.number(1.0))))
    # 0/0 of two zeros and inf/inf: there the larger one is the answer.
    return row.where("oeq", large, 0.0, large, row.where("oeq", large, inf, large, found))
