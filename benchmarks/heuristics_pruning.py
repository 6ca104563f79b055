"""Post-training pruning: time against the published algorithms written out, and errors beside the exact optimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bounds
from bounds.gram import Array
from quanterr import heuristics as h
from quanterr.heuristics import PRUNERS, LayerSparse

from .instances import instances, layers
from .timing import markdown, processor_seconds

ROWS = 24
WIDE_ROWS = 48
WIDE = ("_conv_head", "encoder.layer.0.attention.self.query", "encoder.layer.2.attention.output.dense")
DAMPING = 0.01


def run() -> str:
    """Three tables; asserts that no method beats the optimum and that twins agree."""
    torch.set_num_threads(1)
    return "\n\n".join((_optimum_table(), _wide_table(), _time_table()))


def _pruners(keep: Any) -> dict[str, Callable[[Array, bounds.Gram], Array]]:
    def call(pruner: Callable[..., Any], **options: Any) -> Callable[[Array, bounds.Gram], Array]:
        return lambda w, gram: np.asarray(pruner(w, gram, keep, **options))

    found = {name: call(pruner) for name, pruner in PRUNERS.items()}
    found["sparse_gpt, refit"] = lambda w, gram: np.asarray(h.refit(w, gram, h.sparse_gpt(w, gram, keep)))
    found["swaps from alps"] = lambda w, gram: np.asarray(h.swaps(w, gram, keep, start=h.alps(w, gram, keep)))
    if isinstance(keep, bounds.BlockSparse):
        found = {name: f for name, f in found.items() if "swaps" not in name}
    return found


def _optimum_table() -> str:
    """Mean over layers of how far the error of a chunk lies above the sum of its rows' optima."""
    budgets = {"keep 1/8": 4, "keep 1/4": 9, "keep 1/2": 18, "2:4": bounds.NofM(2, 4)}
    excess: dict[str, list[list[float]]] = {}
    for budget, keep in budgets.items():
        feasible = bounds.Sparse(keep) if isinstance(keep, int) else keep
        for instance in instances():
            if instance.gram.shape[0] != 36:
                continue
            gram, w = bounds.Gram(instance.gram), instance.weight[:ROWS]
            exact = bounds.solve(bounds.LeastSquares(gram, w, feasible), bounds.BranchAndBound())
            assert exact.closed.all(), (instance.layer, budget)
            for name, pruner in _pruners(keep).items():
                upper = h.judged(w, gram, pruner(w, gram), keep)
                assert (upper >= exact.lower).all(), (name, instance.layer)
                ratio = upper.sum() / exact.upper.sum() - 1.0
                excess.setdefault(name, [[] for _ in budgets])[list(budgets).index(budget)].append(ratio)
    rows = [[name, *(f"{np.mean(each):.1%}" for each in found)] for name, found in excess.items()]
    rows.sort(key=lambda row: -float(row[2].rstrip("%")))
    header = ["error above the exact optimum", *budgets]
    return f"**36 columns**, {ROWS} rows of each layer, mean over the layers\n\n" + markdown(header, rows)


