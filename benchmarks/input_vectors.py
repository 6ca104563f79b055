"""How many input vectors does a whole layer need? The hardest one we know, with more and more photographs.

EfficientNet's `_blocks.15._project_conv`: 1,152 columns, 49 input vectors a picture. Crops of the same 14 photographs
are added. The Gram of more vectors is another problem: the lines compare how much can be *proven*, not errors.
*null*: inputs that depend on others within rounding. *flat*: other eigenvalues (at unit diagonal) below 0.001. *D*: the
share of the trace that a diagonal below the Gram can have. Gaps are 10 log10(Σ upper / Σ lower) in dB over four rows:
`LocalSearch` without rounds against `DiagonalSplit`, as in `quanterr certify --effort quick`. Part of a gap is the
upper side's. Beside the codes: how far their points are above the error that one random target in a million can be
rounded to (without a box, by the volume of a ball): a yardstick and no bound.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

import bounds
import quanterr
from bounds.exact.dependent import relaxed
from bounds.relaxation.diagonal import shared_diagonal
from quanterr.contestants import Method, feasible_set
from quanterr.models.efficientnet import efficientnet_lite0
from quanterr.scaling import SCALES

from .timing import markdown

LAYER = "_blocks.15._project_conv"
CROPS = (2, 4, 8, 16)
BITS = (2, 4)
ROWS = 4
FLAT = 1e-3
NULL = 1e-10
QUICK = bounds.LocalSearch(rounds=0, beam=256, leaves=1)
DIAGONAL = bounds.DiagonalSplit(rounds=60)
RARE = 1e-6


def gap(problem: bounds.LeastSquares) -> tuple[float, np.ndarray]:
    """Decibels between a quick point and a quick bound, ∞ where nothing is proven; and the upper side."""
    upper = bounds.solve(problem, QUICK).upper
    if problem.gram.singular and isinstance(problem.feasible, bounds.Sparse):
        lower = relaxed(problem, lambda part: bounds.lower_bound(part, DIAGONAL).value)
    else:
        lower = bounds.lower_bound(problem, DIAGONAL).value
    if (lower > upper).any():
        raise bounds.BoundsDisagree(f"lower {lower} exceeds upper {upper}")
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(upper.sum() / max(lower.sum(), 0.0))), upper


def yardstick(gram: bounds.Gram) -> float:
    """The error that at most one random target in a million can be rounded to: an estimate, where the rank is full."""
    live = gram.live
    n = live.size
    logdet = np.linalg.slogdet(gram.array[np.ix_(live, live)])[1]
    ball = n / 2 * np.log(np.pi) - gammaln(n / 2 + 1)
    return float(np.exp((np.log(RARE) - ball + 0.5 * logdet) * 2 / n))


def line(crops: int) -> list[str]:
    """One line of the table."""
    model, batches, _ = efficientnet_lite0(each=crops)
    (layer,) = quanterr.layers.capture(model, batches, [LAYER])
    gram = bounds.Gram(layer.gram / layer.gram.diagonal().mean())
    null = int((gram.eigenvalues < NULL * gram.columns).sum())
    share = shared_diagonal(gram).sum() / gram.array.trace()
    rows = np.linspace(0, layer.rows - 1, ROWS).astype(int)
    cells = [str(14 * crops), f"{layer.samples / layer.columns:.1f}", f"{gram.dead.sum()} + {null}"]
    cells += [str(int((gram.eigenvalues < FLAT).sum()) - null), f"{share:.1%}"]
    for bits in BITS:
        scale = float(SCALES["mse"](layer.weight, bits))
        codes = feasible_set(Method.QUANTIZATION, bits, layer.columns)
        decibels, upper = gap(bounds.LeastSquares(gram, layer.weight[rows] / scale, codes))
        above = "–" if null else f"{10 * np.log10(upper.mean() / yardstick(gram)):.1f}"
        cells += [f"{decibels:.1f}", above]
    for bits in BITS:
        kept = feasible_set(Method.PRUNING, bits, layer.columns)
        cells.append(f"{gap(bounds.LeastSquares(gram, layer.weight[rows], kept))[0]:.1f}")
    return cells


def run() -> str:
    """One line for each number of crops."""
    header = ["pictures", "vectors a column", "dead + null", "flat", "D", *(
        name for bits in BITS for name in (f"{bits}-bit codes", "above the yardstick")
    ), *(f"pruned to {bits}/16" for bits in BITS)]  # fmt: skip
    return markdown(header, [line(crops) for crops in CROPS])
