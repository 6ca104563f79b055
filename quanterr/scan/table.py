"""A scan for terminals: what wins at each bit-width, and every tensor at one of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from .rule import agreement, break_even_range
from .scanning import WeightRecord

SHORT = {"GeneralizedGaussian": "gen. Gauss {:.2g}", "StudentT": "t, ν = {:.2g}"}


def summary_table(records: Sequence[WeightRecord]) -> Table:
    """One line a bit-width: who wins how often, the medians, and how far the closed form is off."""
    table = Table(
        title="Weights alone, at equal storage: quantisation to b bits or pruning to 1 − b/16",
        caption=(
            "medians over tensors; ± = median distance of the closed form (best fit) from the measurement; "
            "break-even = kurtosis above which theory prefers pruning, right = how often that names the winner"
        ),
    )
    headers = (
        "bits", "pruned", "quantisation\nbetter", "quantised dB\ntensor", "\nchannel", "\ngroup",
        "pruned dB\nmask free", "\nmask paid", "± dB\nquant", "\nprune", "zeros", "break-even\nkurtosis", "right",
    )  # fmt: skip
    for header in headers:
        table.add_column(header, justify="right")
    for bits in sorted({r.bits for r in records}):
        rows = [r for r in records if r.bits == bits and not math.isnan(r.quant_snr_db)]
        if not rows:
            continue
        wins = sum(r.better == "quantization" for r in rows)
        judged = [(r.kurtosis, r.bits, r.better) for r in rows if not math.isnan(r.kurtosis)]
        even = f"{break_even_range(bits).kurtosis:.1f}" if bits < 16 else "none"
        right = f"{agreement(judged):.0%}" if judged and bits < 16 else "–"
        table.add_row(
            str(bits), f"{1 - bits / 16:.1%}", f"{wins} of {len(rows)}",
            _median(r.quant_snr_db for r in rows), _median(r.quant_snr_channel_db for r in rows),
            _median(r.quant_snr_group_db for r in rows), _median(r.prune_snr_db for r in rows),
            _median(r.prune_snr_mask_cost_db for r in rows),
            _median((abs(r.predicted_quant_snr_db - r.quant_snr_db) for r in rows), 2),
            _median((abs(r.predicted_prune_snr_db - r.prune_snr_db) for r in rows), 2),
            f"{statistics.fmean(r.quant_zero_fraction for r in rows):.0%}", even, right,
        )  # fmt: skip
    return table


def tensor_table(records: Sequence[WeightRecord], bits: int) -> Table:
    """One line a tensor at `bits`: measured, and predicted from the fit."""
    lost: dict[str, list[int]] = {}
    for r in records:
        if r.better == "pruning":
            lost.setdefault(r.tensor, []).append(r.bits)
    table = Table(
        title=f"At {bits} bits, or {1 - bits / 16:.1%} pruned (dB; in brackets from the closed form of the fit)",
        caption="zeros = share of the quantised tensor (one scale) that is zero; * see the notes",
    )
    table.add_column("tensor", overflow="fold")
    table.add_column("shape", justify="right")
    for header in ("kurtosis", "best fit", "quantised", "channel", "group", "pruned", "zeros", "pruning\nbetter at"):
        table.add_column(header, justify="right")
    for r in (r for r in records if r.bits == bits):
        if math.isnan(r.quant_snr_db):
            table.add_row(escape(r.tensor) + " *", r.shape, *["–"] * 8)
            continue
        quantised = f"{r.quant_snr_db:.1f} ({r.predicted_quant_snr_db:.1f})"
        pruned = f"{r.prune_snr_db:.1f} ({r.predicted_prune_snr_db:.1f})"
        table.add_row(
            escape(r.tensor) + (" *" if r.note else ""), r.shape, f"{r.kurtosis:.2f}",
            SHORT.get(r.fit, r.fit).format(r.fit_shape),
            f"[bold blue]{quantised}[/]" if r.better == "quantization" else quantised,
            f"{r.quant_snr_channel_db:.1f}", f"{r.quant_snr_group_db:.1f}",
            f"[bold yellow]{pruned}[/]" if r.better == "pruning" else pruned,
            f"{r.quant_zero_fraction:.0%}", ", ".join(map(str, lost.get(r.tensor, []))) or "–",
        )  # fmt: skip
    return table


def notes(records: Sequence[WeightRecord]) -> list[str]:
    """One line for each tensor with a note."""
    return [f"{name}: {note}" for name, note in dict.fromkeys((r.tensor, r.note) for r in records) if note]


def _median(values: Iterable[float], digits: int = 1) -> str:
    known = [v for v in values if not math.isnan(v)]
    return f"{statistics.median(known):.{digits}f}" if known else "–"
