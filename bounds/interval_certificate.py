"""Bounds that branch on one linear form: what repairs a Gram matrix with a near-null direction.

Let `s = vᵀ(x − target)` for a fixed `v`. With a centre `c`, `s² = (s − c)² + 2cs − c²`, and with `τ ≥ 0`,
`M = gram + τvvᵀ − D ⪰ 0`, `u = x − target` and any `y`

    E(x)  =  uᵀ(gram + τvvᵀ)u − τs²
          ≥  −yᵀMy + Σ_B [ u_Bᵀ D_B u_B + 2 (My − τc·v)_Bᵀ u_B ] + τc² − τ(s − c)².

`D` has to lie below the *lifted* matrix `gram + τvvᵀ` only: the direction in which the Gram matrix is flat no longer
limits it. Where `s ∈ [a, b]`, the last term is at least `−τ·max((a − c)², (b − c)²)`, which is all that an interval
gives away. Intervals that cover [a₀, b₀] ∋ 0 and, with `gram − σvvᵀ ⪰ 0`, the tail `E ≥ σs² ≥ σ·min(a₀², b₀²)` together
cover every `x`: the least of all is a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul

import numpy as np

from . import minima
from .block_certificate import BlockDiagonal, checked_split, moving
from .errors import CertificateError
from .gram import UNIT_ROUNDOFF, Array, Gram
from .minima.base import Blocks
from .problem import LeastSquares
from .rational import align, dyadic, why_not_semidefinite
from .rounding import UNDERFLOW, gamma, proves_semidefinite

#: Entries of the arrays that hold the intervals of rows together.
SLICE = 1 << 20


@dataclass(frozen=True, eq=False)
class IntervalCertificate:
    """All that is needed to check a bound by intervals of `vᵀ(x − target)`.

    Attributes
    ----------
    direction : (columns,)
        `v`; zero on dead columns.
    lift, tail : float
        `τ ≥ 0` and `σ ≥ 0`.
    blocks, matrices : see `BlockDiagonal`; below `gram + τvvᵀ`
    edges : for each row (intervals + 1,) increasing, from `a₀ ≤ 0` to `b₀ ≥ 0`; a lone zero is the certificate of zero
    centres : for each row (intervals,)
        `c`, any number; mostly inside its interval.
    y : for each row (intervals, columns)
    """

    direction: Array
    lift: float
    tail: float
    blocks: Blocks
    matrices: tuple[Array, ...]
    edges: tuple[Array, ...]
    centres: tuple[Array, ...]
    y: tuple[Array, ...]

    @property
    def split(self) -> BlockDiagonal:
        """Its `D`."""
        return BlockDiagonal(self.blocks, self.matrices)


def checked(problem: LeastSquares, claim: IntervalCertificate) -> IntervalCertificate:
    """The same with plain types.

    Raises
    ------
    CertificateError
    """
    n, rows = problem.columns, problem.rows
    direction = np.asarray(claim.direction, dtype=np.float64)
    lift, tail = float(claim.lift), float(claim.tail)
    if direction.shape != (n,) or not np.isfinite(direction).all() or np.any(direction[problem.gram.dead] != 0):
        raise CertificateError(f"the direction must be {n} finite numbers, zero on dead columns")
    if not (0 <= lift < np.inf and 0 <= tail < np.inf):
        raise CertificateError(f"lift = {lift} and tail = {tail} must be finite and not negative")
    if not len(claim.edges) == len(claim.centres) == len(claim.y) == rows:
        raise CertificateError(
            f"{rows} rows have edges for {len(claim.edges)}, centres for {len(claim.centres)} and y for {len(claim.y)}"
        )
    edges, centres, y = (
        tuple(np.asarray(array, dtype=np.float64) for array in arrays)
        for arrays in (claim.edges, claim.centres, claim.y)
    )
    for row, (line, middle, points) in enumerate(zip(edges, centres, y, strict=True)):
        if line.ndim != 1 or line.size < 1 or points.shape != (line.size - 1, n) or middle.shape != (line.size - 1,):
            raise CertificateError(
                f"row {row}: edges of shape {line.shape}, centres of shape {middle.shape} and y of shape {points.shape}"
            )
        if not all(np.isfinite(array).all() for array in (line, middle, points)):
            raise CertificateError(f"row {row}: edges, centres or y are not finite")
        if not np.all(np.diff(line) > 0) or line[0] > 0 or line[-1] < 0:
            raise CertificateError(f"row {row}: edges must increase from a₀ ≤ 0 to b₀ ≥ 0")
    split = checked_split(problem.gram, claim.split, rows)
    return IntervalCertificate(direction, lift, tail, split.blocks, split.matrices, edges, centres, y)


def proves_lifted(gram: Gram, direction: Array, lift: float, split: BlockDiagonal | None) -> bool:
    """True only if `gram + lift·vvᵀ − D ⪰ 0` in exact arithmetic (`D = 0` where `split` is None); `lift` of any sign.

    An entry is computed with an error of at most `eᵢⱼ = 4·2⁻⁵³ (|gᵢⱼ| + |lift vᵢ vⱼ| + |dᵢⱼ|)`, and for every `w > 0` a
    symmetric matrix bounded by `eᵢⱼ` is at least `−diag(Σⱼ eᵢⱼ wⱼ/wᵢ)`, which is subtracted before the proof.
    """
    live = gram.live
    v = direction[live]
    rank_one = lift * np.outer(v, v)
    base = gram.array[np.ix_(live, live)]
    matrix = base + rank_one
    error = np.abs(base) + np.abs(rank_one)
    if split is not None:
        d = split.dense(gram.columns)[np.ix_(live, live)]
        matrix -= d
        error += np.abs(d)
    root = np.sqrt(error.diagonal())
    matrix[np.diag_indices(live.size)] -= 5 * UNIT_ROUNDOFF * (error @ (1 / root)) * root + UNDERFLOW
    return proves_semidefinite(matrix, touched=2)


def safe_value(problem: LeastSquares, claim: IntervalCertificate, blur: Array | None = None) -> Array:
    """See `bounds.safe_value`."""
    claim = checked(problem, claim)
    gram = problem.gram
    if not proves_lifted(gram, claim.direction, -claim.tail, None):
        raise CertificateError("gram − tail·vvᵀ is not provably positive semidefinite in float64; lower the tail")
    for row in range(1 if claim.split.shared else problem.rows):
        if not proves_lifted(gram, claim.direction, claim.lift, claim.split.of_row(row)):
            raise CertificateError(
                f"row {row}: gram + lift·vvᵀ − D is not provably positive semidefinite in float64; shrink D"
            )
    return row_values(problem, claim, blur)


def row_values(problem: LeastSquares, claim: IntervalCertificate, blur: Array | None = None) -> Array:
    """The bound of each row, (rows,), given the semidefinite proofs of `safe_value`."""
    cells = [len(points) for points in claim.y]
    least = np.array([tail_value(claim, row) for row in range(problem.rows)])
    alone = (range(row, row + 1) for row in range(problem.rows))
    for rows in _batches(cells, SLICE // problem.columns) if claim.split.shared else alone:
        values = cell_values(problem, claim, rows, blur)
        np.minimum.at(least, np.repeat(rows, [cells[row] for row in rows]), values)
    return least


def _batches(cells: list[int], most: int) -> Iterator[range]:
    """Consecutive rows with so many intervals together, or one row with more."""
    first = held = 0
    for row, count in enumerate(cells):
        if row > first and held + count > most:
            yield range(first, row)
            first, held = row, 0
        held += count
    if cells:
        yield range(first, len(cells))


def tail_value(claim: IntervalCertificate, row: int) -> float:
    """What is proven where `s` lies outside all intervals."""
    reach = min(-claim.edges[row][0], claim.edges[row][-1])
    return float(max(claim.tail * reach * reach * (1 - 8 * UNIT_ROUNDOFF) - UNDERFLOW, 0.0))


def cell_values(
    problem: LeastSquares, claim: IntervalCertificate, rows: Sequence[int], blur: Array | None = None
) -> Array:
    """The bound in each interval of some rows less its rounding, one row after the other, given both proofs.

    More than one row where they share a `D`. Rounding and `blur` are treated as in `block_certificate.evaluate`; the
    lift adds a rank-one product to `My` and a multiple of `v` to the linear term.
    """
    v, lift, split = claim.direction, claim.lift, claim.split.of_row(rows[0])
    y = np.concatenate([claim.y[row] for row in rows])
    if len(y) == 0:
        return np.zeros(0)
    centre = np.concatenate([claim.centres[row] for row in rows])
    low = np.concatenate([claim.edges[row][:-1] for row in rows])
    high = np.concatenate([claim.edges[row][1:] for row in rows])
    n = problem.columns
    place = np.repeat(rows, [len(claim.y[row]) for row in rows])
    with np.errstate(all="ignore"):
        m = y @ problem.gram.array + np.outer(lift * (y @ v), v) - split.times(y)
        size = np.abs(y) @ np.abs(problem.gram.array) + np.outer(lift * (np.abs(y) @ np.abs(v)), np.abs(v))
        size += split.size.times(np.abs(y))
        slack = gamma(2 * n + split.widest + 16) * size + UNDERFLOW
        pull = np.outer(lift * centre, v)
        g = m - pull
        doubt = slack + 8 * UNIT_ROUNDOFF * (np.abs(m) + np.abs(pull)) + UNDERFLOW
        moved = moving(split, g, doubt, None if blur is None else blur[place])
        least = minima.of(problem.feasible, split.blocks).safe_minimum(
            problem.feasible, split.blocks, split.matrices, g, doubt, problem.target[place]
        )
        gained, given = lift * centre * centre, lift * np.maximum(np.abs(low - centre), np.abs(high - centre)) ** 2
        lost = (np.abs(y) * (slack + gamma(n + 4) * np.abs(m))).sum(axis=-1) + moved + UNDERFLOW
        value = least - np.einsum("ri,ri->r", y, m) + (gained - given)
        rounded = np.abs(value) + np.abs(least) + gained + given
        value = value - 1.01 * lost - 8 * UNIT_ROUNDOFF * rounded
    return np.where(np.isfinite(value), value, -np.inf)


def verify(problem: LeastSquares, claim: IntervalCertificate, rows: Sequence[int] | None = None) -> list[Fraction]:
    """See `bounds.verify`: two semidefinite proofs (one more for each `D`), and the exact minimum of every interval."""
    claim = checked(problem, claim)
    gram = problem.gram.array.tolist()
    (v,), v_shift = dyadic([claim.direction.tolist()])
    if reason := why_not_semidefinite(_combined(gram, v, v_shift, -claim.tail, None)[0]):
        raise CertificateError(f"gram − tail·vvᵀ is not positive semidefinite: {reason}; lower the tail")
    values = []
    matrix: list[list[int]] = []
    shift = 0
    for count, row in enumerate(range(problem.rows) if rows is None else rows):
        split = claim.split.of_row(row)
        if count == 0 or not claim.split.shared:
            matrix, shift = _combined(gram, v, v_shift, claim.lift, split.dense(problem.columns).tolist())
            if reason := why_not_semidefinite(matrix):
                raise CertificateError(
                    f"row {row}: gram + lift·vvᵀ − D is not positive semidefinite: {reason}; shrink D"
                )
        reach = min(-claim.edges[row][0], claim.edges[row][-1])
        least = Fraction(claim.tail) * Fraction(reach) ** 2
        for cell in range(len(claim.y[row])):
            least = min(least, _exact_cell(problem, claim, split, row, cell, matrix, shift))
        values.append(least)
    return values


def _combined(
    gram: list[list[float]], v: list[int], v_shift: int, lift: float, d: list[list[float]] | None
) -> tuple[list[list[int]], int]:
    """`gram + lift·vvᵀ − D` as integers and their shift."""
    base, base_shift = dyadic(gram)
    taken, taken_shift = dyadic(d) if d is not None else ([[0] * len(v)] * len(v), 0)
    ((factor,),), factor_shift = dyadic([[lift]])
    lift_shift = factor_shift + 2 * v_shift
    shift = max(base_shift, taken_shift, lift_shift)
    base, taken = align(base, shift - base_shift), align(taken, shift - taken_shift)
    matrix = []
    for i, vi in enumerate(v):
        scaled = (factor * vi) << (shift - lift_shift)
        matrix.append([b - t + scaled * vj for b, t, vj in zip(base[i], taken[i], v, strict=True)])
    return matrix, shift


def _exact_cell(
    problem: LeastSquares,
    claim: IntervalCertificate,
    split: BlockDiagonal,
    row: int,
    cell: int,
    matrix: list[list[int]],
    shift: int,
) -> Fraction:
    low, high = (Fraction(value) for value in claim.edges[row][cell : cell + 2].tolist())
    (y,), y_shift = dyadic([claim.y[row][cell].tolist()])
    m = [Fraction(sum(map(mul, line, y)), 1 << (shift + y_shift)) for line in matrix]
    lift, centre = Fraction(claim.lift), Fraction(float(claim.centres[row][cell]))
    pull = lift * centre
    g = [a - pull * Fraction(b) for a, b in zip(m, claim.direction.tolist(), strict=True)]
    exact = [[[Fraction(value) for value in line] for line in d.tolist()] for d in split.matrices]
    target = [Fraction(value) for value in problem.target[row].tolist()]
    try:
        least = minima.of(problem.feasible, split.blocks).exact_minimum(
            problem.feasible, split.blocks, exact, g, target
        )
    except CertificateError as error:
        raise CertificateError(f"row {row}: {error}") from error
    rest = centre**2 - max(abs(low - centre), abs(high - centre)) ** 2
    return Fraction(least - sum(map(mul, m, y)) / (1 << y_shift) + lift * rest)
