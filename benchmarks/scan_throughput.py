"""Scans of weights: our search of the scale against a plain numpy grid search of 100 steps, same tensors, same bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quanterr.scaling import codes_range
from quanterr.scan import BITS, demo_weights, open_tensors, scan
from quanterr.scan.kernels import quantize_rows

from .timing import markdown, processor_seconds

STEPS = 100
GROUP = 128
TENSORS = ("_blocks.5._expand_conv.weight", "_blocks.12._project_conv.weight", "_fc.weight")


def plain(rows: NDArray[np.float32], low: int, high: int) -> NDArray[np.float32]:
    """(rows,) least squared error among the scales i/100 of the full range, in float32 like the weights."""
    top = np.abs(rows).max(axis=1, keepdims=True) / np.float32(high)
    best = np.full(len(rows), np.inf, dtype=np.float32)
    for i in range(1, STEPS + 1):
        scale = np.maximum(top * np.float32(i / STEPS), np.finfo(np.float32).tiny)
        error = rows - scale * np.clip(np.rint(rows / scale), low, high)
        np.minimum(best, np.einsum("ij,ij->i", error, error), out=best)
    return best


def ours(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """(bits,) squared error summed over rows."""
    low, high = np.array([codes_range(b) for b in BITS], dtype=np.int64).T.copy()
    out = np.empty((len(BITS), 3))
    quantize_rows(np.sort(rows, axis=1), low, high, STEPS, out)
    return out[:, 0]


def scopes(weight: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The weights that share a scale, as rows."""
    channels = weight.reshape(len(weight), -1)
    rows = {"tensor": weight.reshape(1, -1), "channel": channels}
    if channels.shape[1] > GROUP:
        rows[f"group of {GROUP}"] = channels[:, : channels.shape[1] // GROUP * GROUP].reshape(-1, GROUP)
    return rows


def run() -> str:
    """Nanoseconds a weight for all seven bit-widths, by scope of the scale, and the whole scan."""
    found = {t.name: t for t in open_tensors(demo_weights()) if t.is_weight}
    ours(np.linspace(-1.0, 1.0, 2000, dtype=np.float32).reshape(2, -1))
    lines = []
    for name in TENSORS:
        weight = found[name].read().astype(np.float32)
        for scope, rows in scopes(weight).items():
            fast, mine = processor_seconds(lambda r=rows: ours(r), 2)
            slow, theirs = processor_seconds(lambda r=rows: [float(plain(r, *codes_range(b)).sum()) for b in BITS])
            gain = 10.0 * np.log10(np.array(theirs) / mine)
            lines.append(_line(name, scope, rows.size, fast, slow, f"{gain.min():.4f} … {gain.max():.4f}"))
    weights = [t.read().astype(np.float32) for t in found.values()]
    list(scan(demo_weights(), (4,)))
    whole, _ = processor_seconds(lambda: list(scan(demo_weights())))
    size = sum(w.size for w in weights)
    every = [scopes(w) for w in weights]
    for name, chosen in (("tensor", ["tensor"]), ("tensor, channel, group", list(every[-1]))):
        rows = [r for found in every for scope, r in found.items() if scope in chosen]
        slow, _ = processor_seconds(lambda rows=rows: [plain(r, *codes_range(b)) for r in rows for b in BITS])
        lines.append(_line(f"whole scan with fits; numpy: {len(every)} tensors", name, size, whole, slow, "–"))
    header = [
        "tensor",
        "one scale for each",
        "weights",
        "ours, ns a weight",
        "numpy",
        "ratio",
        "our SNR minus numpy's, dB",
    ]
    return f"{len(BITS)} bit-widths, {STEPS} steps, EfficientNet-lite0\n\n" + markdown(header, lines)


def _line(name: str, scope: str, size: int, fast: float, slow: float, gain: str) -> list[str]:
    fast, slow = fast / size * 1e9, slow / size * 1e9
    return [name, scope, f"{size:,}", f"{fast:.0f}", f"{slow:,.0f}", f"{slow / fast:.0f}×", gain]