def _wide_table() -> str:
    """SNR and processor time of all methods on whole layers."""
    parts = []
    for layer in layers():
        if layer.name not in WIDE:
            continue
        w, gram, n = layer.weight[:WIDE_ROWS], bounds.Gram(layer.gram), layer.columns
        energy = np.einsum("ri,ij,rj", w, layer.gram, w)
        budgets = {
            "keep 1/4": n // 4, "layer 1/4": LayerSparse(n // 4 * len(w)), "2:4": bounds.NofM(2, 4),
            "blocks of 4, 1/4": bounds.BlockSparse(n // 16, 4),
        }  # fmt: skip
        cells: dict[str, list[str]] = {name: ["–"] * len(budgets) for name in _pruners(1)}
        for at, keep in enumerate(budgets.values()):
            for name, pruner in _pruners(keep).items():
                spent, x = processor_seconds(lambda p=pruner, w=w, g=gram: p(w, g))
                snr = 10 * np.log10(energy / h.judged(w, gram, x, keep).sum())
                cells[name][at] = f"{snr:.2f} ({spent / len(w) * 1e3:.1f})"
        parts.append(
            f"**{layer.name}**, {n} columns, {len(w)} rows: SNR in dB (ms a row)\n\n"
            + markdown(["", *budgets], [[name, *found] for name, found in cells.items()])
        )
    return "\n\n".join(parts)


def _time_table() -> str:
    """Ours against the published algorithms, same rows, float64, one thread."""
    lines = []
    for layer in layers():
        if layer.name not in WIDE:
            continue
        w, gram, n = torch.from_numpy(layer.weight[:WIDE_ROWS].copy()), bounds.Gram(layer.gram), layer.columns
        g = torch.from_numpy(layer.gram.copy())
        slow, trace = processor_seconds(lambda w=w, g=g: published_trace(w, g), 2)
        fast, ours = processor_seconds(lambda w=w, g=gram: h.exact_obs_trace(w, g), 2)
        quarter = published_mask(trace[0], n // 4)
        mine = published_mask(torch.as_tensor(np.asarray(ours[0])), n // 4)
        same = float((quarter == mine).double().mean())
        pattern = LayerSparse(n // 4 * len(w))
        swept, theirs = processor_seconds(lambda w=w, g=g, n=n: published_sparse_gpt(w, g, 1 - (n // 4) / n), 3)
        seen = h.damped(gram, DAMPING)
        sweep, x = processor_seconds(lambda w=w, g=seen, p=pattern: h.sparse_gpt(w, g, p), 3)
        errors = [float(((v - w) @ g * (v - w)).sum()) for v in (theirs, torch.as_tensor(np.asarray(x)))]
        first = [layer.name, str(n), f"{slow:.2f} s", f"{fast:.2f} s", f"{slow / fast:.1f}×", f"{same:.2%}"]
        second = [f"{swept * 1e3:.0f} ms", f"{sweep * 1e3:.0f} ms", f"{swept / sweep:.1f}×"]
        lines.append([*first, *second, f"{errors[1] / errors[0]:.4f}"])
    header = [
        "", "columns", "OBC's trace", "ours", "ratio", "masks equal at 1/4",
        "SparseGPT", "ours", "ratio", "error, ours to theirs",
    ]  # fmt: skip
    return f"**time against the published algorithms**, {WIDE_ROWS} rows\n\n" + markdown(header, lines)


def published_trace(w: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """OBC's algorithm 1, all rows at once, the whole weight vector kept after each step (figure 1, "less compute").

    The rank-one step is done in place, which the publication leaves open and which is several times faster.
    """
    rows, columns = w.shape
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(g)).expand(rows, -1, -1).clone()
    v, every = w.clone(), torch.arange(rows)
    order = torch.zeros(rows, columns, dtype=torch.int64)
    history = torch.zeros(columns + 1, rows, columns, dtype=w.dtype)
    history[0] = w
    gone = torch.zeros_like(w, dtype=torch.bool)
    for step in range(columns):
        diagonal = inverse.diagonal(dim1=1, dim2=2)
        at = (v * v / diagonal).masked_fill(gone, torch.inf).argmin(1)
        row = inverse[every, at]
        pivot = row[every, at][:, None]
        v -= row * (v[every, at][:, None] / pivot)
        gone[every, at] = True
        v[gone] = 0.0
        history[step + 1] = v
        order[:, step] = at
        inverse.baddbmm_(row.unsqueeze(2), (row / pivot).unsqueeze(1), alpha=-1.0)
    return order, history


def published_mask(order: Tensor, keep: int) -> Tensor:
    mask = torch.ones_like(order, dtype=torch.bool)
    return mask.scatter_(1, order[:, : order.shape[1] - keep], False)


def published_sparse_gpt(w: Tensor, g: Tensor, sparsity: float, block: int = 128) -> Tensor:
    """SparseGPT's algorithm 1: one threshold a block over all rows, 1 % damping, column by column."""
    v, columns = w.clone(), w.shape[1]
    damped = g + DAMPING * g.diagonal().mean() * torch.eye(columns, dtype=g.dtype)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    for first in range(0, columns, block):
        last = min(first + block, columns)
        part, errors = v[:, first:last].clone(), torch.zeros(len(v), last - first, dtype=v.dtype)
        small = factor[first:last, first:last]
        score = part**2 / small.diagonal() ** 2
        cut = score.flatten().sort().values[int(score.numel() * sparsity)]
        pruned = score < cut
        kept = torch.zeros_like(part)
        for i in range(last - first):
            column = part[:, i].clone()
            column[pruned[:, i]] = 0.0
            kept[:, i] = column
            errors[:, i] = (part[:, i] - column) / small[i, i]
            part[:, i:] -= errors[:, i : i + 1] @ small[i : i + 1, i:]
        v[:, first:last] = kept
        v[:, last:] -= errors @ factor[first:last, last:]
    return v
