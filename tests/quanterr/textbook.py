"""Slow twins of the heuristics: one row at a time, a fresh inverse after each weight, as the papers print them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TIE = 1e-10


def instance(rows: int, columns: int, seed: int, dead: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """Correlated inputs, so that feedback matters; weights that reach beyond a 2-bit grid."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4 * columns, columns)) @ (np.eye(columns) + 0.4 * rng.standard_normal((columns, columns)))
    x[:, list(dead)] = 0.0
    return rng.standard_normal((rows, columns)) * 1.3, x.T @ x / len(x)


def first_least(score: Array) -> int:
    """The first within the tolerance for ties of the least."""
    return int(np.flatnonzero(score <= score.min() + TIE * abs(score.min()))[0])


def slow_gptq(t: Array, gram: Array, low: int, high: int, order: list[int]) -> Array:
    """Frantar et al. 2023, GPTQ, in any order of columns."""
    w, x, left = t.copy(), np.zeros_like(t), list(order)
    for column in order:
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        x[column] = np.clip(np.floor(w[column] + 0.5), low, high)
        w[left] -= (w[column] - x[column]) / inverse[0, 0] * inverse[:, 0]
        left.remove(column)
    return x


def slow_obq(t: Array, gram: Array, low: int, high: int) -> Array:
    """Frantar & Alistarh 2022, OBQ with its rule for outliers; weights on the grid go before those."""
    w, left = t.copy(), list(range(len(t)))
    while left:
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        q = np.clip(np.floor(w[left] + 0.5), low, high)
        error = np.abs(w[left] - q)
        at = first_least(error**2 / inverse.diagonal())
        if error.max() > 0.5 and error[at] > 0.0:
            at = first_least(-(error**2))
        w[left] -= (w[left][at] - q[at]) / inverse[at, at] * inverse[:, at]
        w[left[at]] = q[at]
        left.pop(at)
    return w


def slow_trace(w: Array, gram: Array) -> tuple[list[int], Array]:
    """The same paper, algorithm 1 to the end: the columns in their order, and the losses."""
    w, left = w.copy(), list(range(len(w)))
    order, losses = [], []
    while left:
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        loss = w[left] ** 2 / inverse.diagonal()
        at = first_least(loss)
        losses.append(loss[at])
        w[left] -= w[left][at] / inverse[at, at] * inverse[:, at]
        w[left[at]] = 0.0
        order.append(left.pop(at))
    return order, np.array(losses)


def slow_obs(w: Array, gram: Array, keep: int) -> Array:
    """What is left after `columns − keep` steps of `slow_trace`, refitted."""
    kept = sorted(slow_trace(w, gram)[0][len(w) - keep :])
    x = np.zeros_like(w)
    x[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], (gram @ w)[kept])
    return x


def slow_sorted(gram: Array) -> list[int]:
    """Pick the column with the smallest norm outside the span of those picked; round the last one first."""
    picked: list[int] = []
    while len(picked) < len(gram):
        rest = gram - gram[:, picked] @ np.linalg.solve(gram[np.ix_(picked, picked)], gram[picked]) if picked else gram
        picked.append(min((j for j in range(len(gram)) if j not in picked), key=lambda j: rest[j, j]))
    return picked[::-1]
