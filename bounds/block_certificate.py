"""The inequality of `certificate` with a block-diagonal `D`: exact proofs, and float64 with its allowance.

Let `D` consist of symmetric blocks `D_B` on disjoint sets of columns, `M = gram − D ⪰ 0`. For every real `y` and every
feasible `x`, with `u = x − target` and `g = My`,

    E(x)  ≥  −yᵀg + Σ_B [ u_Bᵀ D_B u_B + 2 g_Bᵀ u_B ]          because (u − y)ᵀ M (u − y) ≥ 0.

The minimum of the right side over the feasible set is a small exact problem for each block (`minima`). A larger part of
the Gram matrix is treated exactly than with a diagonal `D`, and only the rest `M` is relaxed.
This file is apart from `certificate` because its minima are enumerations instead of closed forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

from . import minima
from .errors import CertificateError
from .gram import UNIT_ROUNDOFF, Array, Gram
from .problem import LeastSquares
from .rational import align, dyadic, why_not_semidefinite
from .result import Bound
from .rounding import SHRINK, UNDERFLOW, gamma, proves_semidefinite

if TYPE_CHECKING:
    from .minima.base import Blocks


@dataclass(frozen=True, eq=False)
class BlockDiagonal:
    """A block-diagonal `D`, shared by all rows or one for each: plain arrays, to be stored or sent to other processes.

    Attributes
    ----------
    blocks : tuple of (width,) integer arrays
        Disjoint sets of columns that cover all inputs which are not dead, and no others.
    matrices : tuple of (width, width) or (rows, width, width) arrays
        The symmetric `D_B` of each block, in the unit of the Gram matrix.
    """

    blocks: Blocks
    matrices: tuple[Array, ...]

    @property
    def shared(self) -> bool:
        """Whether one `D` serves all rows."""
        return all(d.ndim == 2 for d in self.matrices)

    def of_row(self, row: int) -> BlockDiagonal:
        """The `D` of one row, as one to be shared."""
        return self if self.shared else BlockDiagonal(self.blocks, tuple(d[row] for d in self.matrices))

    def diagonal(self, columns: int) -> Array | None:
        """A shared `D` as its diagonal, (columns,), where every block is one column: else None."""
        if any(block.size != 1 for block in self.blocks):
            return None
        entries = np.zeros(columns)
        for block, d in zip(self.blocks, self.matrices, strict=True):
            entries[block] = d[0]
        return entries

    def times(self, y: Array) -> Array:
        """`y D` for a shared `D`, (rows, columns); rounded `widest block + 1` times at most."""
        d = self.diagonal(y.shape[-1])
        if d is not None:
            return np.asarray(y * d)
        product = np.zeros_like(y)
        for block, matrix in zip(self.blocks, self.matrices, strict=True):
            product[:, block] = y[:, block] @ matrix
        return product

    @property
    def size(self) -> BlockDiagonal:
        """The magnitudes of its entries."""
        return BlockDiagonal(self.blocks, tuple(np.abs(d) for d in self.matrices))

    @property
    def widest(self) -> int:
        """Columns of the largest block."""
        return max((block.size for block in self.blocks), default=0)

    def dense(self, columns: int) -> Array:
        """A shared `D` as a dense matrix, (columns, columns), zero outside the blocks."""
        if (entries := self.diagonal(columns)) is not None:
            return np.diag(entries)
        matrix = np.zeros((columns, columns))
        for block, d in zip(self.blocks, self.matrices, strict=True):
            matrix[np.ix_(block, block)] = d
        return matrix

    def shrunk(self, share: float) -> BlockDiagonal:
        """Every block times `1 − share`."""
        return BlockDiagonal(self.blocks, tuple(np.asarray((1 - share) * d) for d in self.matrices))


@dataclass(frozen=True, eq=False)
class BlockCertificate:
    """All that is needed to check a bound with a block-diagonal `D`.

    Attributes
    ----------
    blocks, matrices : see `BlockDiagonal`
    y : (rows, columns)
        The step `x − target` at which the inequality is tight, in the unit of the target.
    """

    blocks: Blocks
    matrices: tuple[Array, ...]
    y: Array

    @property
    def split(self) -> BlockDiagonal:
        """Its `D`."""
        return BlockDiagonal(self.blocks, self.matrices)


def checked_split(gram: Gram, split: BlockDiagonal, rows: int | None = None) -> BlockDiagonal:
    """The same with plain types; one `D` for all rows, or (where `rows` is given) one for each.

    Raises
    ------
    CertificateError
        Blocks that are no partition of the live columns, or matrices of wrong shape, not finite or not symmetric.
    """
    blocks = tuple(np.asarray(block, dtype=np.intp) for block in split.blocks)
    matrices = tuple(np.asarray(d, dtype=np.float64) for d in split.matrices)
    if len(blocks) != len(matrices):
        raise CertificateError(f"{len(blocks)} blocks have {len(matrices)} matrices: give one D for each block")
    for index, (block, d) in enumerate(zip(blocks, matrices, strict=True)):
        shape = (block.size, block.size)
        if block.ndim != 1 or d.shape not in (shape, (rows, *shape)) or d.ndim != matrices[0].ndim:
            raise CertificateError(f"block {index} has columns of shape {block.shape} and D of shape {d.shape}")
        if not np.isfinite(d).all() or not np.array_equal(d, np.swapaxes(d, -1, -2)):
            raise CertificateError(f"D of block {index} is not finite and symmetric")
    columns = np.sort(np.concatenate(blocks)) if blocks else np.zeros(0, dtype=np.intp)
    if not np.array_equal(columns, gram.live):
        raise CertificateError(
            f"the blocks hold {columns.size} columns, but must hold each of the {gram.live.size} live columns "
            "exactly once and no dead one"
        )
    return BlockDiagonal(blocks, matrices)


def _checked(problem: LeastSquares, certificate: BlockCertificate) -> BlockCertificate:
    y = np.asarray(certificate.y, dtype=np.float64)
    if y.shape != problem.target.shape:
        raise CertificateError(
            f"a certificate for targets {problem.target.shape} has y of the same shape, not {y.shape}"
        )
    if not np.isfinite(y).all():
        raise CertificateError(f"y is not finite in row {int(np.argwhere(~np.isfinite(y))[0][0])}")
    split = checked_split(problem.gram, certificate.split, problem.rows)
    return BlockCertificate(split.blocks, split.matrices, y)


def proves_split(gram: Gram, split: BlockDiagonal) -> bool:
    """True only if `gram − D ⪰ 0` in exact arithmetic."""
    live = gram.live
    rest = (gram.array - split.dense(gram.columns))[np.ix_(live, live)]
    return proves_semidefinite(rest, touched=max(split.widest, 1))


def provable_split(gram: Gram, split: BlockDiagonal) -> BlockDiagonal:
    """The mildest shrinking of `D`, by 1e-12 … 1e-2 of itself, whose `gram − D ⪰ 0` float64 proves.

    Raises
    ------
    ProblemError
        A singular Gram matrix, by column.
    CertificateError
        A Gram matrix so near to singular that float64 proves nothing.
    """
    split = checked_split(gram, split)
    for share in SHRINK[:-1]:
        trial = split.shrunk(share) if share else split
        if proves_split(gram, trial):
            return trial
    gram.require_definite("a block-diagonal D")
    raise CertificateError(
        "gram − D is not provably positive semidefinite in float64 even for 0.99·D: propose a smaller D, or "
        "merge dependent columns"
    )


def certify_split(problem: LeastSquares, split: BlockDiagonal, y: Array) -> Bound:
    """The safe bound of a proposed `(D, y)`, and the certificate actually proven.

    Where `gram − D ⪰ 0` is not proven in float64 `D` is shrunk (`provable_split`): better done before `y` is sought.
    A row whose value is not positive falls back to `y = 0` and the value 0: every `D_B` is then semidefinite.

    Raises
    ------
    CertificateError, ProblemError
        See `provable_split`; wrong shapes; and where not even 0 is proven.
    """
    split, y = (claim := _checked(problem, BlockCertificate(split.blocks, split.matrices, y))).split, claim.y
    if not split.shared:
        bounds = [certify_split(problem.restrict(r), split.of_row(r), y[r : r + 1]) for r in range(problem.rows)]
        claims = [bound.certificate for bound in bounds]
        stacks = zip(*(claim.matrices for claim in claims if isinstance(claim, BlockCertificate)), strict=True)
        proven = BlockCertificate(
            split.blocks, tuple(np.stack(stack) for stack in stacks), np.concatenate([claim.y for claim in claims])
        )
        return Bound(np.concatenate([bound.value for bound in bounds]), proven)
    split = provable_split(problem.gram, split)
    value = evaluate(problem, split, y)
    weak = ~(value > 0)
    if weak.any():
        if not all(proves_semidefinite(d, touched=0) for d in split.matrices):
            raise CertificateError("a block of D is not provably positive definite: propose one with a higher floor")
        y = np.where(weak[:, None], 0.0, y)
        value = np.where(weak, 0.0, value)
    return Bound(value, BlockCertificate(split.blocks, split.matrices, y))


def safe_value(problem: LeastSquares, certificate: BlockCertificate, blur: Array | None = None) -> Array:
    """See `bounds.safe_value`."""
    certificate = _checked(problem, certificate)
    if not certificate.split.shared:
        own = (None if blur is None else blur[row : row + 1] for row in range(problem.rows))
        return np.concatenate([safe_value(*_single(problem, certificate, r), b) for r, b in enumerate(own)])
    if not proves_split(problem.gram, certificate.split):
        raise CertificateError(
            "gram − D is not provably positive semidefinite in float64; shrink D (BlockSplit does), or use verify"
        )
    value = evaluate(problem, certificate.split, certificate.y, blur)
    definite = all(proves_semidefinite(d, touched=0) for d in certificate.matrices)
    zero = (certificate.y == 0).all(axis=-1) & definite
    return np.where(zero, np.maximum(value, 0.0), value)


def _single(problem: LeastSquares, certificate: BlockCertificate, row: int) -> tuple[LeastSquares, BlockCertificate]:
    own = certificate.split.of_row(row)
    return problem.restrict(row), BlockCertificate(own.blocks, own.matrices, certificate.y[row : row + 1])


def _verify_own(problem: LeastSquares, certificate: BlockCertificate, row: int) -> Fraction:
    try:
        return verify(*_single(problem, certificate, row))[0]
    except CertificateError as error:
        raise CertificateError(f"the D of row {row}: {error}") from error


def evaluate(
    problem: LeastSquares, split: BlockDiagonal, y: Array, blur: Array | None = None, every: bool = False
) -> Array:
    """The right side of the inequality less its rounding, (rows,), given `M ⪰ 0`; −∞ where nothing is proven.

    For `every` size 0, 1, …, columns of a `Sparse` set: (columns + 1, rows).

    The exact `g = My` lies within `slack` of the computed one; the minimum is safe for all such `g`. A target moved
    by `e`, `|e| ≤ blur`, moves `g` by `−De` and the value by `eᵀDe − 2gᵀe`.
    """
    n = problem.columns
    with np.errstate(all="ignore"):
        g = y @ problem.gram.array
        slack = gamma(n + 4) * (np.abs(y) @ np.abs(problem.gram.array))
        g -= split.times(y)
        slack += gamma(n + split.widest + 4) * split.size.times(np.abs(y))
        slack += 2 * UNIT_ROUNDOFF * np.abs(g) + UNDERFLOW * (y != 0).any(axis=-1, keepdims=True)
        slack *= 1 + gamma(2 * n + 8)
        moved = moving(split, g, slack, blur)
        if every:
            from .minima.sparse import safe_minima  # brings numba along, which verify does without

            least = safe_minima(split.blocks, split.matrices, g, slack, problem.target)
        else:
            least = minima.of(problem.feasible, split.blocks).safe_minimum(
                problem.feasible, split.blocks, split.matrices, g, slack, problem.target
            )
        lost = (np.abs(y) * (slack + gamma(n + 4) * np.abs(g))).sum(axis=-1) + moved + UNDERFLOW
        value = least - np.einsum("ri,ri->r", y, g)
        value = value - 1.01 * lost - 4 * UNIT_ROUNDOFF * (np.abs(value) + np.abs(least))
    return np.where(np.isfinite(value), value, -np.inf)


def evaluate_curve(problem: LeastSquares, certificate: BlockCertificate) -> Array:
    """`evaluate` for every size of a `Sparse` set, (rows, columns + 1), given `M ⪰ 0`."""
    certificate = _checked(problem, certificate)
    if not certificate.split.shared:
        return np.concatenate([evaluate_curve(*_single(problem, certificate, row)) for row in range(problem.rows)])
    return evaluate(problem, certificate.split, certificate.y, every=True).T


def moving(split: BlockDiagonal, g: Array, slack: Array, blur: Array | None) -> Array | float:
    """What a target within `blur` can take from the value, (rows,); what it does to `g` is added to `slack`."""
    if blur is None:
        return 0.0
    lost = 2 * (blur * (np.abs(g) + slack)).sum(axis=-1)
    size = split.size.times(blur) * (1 + gamma(split.widest + 4)) + UNDERFLOW
    slack += size
    lost += (blur * size).sum(axis=-1)
    return np.asarray(lost * (1 + gamma(g.shape[-1] + 8)))


def verify(problem: LeastSquares, certificate: BlockCertificate, rows: Sequence[int] | None = None) -> list[Fraction]:
    """See `bounds.verify`. `gram − D ⪰ 0` is proven once, the block minima by exact enumeration for each row."""
    certificate = _checked(problem, certificate)
    if not certificate.split.shared:
        return [_verify_own(problem, certificate, row) for row in (range(problem.rows) if rows is None else rows)]
    least = minima.of(problem.feasible, certificate.blocks).exact_minimum
    live = problem.gram.live.tolist()
    gram, gram_shift = dyadic(problem.gram.array.tolist())
    d, d_shift = dyadic(certificate.split.dense(problem.columns).tolist())
    shift = max(gram_shift, d_shift)
    aligned = zip(align(gram, shift - gram_shift), align(d, shift - d_shift), strict=True)
    matrix = [[a - b for a, b in zip(line, taken, strict=True)] for line, taken in aligned]
    if reason := why_not_semidefinite(matrix):
        raise CertificateError(f"gram − D is not positive semidefinite: {reason}; shrink D")
    exact = [[[Fraction(value) for value in line] for line in block.tolist()] for block in certificate.matrices]
    values = []
    for row in range(problem.rows) if rows is None else rows:
        (y,), y_shift = dyadic([certificate.y[row].tolist()])
        g = [Fraction(0)] * problem.columns
        for i in live:
            g[i] = Fraction(sum(map(mul, matrix[i], y)), 1 << (shift + y_shift))
        target = [Fraction(value) for value in problem.target[row].tolist()]
        try:
            minimum = least(problem.feasible, certificate.blocks, exact, g, target)
        except CertificateError as error:
            raise CertificateError(f"row {row}: {error}") from error
        values.append(minimum - sum(map(mul, g, y)) / (1 << y_shift))
    return values
