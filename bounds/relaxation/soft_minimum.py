"""The softened right side of the inequality for pruning, and Newton's method for its best `y`."""

from __future__ import annotations

import numpy as np

from ..block_certificate import BlockDiagonal
from ..gram import Array
from ..kernels.subset_soft import prepare, soft_moments, soft_values

ARMIJO = 0.1
BACKTRACK = 0.4
ITERATIONS = 40
ACCURACY = 1e-2


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
        """An inexact Newton step and the rise it promises.

        The step solves `(I + K M) dy = E[x] − target − y`, `K = E[D_SS⁻¹] + 2/ε Cov` (less what the multiplier of the
        budget takes up), by conjugate gradients in the metric of `M`, where `I + K M` is symmetric and positive
        definite: one product with `M` an iteration, and an ascent direction wherever it is cut short.
        """
        variance = self.moments(q, eps, price)
        residual = self.mean.ravel()[self.slot] - target - y
        curvature = self.inverse + (2 / eps) * self.spread
        cross = self.cross.ravel()[self.slot]
        taken = 2 / eps / variance if variance > 1e-9 and price > 0 else 0.0
        image = self.rest @ residual
        r, m_r = residual.copy(), image.copy()
        p, m_p = r.copy(), m_r.copy()
        dy = np.zeros_like(y)
        size = first = float(r @ m_r)
        for _ in range(ITERATIONS):
            if not size > ACCURACY * first:
                break
            padded = self.pad(m_p)
            z = p + np.matmul(curvature, padded[:, :, None])[:, :, 0].ravel()[self.slot]
            if taken:
                z -= (taken * float(cross @ m_p)) * cross
            length = size / float(m_p @ z)
            dy += length * p
            r -= length * z
            m_r -= length * (self.rest @ z)
            before, size = size, float(r @ m_r)
            p = r + (size / before) * p
            m_p = m_r + (size / before) * m_p
        return dy, float(2 * dy @ image)

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
