"""Better than one nearest plane: the best of K paths kept side by side, or of many drawn at random (Klein)."""

from __future__ import annotations

from math import log

import torch
from scipy.optimize import brentq
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .full_rank import FullRank, codes
from .nearest_plane import BLOCK, Plane
from .tensors import Best, Matrix, check_draws, rounded, row_blocks

WINDOW = 4


def k_best(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    beam: int = 16,
    order: str = "sorted_qr",
    box_aware: bool = True,
    scale: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Of all extensions by one column of the `beam` paths kept so far, the `beam` with the least error go on.

    The K-best (M-algorithm) decoder of Guo & Nilsson 2006 on the codes of a box. `beam=1, box_aware=False` is `babai`.
    The other arguments, result and errors as for `babai`; memory is bounded by the rows in flight.
    """
    if isinstance(beam, bool) or beam != int(beam) or beam < 1:
        raise InputError(f"beam = {beam!r}: give a count of at least 1")

    box = (low, high) if box_aware else None

    def solve(t: Tensor, metric: FullRank, unit: Tensor | None) -> Tensor:
        x = torch.empty_like(t)
        for block in row_blocks(len(t), 32 * beam * t.shape[1]):
            plane = Plane(t[block], metric.gram, None if unit is None else unit[block], order, box)
            x[block] = plane.back(_beam(plane, low, high, beam))
        return x

    return codes(target, gram, low, high, solve, scale=scale, damping=damping, device=device)


def _beam(plane: Plane, low: int, high: int, beam: int) -> Tensor:
    """(columns, rows) codes of the best path, in the order of rounding.

    Paths are stored as steps inside the block and as moved centres beyond it, so that a choice of survivors shuffles
    one block's worth of history, not all of it.
    """
    columns, rows = plane.target.shape
    width = min(beam, high - low + 1)
    every = torch.arange(rows, device=plane.target.device)[:, None]
    centres = plane.target.T[:, None].contiguous()
    cost = plane.target.new_zeros(rows, 1)
    walked: list[tuple[Tensor, Tensor]] = []
    for first in range(0, columns, BLOCK):
        pivots = plane.factor.diagonal()
        block = slice(first, min(first + BLOCK, columns))
        inner = plane.factor[block, block] / pivots[block]
        paths = cost.shape[1]
        origin = torch.arange(paths, device=cost.device).expand(rows, paths)
        x = cost.new_empty(rows, paths, 0)
        step = cost.new_empty(rows, paths, 0)
        for i in range(len(inner)):
            k = first + i
            unit = None if plane.unit is None else plane.unit[k][:, None, None]
            centre = centres[every, origin, i] + step @ inner[:i, i]
            middle = centre if plane.charge is None else centre - plane.charge[k][:, None]
            choice = window(middle if unit is None else middle / unit[:, 0], low, high, width)
            weight = choice if unit is None else choice * unit
            miss = centre[:, :, None] - weight
            loss = miss * miss if plane.charge is None else miss * miss + 2.0 * plane.charge[k][:, None, None] * weight
            total = (cost[:, :, None] + plane.firmness[k] * loss).flatten(1)
            error = plane.target[k][:, None, None] - weight
            cost, best = total.topk(min(beam, total.shape[1]), dim=1, largest=False)
            parent = best // width
            origin = origin.gather(1, parent)
            x = torch.cat([x[every, parent], choice.flatten(1).gather(1, best)[:, :, None]], dim=2)
            step = torch.cat([step[every, parent], error.flatten(1).gather(1, best)[:, :, None]], dim=2)
        walked.append((origin, x))
        rest = plane.factor[block, block.stop :] / pivots[block.stop :]
        centres = centres[every, origin, len(inner) :] + step @ rest
    path = cost.argmin(1, keepdim=True)
    parts = []
    for origin, x in reversed(walked):
        parts.append(x[every[:, 0], path[:, 0]])
        path = origin.gather(1, path)
    return torch.cat(parts[::-1], dim=1).T


def klein(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    draws: int = 16,
    seed: int = 0,
    order: str = "sorted_qr",
    box_aware: bool = True,
    scale: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Klein's randomised nearest plane: the best of `babai` and `draws` walks that round at random, row by row.

    Code x at centre c is drawn among the four nearest of the box with a weight of `ρ^(−(r_kk (x − c))² / min r²)`;
    Liu, Ling & Stehlé 2011, *Decoding by sampling*, where ρ solves `draws = (eρ)^(2 columns / ρ)`.

    Parameters
    ----------
    seed : of the generator (on the CPU, so that every device gets the same draws)

    The other arguments, result and errors as for `babai`.
    """
    check_draws(draws)
    generator = torch.Generator().manual_seed(seed)

    box = (low, high) if box_aware else None

    def solve(t: Tensor, metric: FullRank, unit: Tensor | None) -> Tensor:
        plane = Plane(t, metric.gram, unit, order, box)
        best = Best(t, metric.gram, unit)
        best.offer(plane.back(plane.walk(lambda k, centre: rounded(centre, low, high))))
        firmness = plane.firmness[:, None] if plane.unit is None else plane.firmness[:, None] * plane.unit.square()
        sharpness = log(_rho(t.shape[1], draws)) * firmness / firmness.amin(0)

        def draw(k: int, centre: Tensor) -> Tensor:
            choice = window(centre, low, high, min(WINDOW, high - low + 1))
            uniform = torch.rand(choice.shape, generator=generator, dtype=choice.dtype).to(choice.device)
            weight = -sharpness[k][:, None] * (choice - centre[:, None]).square()
            return choice.gather(1, (weight - (-uniform.log()).log()).argmax(1, keepdim=True))[:, 0]

        for _ in range(draws):
            best.offer(plane.back(plane.walk(draw)))
        return best.codes

    return codes(target, gram, low, high, solve, scale=scale, damping=damping, device=device)


def _rho(columns: int, draws: int) -> float:
    """The ρ > 1 with `log draws = (2 columns / ρ) (1 + log ρ)`; the right side falls from 2 columns to 0."""
    wanted = max(log(draws), log(2.0)) / (2.0 * columns)
    if wanted >= 1.0:
        return 1.0 + 1e-9
    return float(brentq(lambda rho: (1.0 + log(rho)) / rho - wanted, 1.0, 100.0 / wanted**2))


def window(centre: Tensor, low: int, high: int, width: int) -> Tensor:
    """The `width` codes of the box nearest to each centre, ascending, in a last dimension of their own."""
    first = torch.ceil(centre - width / 2.0).clamp(low, high - width + 1)
    return first[..., None] + torch.arange(width, dtype=centre.dtype, device=centre.device)
