"""What each figure shows, written beside them with the figures' numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .points import Points
from .real import break_even_table, preference_share
from .theory import BITS

if TYPE_CHECKING:
    import pandas as pd

CREDIT = (
    "Records of 45 torchvision models, published by Kuzmin, Nagel, van Baalen, Behboodi and Blankevoort with "
    "*Pruning vs Quantization: Which is Better?* (Qualcomm-AI-research/pruning-vs-quantization, "
    "plots_data/weights_sqnr, BSD licence)."
)


def write_captions(points: Points, published: bool, sparsity: pd.DataFrame) -> str:
    """The text of `captions.md`."""
    drawn, placed, every = int(points.compared.sum()), int(points.placed.sum()), points.bits.size
    source = f"{points.title}: {drawn:,} of {every:,} records"
    if drawn < every:
        source += " (in the others pruning removed only zeros and lost nothing, or the kurtosis is infinite)"
    wins = ", ".join(f"{b} bits {share:.1%}" for b, share in preference_share(points).items())
    lines = [
        "# Figures",
        "Written by `quanterr figures`; nothing by hand.",
        "**figure_1** A standard normal quantised to 4 bits (two's complement, best scale) and pruned by 75 %. "
        "The areas in the middle are the mean squared errors. Right: both over bits a weight, and the limit of a code.",
        "**figure_2** A Student-t with ν = 2 truncated to ±r, r from 2 to 400, over its kurtosis. Break-even kurtosis:",
        _markdown(break_even_table(BITS), 3),
        f"**figure_3_left** {source}. Quantisation is better for: {wins}." + (f" {CREDIT}" if published else ""),
        "**figure_3_right** The same tensors over their sample kurtosis: the kernel density of tensors for which "
        "pruning is better, as a share of that of all tensors. Strokes: break-even kurtosis of figure 2, not fitted."
        + (f" Left out: {drawn - placed:,} records with an impossible kurtosis below 1." if placed < drawn else ""),
        "**figure_5** Kurtosis of a Student-t truncated to ±r; the dots are the break-even points of figure 2.",
        "**natural_sparsity** Share of weights that quantisation rounds to zero, in per cent (table 2 of the paper). "
        "Means over all records, those included in which pruning lost nothing: so the printed table was made.",
        _markdown(sparsity, 1),
    ]
    return "\n\n".join(lines) + "\n"


def _markdown(table: pd.DataFrame, digits: int) -> str:
    head = "| " + " | ".join(table.columns) + " |\n|" + " ---: |" * len(table.columns)
    rows = [
        "| " + " | ".join(f"{v:.0f}" if name == "bits" else f"{v:.{digits}f}" for name, v in row.items()) + " |"
        for row in table.to_dict("records")
    ]
    return "\n".join([head, *rows])
