"""Figure 2 of the paper (7 bit-widths × 200 truncations of Student's t, ν = 2, the best scale of each) against quad.

`scipy.integrate.quad` integrates the same half-cells and tails, once with a bare Python density (the leanest way to
call it) and once with the density of `scipy.stats`. It searches the scale as the paper does, on a grid of 100; its time
is measured on every 40th truncation (one scale with `scipy.stats`) in the same process and multiplied up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import stats
from scipy.integrate import quad

from quanterr import expected
from quanterr.distributions import StudentT
from quanterr.grids import IntegerGrid

from .timing import markdown, processor_seconds

BITS = range(2, 9)
RANGES = np.geomspace(1.0, 100.0, 200)
SEARCH = 100
EVERY = 40


def sweep() -> tuple[expected.ScaleSearch, np.ndarray, np.ndarray]:
    """Proven best scales, quantisation and pruning SNR in dB, each (bits, ranges)."""
    dists = np.array([StudentT(2).truncate(r) for r in RANGES], dtype=object)
    grids = np.array([IntegerGrid(b) for b in BITS], dtype=object)[:, None]
    found = expected.search_scale(dists, grids)
    sparsity = expected.matching_sparsity(np.array(BITS))[:, None]
    return found, expected.quantization_snr(dists, grids, found.scale), expected.pruning_snr(dists, sparsity)


def by_quad(density: Callable[[float], float], r: float, bits: int, scale: float) -> float:
    """Quantisation error, half-cell by half-cell (eq. (14) with |q| − 1 intervals, and eq. (15))."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    total = 0.0
    for code in range(low, high + 1):
        q = scale * code
        left = -r if code == low else max(q - scale / 2, -r)
        right = r if code == high else min(q + scale / 2, r)
        for a, b in ((left, min(q, right)), (max(q, left), right)):
            if a < b:
                total += quad(lambda w, q=q: (w - q) ** 2 * density(w), a, b, epsabs=0.0, epsrel=1e-12)[0]
    return total


def run() -> str:
    """Both tables; asserts that quad and the sweep agree to 1e-9."""
    sweep()
    ours, (found, _, _) = processor_seconds(sweep, 3)
    lean, plain = 0.0, 0.0
    worst = 0.0
    rows = []
    for i, bits in enumerate(BITS):
        lean_one, plain_one = 0.0, 0.0
        columns = range(0, RANGES.size, EVERY)
        for j in columns:
            r, scale = float(RANGES[j]), float(found.scale[i, j])
            mass = r / math.sqrt(2 + r * r)
            seconds, error = processor_seconds(partial(by_quad, lambda w: (2 + w * w) ** -1.5, r, bits, scale))
            lean_one += seconds / len(columns)
            worst = max(worst, abs(error / mass / float(found.error[i, j]) - 1.0))
        seconds, _ = processor_seconds(partial(by_quad, stats.t(2).pdf, r, bits, scale))
        plain_one = seconds
        dist, grid = StudentT(2).truncate(r), IntegerGrid(bits)
        scales = np.full(200, scale)
        mine = processor_seconds(partial(expected.quantization_error, dist, grid, scales), 3)[0] / scales.size
        lean += lean_one * SEARCH * RANGES.size
        plain += plain_one * SEARCH * RANGES.size
        row = (mine * 1e6, lean_one * 1e6, plain_one * 1e6, lean_one / mine, plain_one / mine)
        rows.append([str(bits), *(f"{v:,.0f}" for v in row), f"{found.evaluations[i].mean():.0f}"])
    assert worst < 1e-9, worst
    gap = float((1.0 - found.lower / found.error).max())
    header = ["bits", "ours, µs an error", "quad, bare", "quad, scipy.stats", "ratio", "ratio", "our evaluations"]
    summary = [
        ["quanterr: search with proof, both SNRs", f"{ours:.2f}", "1"],
        ["quad, bare density, 100 scales", f"{lean:,.0f}", f"{lean / ours:,.0f}"],
        ["quad, scipy.stats density, 100 scales", f"{plain:,.0f}", f"{plain / ours:,.0f}"],
    ]
    text = f"Largest proven gap to the global optimum {gap:.1e}; largest difference from quad {worst:.1e}."
    return "\n\n".join([markdown(["sweep", "processor seconds", "ratio"], summary), markdown(header, rows), text])
