"""Park and Boyd's randomised rounding: draw from the relaxation's Gaussian, round, descend, keep the best."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Certificate, Gram, IntegerBox, LeastSquares, SemidefiniteDual, lower_bound

from ..errors import InputError
from .descent import Descent
from .full_rank import FullRank, codes
from .tensors import Best, Matrix, check_draws, row_blocks

DRAWS_PER_COLUMN = 3
NARROW = 1e-12


def park_boyd(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    draws: int | None = None,
    seed: int = 0,
    scale: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """The best of `draws` Gaussian samples of the relaxation, each rounded into the box and improved by 1-opt.

    *A semidefinite programming method for integer convex quadratic minimization*, Optim. Lett. 2018, §4, the upper side
    of *Pruning vs Quantization*. The Gaussian comes from the dual certificate of `bounds.SemidefiniteDual`:
    complementary slackness puts its mean at `target + y` and its covariance into the null space of `M = gram − D`,
    which the interior point leaves as `μ M⁻¹`; μ is such that the relaxed constraints `E[(x − f)(x − f − 1)] = 0`,
    `f = floor(target)`, hold in the mean weighted by D. The first draw is the mean itself.

    Parameters
    ----------
    draws : samples a row; default 3 · columns, as in the paper
    seed : of the generator (on the CPU, so that every device gets the same draws)

    The other arguments, result and errors as for `babai`; a scale must be the same for all rows.
    """
    if draws is not None:
        check_draws(draws)
    generator = torch.Generator().manual_seed(seed)

    def solve(t: Tensor, metric: FullRank, unit: Tensor | None) -> Tensor:
        matrix = metric.gram
        if unit is not None:
            if not bool((unit == unit[0]).all()):
                raise InputError("park_boyd relaxes all rows with one Gram matrix: give every row the same scales")
            matrix = matrix * unit[0] * unit[0][:, None]
        problem = LeastSquares(matrix.cpu().numpy(), t.cpu().numpy(), IntegerBox(low, high))
        certificate = lower_bound(problem, SemidefiniteDual()).certificate
        assert isinstance(certificate, Certificate)
        diagonal, y = (torch.tensor(a, device=t.device, dtype=t.dtype) for a in (certificate.diagonal, certificate.y))
        x = torch.empty_like(t)
        count = draws or DRAWS_PER_COLUMN * t.shape[1]
        for block in row_blocks(len(t), 24 * t.shape[1] ** 2):
            mean, root = _gaussian(t[block], y[block], diagonal[block], matrix)
            best = Best(t[block], matrix, None)
            for draw in range(count):
                noise = torch.randn(mean.shape, generator=generator, dtype=t.dtype).to(t.device) * (draw > 0)
                point = mean + torch.linalg.solve_triangular(root, noise[:, :, None], upper=True)[:, :, 0]
                start = torch.floor(point + 0.5).clamp_(low, high)
                search = Descent(start, t[block], matrix, None, low, high)
                search.singles(torch.arange(len(start), device=t.device))
                best.offer(search.codes)
            x[block] = best.codes
        return x

    return codes(target, gram, low, high, solve, scale=scale, damping=damping, device=device)


def _gaussian(t: Tensor, y: Tensor, diagonal: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (rows, columns), and an upper triangular root: `solve(root, noise)` has the covariance."""
    mean = t + y
    slack = gram - torch.diag_embed(diagonal)
    factor = torch.linalg.cholesky(slack + torch.diag(NARROW * gram.diagonal()))
    inverse = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    room = 0.25 - (mean - torch.floor(t) - 0.5).square()
    spread = (diagonal * room).sum(1).clamp_min(0.0) / (diagonal * inverse).sum(1).clamp_min(NARROW)
    return mean, (factor / spread.clamp_min(NARROW).sqrt()[:, None, None]).mT
