"""A scan for terminals: what wins at each bit-width, and every tensor at one of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ..results.columns import aligned
from .rule import agreement, break_even_range
from .scanning import WeightRecord

SHORT = {"GeneralizedGaussian": "gen. Gauss {:.2g}", "StudentT": "t, ν = {:.2g}"}


def summary_table(records: Sequence[WeightRecord], width: int = 80) -> RenderableType:
    """One column a bit-width: who wins how often, the medians, and how far the closed form is off."""
    columns: list[list[str]] = []
    heads: list[str] = []
    for bits in sorted({r.bits for r in records}):
        rows = [r for r in records if r.bits == bits and not math.isnan(r.quant_snr_db)]
        if not rows:
            continue
        wins = sum(r.better == "quantization" for r in rows)
        judged = [(r.kurtosis, r.bits, r.better) for r in rows if not math.isnan(r.kurtosis)]
        even = f"{break_even_range(bits).kurtosis:.1f}" if bits < 16 else "none"
        right = f"{agreement(judged):.0%}" if judged and bits < 16 else "–"
        heads.append(f"{bits} bits")
        columns.append([
            f"{1 - bits / 16:.1%}", f"{wins}/{len(rows)}",
            _median(r.quant_snr_db for r in rows), _median(r.quant_snr_channel_db for r in rows),
            _median(r.quant_snr_group_db for r in rows), _median(r.prune_snr_db for r in rows),
            _median(r.prune_snr_mask_cost_db for r in rows),
            _median((abs(r.predicted_quant_snr_db - r.quant_snr_db) for r in rows), 2),
            _median((abs(r.predicted_prune_snr_db - r.prune_snr_db) for r in rows), 2),
            f"{statistics.fmean(r.quant_zero_fraction for r in rows):.0%}", even, right,
        ])  # fmt: skip
    names = (
        "pruned", "quantisation better", "quantised, one scale", "quantised, by channel", "quantised, by group",
        "pruned, free mask", "pruned, mask paid", "± when quantised", "± when pruned", "quantised to zero",
        "break-even kurtosis", "winner named",
    )  # fmt: skip
    measures = [(name, [[column[i]] for column in columns]) for i, name in enumerate(names)]
    return _lines(
        "Weights alone, at equal storage: quantisation to b bits or pruning to 1 − b/16",
        aligned("medians over tensors, dB", heads, measures, width),
        "± = median distance of the closed form (best fit) from the measurement; break-even = kurtosis above which "
        "theory prefers pruning; winner named = how often it is right",
    )


def tensor_table(records: Sequence[WeightRecord], bits: int, width: int = 80) -> RenderableType:
    """One line a tensor at `bits`: measured, and predicted from the fit; names too long for it stand above."""
    lost: dict[str, list[int]] = {}
    for r in records:
        if r.better == "pruning":
            lost.setdefault(r.tensor, []).append(r.bits)
    rows = []
    for r in (r for r in records if r.bits == bits):
        name = f"{r.tensor} {r.shape}{' *' if r.note else ''}"
        if math.isnan(r.quant_snr_db):
            rows.append((name, [["–"]] * 8))
            continue
        quantised = f"{r.quant_snr_db:.1f} ({r.predicted_quant_snr_db:.1f})"
        pruned = f"{r.prune_snr_db:.1f} ({r.predicted_prune_snr_db:.1f})"
        cells = (
            f"{r.kurtosis:.2f}", SHORT.get(r.fit, r.fit).format(r.fit_shape),
            f"[bold blue]{quantised}[/]" if r.better == "quantization" else quantised,
            f"{r.quant_snr_channel_db:.1f}", f"{r.quant_snr_group_db:.1f}",
            f"[bold yellow]{pruned}[/]" if r.better == "pruning" else pruned,
            f"{r.quant_zero_fraction:.0%}", ",".join(map(str, lost.get(r.tensor, []))) or "–",
        )  # fmt: skip
        rows.append((name, [[cell] for cell in cells]))
    heads = ("kurtosis", "best fit", "quantised", "channel", "group", "pruned", "zeros", "P wins")
    return _lines(
        f"At {bits} bits, or {1 - bits / 16:.1%} pruned (dB; in brackets from the closed form of the fit)",
        aligned("tensor", heads, rows, width),
        "zeros = share of the quantised tensor (one scale) that is zero; P wins = bits at which pruning is better; "
        "* see the notes",
    )


def _lines(title: str, lines: Iterable[str], caption: str) -> RenderableType:
    return Group(*(Text.from_markup(line) for line in (title, "", *lines, "", caption, "")))


def notes(records: Sequence[WeightRecord]) -> list[str]:
    """One line for each tensor with a note."""
    return [f"{name}: {note}" for name, note in dict.fromkeys((r.tensor, r.note) for r in records) if note]


def _median(values: Iterable[float], digits: int = 1) -> str:
    known = [v for v in values if not math.isnan(v)]
    return f"{statistics.median(known):.{digits}f}" if known else "–"
