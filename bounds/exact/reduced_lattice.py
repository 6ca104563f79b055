"""Integer points by lattice reduction: for thin metrics in wide boxes, where plain enumeration drowns.

Inputs that hardly differ, such as neighbouring pixels under a depthwise kernel, make `E` nearly flat in some
directions. The ellipsoid `E ≤ E*` is then long and holds millions of partial integer points in the original
coordinates, but few in those of a reduced basis `x = round(target) + U z`, `U` unimodular. The box is not separable
in `z`; it is checked at the leaves, so the method pays when the box hardly cuts the ellipsoid (5 bits and more).

What the lower bound rests on
-----------------------------
`U` is exact in integers. The reduced Gram `R = Uᵀ gram U` and its Cholesky factor carry an error of at most
`c n u S`, `S = |U|ᵀ |gram| |U|`, entry by entry, which changes any `E` by at most the fraction
`c n u · Σ Sᵢᵢ / Rᵢᵢ / λ`, with `λ` the smallest eigenvalue of `R` at unit diagonal (both computed); the factor
`SAFETY` covers the rounding of the centre and of the sums along a path, first order, times four.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from ..gram import UNIT_ROUNDOFF, Array, Gram
from ..kernels.lattice import nearest_in_box, reduce_basis

SAFETY = 64.0
DELTA = 0.999
WIDEST = 64


class Reduced:
    """A reduced basis of the integers in the metric of a Gram's live part; `usable` is False where it failed."""

    def __init__(self, gram: Gram) -> None:
        live = gram.live
        matrix = gram.array[np.ix_(live, live)]
        matrix = np.ldexp(matrix, -int(np.frexp(matrix.diagonal().max())[1]))
        n = live.size
        basis, inverse = np.zeros((2, n, n), dtype=np.int64)
        self.usable = n <= WIDEST and bool(reduce_basis(matrix, DELTA, basis, inverse))
        if not self.usable:
            return
        self.basis, self.inverse = basis.astype(np.float64), inverse.astype(np.float64)
        reduced = self.basis.T @ matrix @ self.basis
        reduced = (reduced + reduced.T) / 2
        size = np.abs(self.basis).T @ np.abs(matrix) @ np.abs(self.basis)
        root = np.sqrt(reduced.diagonal())
        smallest = float(np.linalg.eigvalsh(reduced / root / root[:, None])[0])
        self.usable = smallest > n * UNIT_ROUNDOFF
        if self.usable:
            self.factor = np.ascontiguousarray(np.linalg.cholesky(reduced).T)
            self.allowance = SAFETY * n * UNIT_ROUNDOFF * float((size.diagonal() / root**2).sum()) / smallest


_reduced: WeakKeyDictionary[Gram, Reduced] = WeakKeyDictionary()


def search(
    gram: Gram,
    target: Array,
    low: int,
    high: int,
    start_error: float,
    max_nodes: int,
    gap_tol: float,
    largest_slack: float,
) -> tuple[Array | None, bool, float, int]:
    """One row, live columns only.

    Parameters
    ----------
    target : (live columns,)
    start_error : error of a known point of the box, in the unit of `gram`
    largest_slack : nothing is tried where rounding alone would cost more than this

    Returns
    -------
    point : (live columns,) or None when nothing better than the start was found
    complete : True when every other point is proven worse, up to the slack
    slack : relative; the lower bound is `error · (1 − slack)`
    nodes : int
    """
    if gram not in _reduced:
        _reduced[gram] = Reduced(gram)
    reduced = _reduced[gram]
    if not reduced.usable or 8.0 * reduced.allowance > largest_slack:
        return None, False, 1.0, 0
    origin = np.floor(target + 0.5)
    exponent = int(np.frexp(gram.array.diagonal().max())[1])
    best = np.ldexp(start_error, -exponent) * (1.0 + 4.0 * reduced.allowance)
    point = np.full(target.size, np.nan)
    _, complete, nodes = nearest_in_box(
        reduced.factor, reduced.basis, reduced.inverse @ (target - origin), origin, float(low), float(high),
        best, 1.0 - gap_tol, max_nodes, point,
    )  # fmt: skip
    slack = gap_tol + 8.0 * reduced.allowance
    return (None if np.isnan(point[0]) else point), bool(complete), min(slack, 1.0), int(nodes)
