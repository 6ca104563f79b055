"""Post-training quantisers: time against the published algorithms of OBQ and GPTQ, and SNR beside the exact optimum.

The baselines are written here from the papers, in the batched torch form and the float32 that their authors run:
Optimal Brain Compression's algorithms 1 and 3 with 32 rows at a time and one rank-one update of every row's inverse a
step; GPTQ's algorithm 1 with blocks of 128 columns, in both orders, without damping. Ours compute in float64. Same
process, one thread, processor time; the judge is the undamped Gram matrix in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import bounds
from quanterr import heuristics as h
from quanterr.code_grid import CodeGrid, code_grid
from quanterr.contestants import Method, feasible_set
from quanterr.layers import Layer
from quanterr.scaling import codes_range

from .instances import instances, layers
from .timing import markdown, processor_seconds

Array = NDArray[np.float64]

BITS = (2, 3, 4)
PARALLEL = 32
GPTQ_BLOCK = 128
ROWS = 160
SPEED_BITS = 4

METHODS: dict[str, Callable[..., Any]] = {
    "nearest": h.nearest,
    "stochastic, best of 16": partial(h.stochastic, draws=16),
    "GPTQ (Babai), natural order": partial(h.babai, order="natural"),
    "GPTQ (Babai), by activation": partial(h.babai, order="activation"),
    "Babai, sorted QR": h.babai,
    "Babai, box-aware": partial(h.babai, box_aware=True),
    "OBQ": h.obq,
    "Klein, 16 draws, box-aware": h.klein,
    "coordinate descent": partial(h.local_search, pairs=False),
    "2-opt": h.local_search,
    "K-best, 16 paths, box-aware": h.k_best,
    "K-best, 64 paths, box-aware": partial(h.k_best, beam=64),
}


def run() -> str:
    """Three tables."""
    return "\n\n".join([_speed(), _chunks(), _whole()])


# The published algorithms


def published_obq(weight: Tensor, hessian: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Optimal Brain Compression, algorithm 3 and its rule for outliers, float32, all rows of a batch at once."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    result = torch.zeros_like(weight)
    columns = weight.shape[1]
    for first in range(0, len(weight), PARALLEL):
        w, step = weight[first : first + PARALLEL].clone(), scale[first : first + PARALLEL]
        batch = torch.arange(len(w))
        inverses = inverse.repeat(len(w), 1, 1)
        done = torch.zeros_like(w, dtype=torch.bool)
        for count in range(columns):
            q = (w / step).round().clamp(low, high) * step
            error = (w - q) ** 2
            diagonal = inverses.diagonal(dim1=1, dim2=2)
            score = (error / diagonal).masked_fill(done, torch.inf)
            error = error.masked_fill(done, 0.0)
            at = score.argmin(1)
            outlying = (error > 0.25 * step**2).any(1)
            if bool(outlying.any()):
                at[outlying] = error[outlying].argmax(1)
            row, pivot = inverses[batch, at], diagonal[batch, at][:, None]
            result[first + batch, at] = q[batch, at]
            w -= row * ((w - q)[batch, at][:, None] / pivot)
            done[batch, at] = True
            if count + 1 < columns:
                row = row / pivot.sqrt()
                inverses -= torch.bmm(row[:, :, None], row[:, None, :])
    return result / scale


def published_trace(weight: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Optimal Brain Compression, algorithm 1 down to nothing: all weights after every step, and the losses."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    rows, columns = weight.shape
    trace, losses = torch.zeros(columns + 1, rows, columns), torch.zeros(rows, columns)
    for first in range(0, rows, PARALLEL):
        w = weight[first : first + PARALLEL].clone()
        batch = torch.arange(len(w))
        inverses = inverse.repeat(len(w), 1, 1)
        done = torch.zeros_like(w, dtype=torch.bool)
        trace[0, first : first + PARALLEL] = w
        for count in range(columns):
            diagonal = inverses.diagonal(dim1=1, dim2=2)
            score = (w**2 / diagonal).masked_fill(done, torch.inf)
            at = score.argmin(1)
            losses[first + batch, count] = score[batch, at]
            row, pivot = inverses[batch, at], diagonal[batch, at][:, None]
            w -= row * (w[batch, at][:, None] / pivot)
            done[batch, at] = True
            w[done] = 0.0
            trace[count + 1, first : first + PARALLEL] = w
            if count + 1 < columns:
                row = row / pivot.sqrt()
                inverses -= torch.bmm(row[:, :, None], row[:, None, :])
    return trace, losses


def published_gptq(weight: Tensor, hessian: Tensor, scale: Tensor, low: int, high: int, by_activation: bool) -> Tensor:
    """GPTQ, algorithm 1: the Cholesky factor of the inverse, blocks of columns, lazy updates of those that follow."""
    order = hessian.diagonal().argsort(descending=True) if by_activation else torch.arange(len(hessian))
    w = weight[:, order].clone()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian[order][:, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    result = torch.zeros_like(w)
    for first in range(0, w.shape[1], GPTQ_BLOCK):
        block = slice(first, first + GPTQ_BLOCK)
        part, inner = w[:, block].clone(), factor[block, block]
        errors = torch.zeros_like(part)
        for i in range(part.shape[1]):
            column = part[:, i]
            q = ((column[:, None] / scale).round().clamp(low, high) * scale).flatten()
            result[:, first + i] = q
            error = (column - q) / inner[i, i]
            part[:, i:] -= error[:, None].matmul(inner[i, i:][None])
            errors[:, i] = error
        w[:, first + GPTQ_BLOCK :] -= errors.matmul(factor[block, first + GPTQ_BLOCK :])
    return result[:, order.argsort()] / scale


def _error(weight: Array, gram: Array, grid: CodeGrid, codes: Any) -> float:
    miss = grid.weight(np.asarray(codes, dtype=np.float64)) - weight
    return float(np.einsum("ri,ri->", miss @ gram, miss))


def _speed() -> str:
    rows = []
    low, high = codes_range(SPEED_BITS)
    for layer in [found for found in layers() if found.name.startswith("encoder")]:
        gram = bounds.Gram(layer.gram)
        assert not gram.singular, layer.name
        grid = code_grid(layer.weight, SPEED_BITS, search="lp")
        target = torch.tensor(grid.target(layer.weight))
        w, scale, hessian = (torch.tensor(a, dtype=torch.float32) for a in (layer.weight, grid.scale, 2.0 * layer.gram))
        pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = []
        for name, by_activation in (("natural", False), ("activation", True)):
            pairs.append(
                (
                    f"GPTQ, {name} order",
                    partial(published_gptq, w, hessian, scale, low, high, by_activation),
                    partial(h.babai, target, gram, low, high, order=name),
                )
            )
        if layer.columns <= 384:
            pairs.append(
                (
                    "OBQ",
                    partial(published_obq, w, hessian, scale, low, high),
                    partial(h.obq, target, gram, low, high),
                )
            )
        for name, theirs, ours in pairs:
            repeats = 5 if name.startswith("GPTQ") else 1
            ours()
            fast, mine = processor_seconds(ours, repeats)
            slow, published = processor_seconds(theirs, repeats)
            fast = min(fast, processor_seconds(ours, repeats)[0])
            error, other = (_error(layer.weight, layer.gram, grid, codes) for codes in (mine, published))
            rows.append(_line(layer, name, slow, fast, error / other))
        if layer.columns <= 384:
            weight = torch.tensor(layer.weight)
            fast, (_, losses) = processor_seconds(partial(h.exact_obs_trace, weight, gram))
            slow, (_, published) = processor_seconds(partial(published_trace, w, hessian))
            fast = min(fast, processor_seconds(partial(h.exact_obs_trace, weight, gram))[0])
            half = layer.columns // 2
            ratio = 2.0 * float(losses[:, :half].sum()) / float(published.double()[:, :half].sum())
            rows.append(_line(layer, "ExactOBS, all sparsities", slow, fast, ratio))
    header = ["layer", "rows × columns", "", "published, s", "ours, s", "ratio", "our error / theirs"]
    return f"**speed**, whole layers, {SPEED_BITS} bits (ExactOBS: error at half the weights)\n\n" + markdown(
        header, rows
    )


def _line(layer: Layer, name: str, slow: float, fast: float, error: float) -> list[str]:
    shape = f"{layer.weight.shape[0]} × {layer.weight.shape[1]}"
    return [layer.name, shape, name, f"{slow:.3f}", f"{fast:.3f}", f"{slow / fast:.1f}×", f"{error:.4f}"]


def _chunks() -> str:
    """Mean over the layers of the distance to the optimum in dB, and how many rows are optimal."""
    distance: dict[str, list[float]] = {}
    optimal: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    methods = METHODS | {"Park and Boyd": h.park_boyd}
    for bits in BITS:
        for instance in instances():
            gram = bounds.Gram(instance.gram)
            box = feasible_set(Method.QUANTIZATION, bits, gram.columns)
            problem = bounds.LeastSquares(gram, instance.codes_target(bits)[:ROWS], box)
            solution = bounds.solve(problem, bounds.BranchAndBound())
            assert solution.closed.all(), instance.layer
            for name, method in methods.items():
                spent, x = processor_seconds(partial(method, problem.target, gram, *codes_range(bits)))
                upper = problem.upper(x)
                assert (upper >= solution.lower).all(), (instance.layer, name)
                key = f"{name}/{bits}"
                distance.setdefault(key, []).append(10.0 * np.log10(upper.sum() / solution.upper.sum()))
                optimal.setdefault(key, []).append(float((upper <= solution.upper * (1.0 + 1e-6)).mean()))
                seconds[name] = seconds.get(name, 0.0) + spent / (len(problem.target) * len(BITS) * len(instances()))
    rows = [
        [
            name,
            *(f"{np.mean(distance[f'{name}/{bits}']):.3f}" for bits in BITS),
            *(f"{np.mean(optimal[f'{name}/{bits}']):.0%}" for bits in BITS),
            f"{seconds[name] * 1e6:,.0f}",
        ]
        for name in methods
    ]
    header = ["", *(f"dB, {b} bits" for b in BITS), *(f"optimal, {b} bits" for b in BITS), "µs a row"]
    title = f"**beside the exact optimum**, 36-column chunks of seven layers, {ROWS} rows each: mean distance to it"
    return f"{title} in dB, and the share of rows where it is reached\n\n{markdown(header, rows)}"


def _whole() -> str:
    """SNR of whole layers, one scale a row."""
    rows = []
    for layer in [found for found in layers() if found.name.startswith("encoder") and found.columns <= 384]:
        gram = bounds.Gram(layer.gram)
        energy = float(np.einsum("ri,ri->", layer.weight @ layer.gram, layer.weight))
        for name, method in METHODS.items():
            cells = []
            for bits in (2, 4):
                grid = code_grid(layer.weight, bits, search="lp")
                spent, codes = processor_seconds(
                    partial(method, grid.target(layer.weight), gram, grid.low, grid.high, scale=grid.step())
                )
                snr = 10.0 * np.log10(energy / _error(layer.weight, layer.gram, grid, codes))
                cells += [f"{snr:.2f}", f"{spent:.2f}"]
            rows.append([layer.name, name, *cells])
    header = ["layer", "method", "SNR in dB, 2 bits", "s", "4 bits", "s"]
    return "**whole layers**, 384 × 384, one scale a row (L2.4 search)\n\n" + markdown(header, rows)
