"""The softened right side of the inequality for pruning, and Newton's method for its best `y`."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from ..block_certificate import BlockDiagonal
from ..gram import Array
from ..kernels.subset_soft import prepare, soft_moments, soft_values

ARMIJO = 0.1
BACKTRACK = 0.4
NEGLIGIBLE = 1e-2


class SoftMinimum:
    """The softened right side of the inequality for one `D`, as a function of `y` (one row at a time).

    All in the live columns, in the order of the blocks.
    """

    def __init__(self, gram: Array, split: BlockDiagonal, keep: int) -> None:
        self.split = split
        self.keep = keep
        self.sizes = np.array([block.size for block in split.blocks], dtype=np.int64)
        self.order = np.concatenate(split.blocks)
        m, count = int(self.sizes.max()), len(split.blocks)
        ends = np.cumsum(self.sizes)
        self.slices = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        self.slot = np.concatenate([index * m + np.arange(size) for index, size in enumerate(self.sizes)])
        self.matrices = np.zeros((count, m, m))
        self.rest = gram[np.ix_(self.order, self.order)]
        for index, d in enumerate(split.matrices):
            self.matrices[index, : len(d), : len(d)] = d
            self.rest[self.slices[index], self.slices[index]] -= d
        self.table = np.empty((count, 1 << m, m + 1))
        if not prepare(self.matrices, self.sizes, self.table):
            raise ArithmeticError("a block of D is not positive definite")
        self.count = np.array([subset.bit_count() for subset in range(1 << m)], dtype=np.int64)
        self.value = np.empty((count, 1 << m))
        self.mass = np.empty((count, m + 1))
        self.work = np.zeros((1 << m, m))
        self.mean, self.cross = np.empty((count, m)), np.empty((count, m))
        self.inverse, self.spread = np.empty((count, m, m)), np.empty((count, m, m))

    def times_d(self, v: Array) -> Array:
        padded = self.pad(v)
        return np.asarray(np.matmul(self.matrices, padded[:, :, None])[:, :, 0].ravel()[self.slot])

    def pad(self, v: Array) -> Array:
        out = np.zeros(self.mean.size)
        out[self.slot] = v
        return out.reshape(self.mean.shape)

    def __call__(self, target: Array, y: Array, eps: float) -> tuple[float, float, Array, Array]:
        g = self.rest @ y
        shift = self.times_d(target)
        q = self.pad(g - shift)
        soft, price = soft_values(
            self.table, self.sizes, self.count, q, eps, self.keep, self.value, self.mass, self.work
        )
        return float(soft - y @ g + target @ (shift - 2 * g)), price, q, g

    def step(self, target: Array, y: Array, eps: float, price: float, q: Array) -> tuple[Array, float]:
        """Newton's step and the decrement it promises."""
        variance = self.moments(q, eps, price)
        residual = self.mean.ravel()[self.slot] - target - y
        curvature = self.inverse + (2 / eps) * self.spread
        weight = np.einsum("bii->bi", curvature).ravel()[self.slot]
        # (I + K M) dy = residual; rows where K M is small are left out, which hardly turns the step
        active = np.flatnonzero(weight * self.rest.diagonal() > NEGLIGIBLE)
        product = np.empty_like(self.rest)
        for index, part in enumerate(self.slices):
            size = part.stop - part.start
            product[part] = curvature[index, :size, :size] @ self.rest[part]
        if variance > 1e-9 and price > 0:
            cross = self.cross.ravel()[self.slot]
            product -= np.outer((2 / eps / variance) * cross, cross @ self.rest)
        dy = residual.copy()
        passive = np.ones(y.size, dtype=bool)
        passive[active] = False
        right = residual[active] - product[np.ix_(active, np.flatnonzero(passive))] @ residual[passive]
        system = product[np.ix_(active, active)]
        system[np.diag_indices(active.size)] += 1
        dy[active] = lapack.dgesv(system, right, overwrite_a=1)[2]
        return dy, float(2 * dy @ (self.rest @ residual))

    def covariances(self, target: Array, y: Array, eps: float) -> list[Array]:
        """Covariance of the soft minimiser on each block."""
        _, price, q, _ = self(target, y, eps)
        self.moments(q, eps, price)
        return [self.spread[index, :size, :size].copy() for index, size in enumerate(self.sizes)]

    def moments(self, q: Array, eps: float, price: float) -> float:
        """Fill mean, inverse, spread and cross; returns the variance of the number kept."""
        return float(
            soft_moments(
                self.table, self.sizes, self.count, q, eps, price,
                self.value, self.mean, self.inverse, self.spread, self.cross,
            )
        )  # fmt: skip

    def rise(self, target: Array, y: Array, eps: float, steps: int, tol: float) -> tuple[Array, float]:
        value, price, q, _ = self(target, y, eps)
        for _ in range(steps):
            dy, promise = self.step(target, y, eps, price, q)
            if not promise > tol * abs(value):
                break
            length = 1.0
            while True:
                trial, trial_price, trial_q, _ = self(target, y + length * dy, eps)
                if trial >= value + ARMIJO * length * promise or length < 1e-4:
                    break
                length *= BACKTRACK
            if trial <= value:
                break
            y = y + length * dy
            value, price, q = trial, trial_price, trial_q
        return y, value
