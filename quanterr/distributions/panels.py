"""Integrals that are not polynomial moments (entropy, order statistics), on the same panels as the kernels."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import comb

from . import kernels
from .kernels import (
    CONSTANT,
    GENERALIZED,
    HIGH,
    KIND,
    LOCATION,
    LOW,
    NODES,
    SCALE,
    SHAPE,
    STUDENT,
    TINY,
    WEIGHTS,
    Array,
)

FARTHEST = 1e140


def edges(table: Array) -> Array:
    """Sorted panel limits that cover the support, with every kink and truncation limit among them."""
    found: set[float] = set()
    for row in table:
        found.update(v for v in (row[LOW], row[HIGH]) if math.isfinite(v))
        kind, shape = int(row[KIND]), float(row[SHAPE])
        if kind == CONSTANT:
            continue
        steps = [0.0]
        x = TINY if kind == GENERALIZED else 0.0
        while x < FARTHEST and kernels.profile(kind, shape, x) > 0.0:
            if x > 0.0:
                steps.append(x)
            x += kernels.reach(kind, shape, x)
        steps.append(x)
        for step in steps:
            for w in (row[LOCATION] - step * row[SCALE], row[LOCATION] + step * row[SCALE]):
                if row[LOW] < w < row[HIGH]:
                    found.add(float(w))
    return np.array(sorted(found))


def nodes(limits: Array, pieces: int) -> tuple[Array, Array]:
    """Gauss–Legendre points and weights on all panels, each cut into `pieces`."""
    fractions = np.arange(pieces) / pieces
    width = np.diff(limits)
    starts = (limits[:-1, None] + fractions * width[:, None]).ravel()
    half = np.repeat(0.5 * width / pieces, pieces)
    points = (starts + half)[:, None] + half[:, None] * NODES[0]
    return points.ravel(), (half[:, None] * WEIGHTS[0]).ravel()


def entropy(table: Array) -> float:
    """`−∫ p log₂ p`, in bits."""
    points, weights = nodes(edges(table), 1)
    p = np.empty(points.size)
    kernels.densities(table, points, p)
    inside = p > 0.0
    return -float(np.sum(weights[inside] * p[inside] * np.log2(p[inside])))


def ranked_power(table: Array, lost: int, group: int) -> float:
    """`E[Σ_{j ≤ lost} w²_(j)] / group` of `group` independent draws ordered by magnitude.

    A magnitude x is lost when fewer than `lost` of the other `group − 1` are smaller: a binomial tail in the
    distribution function G of magnitudes, whose terms are positive. G and 1 − G are both integrated directly.
    """
    if lost == 0:
        return 0.0
    heavy = table[(table[:, KIND] == STUDENT) & (np.isinf(table[:, LOW]) | np.isinf(table[:, HIGH])), SHAPE]
    keep = group - lost
    if heavy.size and heavy.min() * (keep + 1) <= 2.0:
        return math.inf
    limits = np.unique(np.concatenate([np.abs(edges(table)), [0.0]]))
    points, weights = nodes(limits, 1 + group // 2)
    front, back = np.empty(points.size), np.empty(points.size)
    kernels.densities(table, points, front)
    kernels.densities(table, -points, back)
    inside, outside = masses(table, points)
    chance = np.zeros_like(points)
    for j in range(lost):
        chance += comb(group - 1, j) * inside**j * outside ** (group - 1 - j)
    # In this order heavy tails far out neither overflow nor vanish.
    terms = weights * (front + back) * chance * points * points
    total = float(terms.sum())
    if heavy.size:
        # Beyond the last panel the integrand is a power of x.
        x = points[-1]
        total += float(x * (front[-1] + back[-1]) * chance[-1] * x * x) / (heavy.min() * (keep + 1) - 2.0)
    return total


def masses(table: Array, points: Array) -> tuple[Array, Array]:
    """`P(|W| ≤ x)` and `P(|W| > x)` at ascending points, accumulated from both ends so that neither cancels."""
    zeros = np.zeros(points.size)
    before = np.concatenate([[0.0], points[:-1]])
    right, left = np.empty(points.size), np.empty(points.size)
    kernels.moments(table, zeros, 0, before, points, right)
    kernels.moments(table, zeros, 0, -points, -before, left)
    last = points[-1]
    beyond = kernels.moment(table, 0.0, 0.0, 0, last, math.inf)
    beyond += kernels.moment(table, 0.0, 0.0, 0, -math.inf, -last)
    ring = right + left
    above = np.concatenate([ring[1:], [beyond]])
    return np.cumsum(ring), np.cumsum(above[::-1])[::-1]
