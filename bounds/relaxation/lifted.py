"""A Gram matrix with a near-null direction, lifted along it, and what belongs to the inequality of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from ..block_certificate import BlockDiagonal
from ..errors import CertificateError
from ..gram import Array, Gram
from ..interval_certificate import IntervalCertificate, proves_lifted
from ..result import Bound
from ..rounding import SHRINK


@dataclass(frozen=True, eq=False)
class Lifted:
    """`gram + lift·vvᵀ` (rounded: it only proposes) and what belongs to it."""

    gram: Gram
    direction: Array
    lift: float
    tail: float
    shift: Array

    @staticmethod
    def of(gram: Gram, lift: float) -> Lifted:
        """The direction is that of the smallest eigenvalue at unit diagonal; `shift = τ (gram + τvvᵀ)⁻¹ v`.

        Kept as long as the Gram matrix lives.

        Raises
        ------
        ProblemError
            A singular Gram matrix, by column.
        """
        kept = _known.setdefault(gram, {})
        if lift not in kept:
            gram.require_definite("a bound by intervals")
            kept[lift] = Lifted._of(gram, lift)
        return kept[lift]

    @staticmethod
    def _of(gram: Gram, lift: float) -> Lifted:
        live = gram.live
        root = np.sqrt(gram.array.diagonal()[live])
        direction = np.zeros(gram.columns)
        direction[live] = root * gram.eigenvectors[:, 0]
        flat = np.linalg.solve(gram.array[np.ix_(live, live)], direction[live])
        curvature = 1 / float(direction[live] @ flat)
        shift = np.zeros(gram.columns)
        shift[live] = lift * flat / (1 + lift / curvature)
        for share in (1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0):
            tail = (1 - share) * curvature
            if proves_lifted(gram, direction, -tail, None):
                matrix = gram.array + lift * np.outer(direction, direction)
                return Lifted(Gram(matrix), direction, lift, tail, shift)
        raise CertificateError("the Gram matrix is not provably positive semidefinite in float64: merge columns")

    def provable(self, base: Gram, split: BlockDiagonal) -> BlockDiagonal:
        """The mildest shrinking of `D` whose `base + lift·vvᵀ − D ⪰ 0` float64 proves, `base` not being lifted."""
        for share in SHRINK[:-1]:
            trial = split.shrunk(share) if share else split
            if proves_lifted(base, self.direction, self.lift, trial):
                return trial
        raise CertificateError("gram + lift·vvᵀ − D is not provably positive semidefinite in float64: raise the lift")

    def claim(
        self, split: BlockDiagonal, edges: Sequence[Array], centres: Sequence[Array], y: Sequence[Array]
    ) -> IntervalCertificate:
        """The certificate of some rows."""
        return IntervalCertificate(
            self.direction, self.lift, self.tail, split.blocks, split.matrices, tuple(edges), tuple(centres), tuple(y)
        )

    def gained(self, centres: Array) -> Array:
        """What the inequality at a centre is worth more than the bound of the lifted problem with its target moved."""
        return np.asarray(self.lift * (1 - float(self.direction @ self.shift)) * centres * centres)

    def of_row(self, bound: Bound, row: int) -> Bound:
        """The bound of one row."""
        claim = bound.certificate
        assert isinstance(claim, IntervalCertificate)
        own = claim.split.of_row(row)
        return Bound(
            bound.value[row : row + 1], self.claim(own, [claim.edges[row]], [claim.centres[row]], [claim.y[row]])
        )

    def stacked(self, bounds: Sequence[Bound]) -> Bound:
        """The bounds of single rows as one, each with the `D` that it has."""
        claims = [bound.certificate for bound in bounds if isinstance(bound.certificate, IntervalCertificate)]
        matrices = tuple(np.stack(stack) for stack in zip(*(claim.matrices for claim in claims), strict=True))
        edges, centres, y = zip(*((claim.edges[0], claim.centres[0], claim.y[0]) for claim in claims), strict=True)
        value = np.concatenate([bound.value for bound in bounds])
        return Bound(value, self.claim(BlockDiagonal(claims[0].blocks, matrices), edges, centres, y))

    def nothing(self, split: BlockDiagonal) -> IntervalCertificate:
        """The certificate of zero for one row: no interval, the tail alone."""
        return self.claim(split, [np.zeros(1)], [np.zeros(0)], [np.zeros((0, self.direction.size))])


_known: WeakKeyDictionary[Gram, dict[float, Lifted]] = WeakKeyDictionary()
