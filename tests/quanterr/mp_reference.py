"""Expected errors in 50 decimal digits, by quadrature that shares nothing with the product."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from mpmath import mp, mpf
from mpmath.calculus.quadrature import GaussLegendre

mp.dps = 50

Density = Callable[[mpf], mpf]


def gaussian(x: mpf) -> mpf:
    return mp.exp(-x * x / 2)


def laplace(x: mpf) -> mpf:
    return mp.exp(-abs(x))


def logistic(x: mpf) -> mpf:
    return 1 / mp.cosh(x / 2) ** 2 / 4


def generalized(shape: float) -> Density:
    return lambda x: mp.exp(-(abs(x) ** mpf(shape)))


def student(df: float) -> Density:
    return lambda x: (1 + x * x / mpf(df)) ** (-(mpf(df) + 1) / 2)


def uniform(x: mpf) -> mpf:
    return mpf(1)


FAR = mpf(2) ** 40
RULE = GaussLegendre(mp).calc_nodes(5, mp.prec + 20)  # 48 points


@lru_cache
def steps(ratio: str) -> list[mpf]:
    """Magnitudes to cut at: by factors of two near 0, then evenly, then by factors of `ratio`."""
    found = [mpf(2) ** power for power in range(-60, -3)]
    found += [mpf(k) / 8 for k in range(33)] + [mpf(k) for k in range(5, 41)]
    while found[-1] < FAR:
        found.append(found[-1] * mpf(ratio))
    return found


def pieces(a: mpf, b: mpf, ratio: str) -> list[mpf]:
    """Cuts of [a, b], among them the kink in 0."""
    cuts = {mpf(a), mpf(b)} | {sign * step for step in steps(ratio) for sign in (-1, 1)}
    return sorted(c for c in cuts if a <= c <= b)


def integral(p: Density, df: float | None, center: mpf, k: int, a: mpf, b: mpf) -> mpf:
    """`∫ (x − center)ᵏ p(x) dx`; beyond 2⁴⁰ by the power law of a Student-t with `df`, or nothing."""
    if a == -mp.inf or (b < mp.inf and b <= 0):
        a, b, center = -b, -a, -center  # all densities here are even, and k
    total = mpf(0)
    if b == mp.inf:
        b = max(a, FAR)
        if df is not None:
            nu = mpf(df)
            for i in range(k + 1):
                for j in range(4):
                    term = mp.binomial(-(nu + 1) / 2, j) * nu ** (j + (nu + 1) / 2)
                    power = i - nu - 2 * j
                    total -= term * mp.binomial(k, i) * (-center) ** (k - i) * b**power / power
    for u, v in pairwise(pieces(a, b, "1.1" if df is None else "2")):
        if df is None and p(min(abs(u), abs(v))) < mpf("1e-60") * p(max(a, mpf(0))):
            continue
        half, middle = (v - u) / 2, (v + u) / 2
        total += half * mp.fsum(w * (middle + half * x - center) ** k * p(middle + half * x) for x, w in RULE)
    return total


def errors(
    p: Density, df: float | None, low: mpf, high: mpf, levels: Sequence[float], scale: float
) -> tuple[mpf, mpf, mpf]:
    """Rounding error, clipping error and mass of the unnormalised density on [low, high]."""
    q = [mpf(level) * mpf(scale) for level in levels]
    rounding = mpf(0)
    for left, right in pairwise(q):
        middle = (left + right) / 2
        for center, a, b in ((left, left, middle), (right, middle, right)):
            a, b = max(a, low), min(b, high)
            if a < b:
                rounding += integral(p, df, center, 2, a, b)
    clipping = mpf(0)
    if low < q[0]:
        clipping += integral(p, df, q[0], 2, low, min(q[0], high))
    if high > q[-1]:
        clipping += integral(p, df, q[-1], 2, max(q[-1], low), high)
    return rounding, clipping, integral(p, df, mpf(0), 0, low, high)
