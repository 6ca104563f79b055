"""Block minima of pruning: every block's error-versus-keep curve, and the best allocation of `keep` over the blocks.

With `q = g − D t`, `u = x − t` and `S` the kept columns, free to move,

    Σ_B u_Bᵀ D_B u_B + 2 gᵀu  =  tᵀD t − 2 gᵀt + Σ_B [ x_Bᵀ D_B x_B + 2 q_Bᵀ x_B ],
    least over x_S            =  tᵀD t − 2 gᵀt − Σ_B F_B(S ∩ B),        F_B(S) = q_Sᵀ (D_SS)⁻¹ q_S.

The largest `F_B` for each size is a curve over at most `2^width` subsets; the allocation is a max-plus product of the
curves, exact whether they are concave or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..errors import CertificateError
from ..feasible import Sparse
from ..gram import UNIT_ROUNDOFF, Array
from ..kernels.subset_curves import allocate, allocate_all, curves, factor_rows
from ..rounding import UNDERFLOW, gamma, proves_semidefinite
from .base import Blocks

WIDEST = 20
BITS = 200


def safe_minimum(
    feasible: Sparse, blocks: Blocks, matrices: tuple[Array, ...], g: Array, slack: Array, target: Array
) -> Array:
    """See `base.BlockMinimum`.

    Rounding. Let `D_B ⪰ λ diag(D_B)` be proven. (1) `q` is known up to `s` (the slack of `g`, and `γ |D||t|`), which
    moves `√F` by at most `η = √(Σ sᵢ²/(λ dᵢ))`, because `D_SS⁻¹ ⪯ (λ diag)⁻¹`. (2) The computed `z` solves exactly a
    system with `D_SS + Δ`, `|Δᵢⱼ| ≤ 4γ √(dᵢ dⱼ)`, `γ = γ_{2m+16}` (Higham, theorems 8.5 and 10.3, with a margin for the
    reciprocal pivots), so `Δ ⪯ 4mγ/λ · D_SS`, and `F ≤ (1 + 4mγ/λ)(1 + γ) ‖z‖²`. Both are monotone in the computed
    value, so that they may be applied to the largest of each size. Without a definite `D_B` the value is −∞.
    """
    with np.errstate(all="ignore"):
        found = _gains(blocks, matrices, g, slack, target)
        if found is None:
            return np.full(g.shape[0], -np.inf)
        gains, sizes, constant, error = found
        kept = np.array([allocate(gains[row], sizes, feasible.keep) for row in range(len(gains))])
        return _less(constant, kept, error, len(blocks))


def safe_minima(blocks: Blocks, matrices: tuple[Array, ...], g: Array, slack: Array, target: Array) -> Array:
    """`safe_minimum` for every budget 0, 1, …, columns: (columns + 1, rows)."""
    rows, columns = g.shape
    with np.errstate(all="ignore"):
        found = _gains(blocks, matrices, g, slack, target)
        if found is None:
            return np.full((columns + 1, rows), -np.inf)
        gains, sizes, constant, error = found
        kept = np.empty((rows, columns + 1))
        for row in range(rows):
            allocate_all(gains[row], sizes, kept[row])
        return _less(constant, np.maximum.accumulate(kept, axis=1).T, error, len(blocks))


def _less(constant: Array, kept: Array, error: Array, blocks: int) -> Array:
    """`constant − kept` and all that rounding may have added."""
    value = constant - kept
    lost = 1.01 * error + gamma(blocks + 4) * kept + 4 * UNIT_ROUNDOFF * np.abs(value)
    return np.asarray(value - 1.01 * lost)


def _gains(
    blocks: Blocks, matrices: tuple[Array, ...], g: Array, slack: Array, target: Array
) -> tuple[Array, NDArray[np.int64], Array, Array] | None:
    """The largest `F_B` of each size, rounded up, (rows, blocks, widest + 1), the widths of the blocks, the constant
    of each row, and how far both may be off, (rows,); None without a definite `D`."""
    rows = g.shape[0]
    widest = max((block.size for block in blocks), default=0)
    _refuse_wide(widest)
    curve = np.full((rows, len(blocks), widest + 1), -np.inf)
    constant = np.zeros(rows)
    error = np.zeros(rows)
    with np.errstate(all="ignore"):
        for index, (columns, d) in enumerate(zip(blocks, matrices, strict=True)):
            m = columns.size
            least = definiteness(d)
            table = np.empty((1 << m, m + 1))
            if least == 0.0 or not factor_rows(d, table):
                return None
            count = np.array([subset.bit_count() for subset in range(1 << m)], dtype=np.int64)
            t, h = target[:, columns], g[:, columns]
            shift = t @ d
            size = np.abs(t) @ np.abs(d)
            q = h - shift
            doubt = slack[:, columns] + gamma(m + 4) * (size + np.abs(h)) + UNDERFLOW
            part = np.empty((rows, m + 1))
            curves(table, m, count, np.ascontiguousarray(q), part)
            spread = 4 * m * gamma(2 * m + 16) / least
            eta = np.sqrt((doubt * doubt / (least * d.diagonal())).sum(axis=1))
            if not spread < 0.5:
                return None
            root = np.sqrt(part * (1 + spread + gamma(m + 8))) + eta[:, None] + UNDERFLOW
            curve[:, index, : m + 1] = root * root * (1 + gamma(12)) + UNDERFLOW
            curve[:, index, 0] = 0.0
            constant += (t * (shift - 2 * h)).sum(axis=1)
            error += gamma(2 * m + len(blocks) + 12) * (np.abs(t) * (size + 2 * np.abs(h))).sum(axis=1)
            error += 2 * (np.abs(t) * slack[:, columns]).sum(axis=1) + UNDERFLOW
    sizes = np.array([block.size for block in blocks], dtype=np.int64)
    return curve, sizes, constant, error


def definiteness(d: Array) -> float:
    """A `λ > 0` with `D ⪰ λ diag(D)`, proven, or 0 where float64 proves none."""
    root = np.sqrt(d.diagonal())
    if d.shape[0] == 0 or not root.min() > 0 or not np.isfinite(root).all():
        return 1.0 if d.shape[0] == 0 else 0.0
    share = 0.9 * float(np.linalg.eigvalsh(d / root / root[:, None])[0])
    if not share > 0:
        return 0.0
    lowered = d.copy()
    lowered[np.diag_indices(len(d))] = d.diagonal() * (1 - share)
    return share if proves_semidefinite(lowered, touched=2) else 0.0


def _refuse_wide(widest: int) -> None:
    if widest > WIDEST:
        raise CertificateError(
            f"a block of {widest} columns has 2^{widest} subsets: pruning certificates take blocks of at most {WIDEST}"
        )


def exact_minimum(
    feasible: Sparse,
    blocks: Blocks,
    matrices: Sequence[list[list[Fraction]]],
    g: list[Fraction],
    target: list[Fraction],
) -> Fraction:
    """See `base.BlockMinimum`; within 2⁻²⁰⁰ of the largest curve value, which are rounded away from the optimum."""
    _refuse_wide(max((block.size for block in blocks), default=0))
    constant = Fraction(0)
    parts: list[list[Fraction]] = []
    for index, (columns, d) in enumerate(zip(blocks, matrices, strict=True)):
        t, h = [target[c] for c in columns], [g[c] for c in columns]
        shift = [sum((a * b for a, b in zip(line, t, strict=True)), Fraction(0)) for line in d]
        constant += sum((a * (b - 2 * c) for a, b, c in zip(t, shift, h, strict=True)), Fraction(0))
        best = [Fraction(0)] * (columns.size + 1)
        if not _subsets(d, [a - b for a, b in zip(h, shift, strict=True)], 0, Fraction(0), best):
            raise CertificateError(f"no finite minimum over {feasible}: D of block {index} is not positive definite")
        parts.append(best)
    largest = max((part[-1] for part in parts), default=Fraction(0))
    unit = 1 << BITS
    scale = unit / largest if largest > 0 else Fraction(unit)
    allocation = [0]
    for part in parts:
        steps = [math.floor(value * scale) + 1 for value in part]
        steps[0] = 0
        longer = [-1] * min(len(allocation) + len(part) - 1, feasible.keep + 1)
        for k, total in enumerate(allocation):
            for j, step in enumerate(steps[: len(longer) - k]):
                longer[k + j] = max(longer[k + j], total + step)
        allocation = longer
    least = constant - max(allocation) / scale
    # every D_B has positive pivots here, so that squares alone remain when g is zero
    return least if any(g) else max(least, Fraction(0))


def _subsets(d: list[list[Fraction]], q: list[Fraction], size: int, gained: Fraction, best: list[Fraction]) -> bool:
    """Walk all subsets by elimination, the last column first; False where a pivot is not positive."""
    if gained > best[size]:
        best[size] = gained
    for last in range(len(q)):
        pivot = d[last][last]
        if not pivot > 0:
            return False
        share = [d[i][last] / pivot for i in range(last)]
        rest = [[d[i][j] - share[i] * d[last][j] for j in range(last)] for i in range(last)]
        pull = [q[i] - share[i] * q[last] for i in range(last)]
        if not _subsets(rest, pull, size + 1, gained + q[last] * q[last] / pivot, best):
            return False
    return True
