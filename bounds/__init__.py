"""bounds: the point of a feasible set nearest to a target in the metric of a Gram matrix.

One problem, three verbs: `lower_bound`, `solve`, `verify`. The feasible set says which compression
format is meant, a frozen value says which method is used.

    >>> import numpy as np, bounds
    >>> rng = np.random.default_rng(0)
    >>> inputs, weight = rng.normal(size=(200, 12)), rng.normal(size=(4, 12))
    >>> problem = bounds.LeastSquares(inputs.T @ inputs / 200, weight, bounds.Sparse(keep=3))
    >>> bounds.solve(problem, bounds.BranchAndBound()).closed.all()
    np.True_
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .block_certificate import BlockCertificate, BlockDiagonal
from .certificate import Certificate, safe_value, verify
from .errors import BoundsDisagree, CertificateError, MethodError, ProblemError
from .feasible import (
    AnyScale,
    BlockSparse,
    Codebook,
    Feasible,
    IntegerBox,
    NofM,
    Sparse,
    SparseIntegerBox,
    in_code_units,
)
from .gram import Gram
from .interval_certificate import IntervalCertificate
from .problem import LeastSquares
from .result import Bound, Solution, Status
from .verbs import lower_bound, solve

if TYPE_CHECKING:
    from .allocation import Allocation, allocate
    from .exact.any_scale import ScaleFreeSolution, solve_any_scale
    from .exact.branch_and_bound import BranchAndBound
    from .exact.exhaustive import Exhaustive
    from .exact.gurobi import Gurobi
    from .exact.layer_subset import LayerSolution, solve_layer
    from .layer_bounds import bound_layer
    from .local.batch_search import BatchSearch
    from .local.local_search import LocalSearch
    from .relaxation.any_scale import ScaleFreeBound, scale_free_bound
    from .relaxation.block import BlockSplit
    from .relaxation.diagonal import DiagonalSplit
    from .relaxation.diagonal_interval import DiagonalIntervals
    from .relaxation.interval import IntervalSplit
    from .relaxation.semidefinite import SemidefiniteDual
    from .relaxation.spectral import Spectral

#: Solvers bring numba with them: they are loaded when first named, so that `verify` needs none of them.
_SOLVERS = {
    "Allocation": "allocation",
    "allocate": "allocation",
    "ScaleFreeSolution": "exact.any_scale",
    "solve_any_scale": "exact.any_scale",
    "BranchAndBound": "exact.branch_and_bound",
    "Exhaustive": "exact.exhaustive",
    "Gurobi": "exact.gurobi",
    "LayerSolution": "exact.layer_subset",
    "solve_layer": "exact.layer_subset",
    "bound_layer": "layer_bounds",
    "BatchSearch": "local.batch_search",
    "LocalSearch": "local.local_search",
    "BlockSplit": "relaxation.block",
    "IntervalSplit": "relaxation.interval",
    "ScaleFreeBound": "relaxation.any_scale",
    "scale_free_bound": "relaxation.any_scale",
    "DiagonalIntervals": "relaxation.diagonal_interval",
    "DiagonalSplit": "relaxation.diagonal",
    "SemidefiniteDual": "relaxation.semidefinite",
    "Spectral": "relaxation.spectral",
}

__all__ = [
    "Allocation",
    "AnyScale",
    "BatchSearch",
    "BlockCertificate",
    "BlockDiagonal",
    "BlockSparse",
    "BlockSplit",
    "Bound",
    "BoundsDisagree",
    "BranchAndBound",
    "Certificate",
    "CertificateError",
    "Codebook",
    "DiagonalIntervals",
    "DiagonalSplit",
    "Exhaustive",
    "Feasible",
    "Gram",
    "Gurobi",
    "IntegerBox",
    "IntervalCertificate",
    "IntervalSplit",
    "LayerSolution",
    "LeastSquares",
    "LocalSearch",
    "MethodError",
    "NofM",
    "ProblemError",
    "ScaleFreeBound",
    "ScaleFreeSolution",
    "SemidefiniteDual",
    "Solution",
    "Sparse",
    "SparseIntegerBox",
    "Spectral",
    "Status",
    "allocate",
    "bound_layer",
    "in_code_units",
    "lower_bound",
    "safe_value",
    "scale_free_bound",
    "solve",
    "solve_any_scale",
    "solve_layer",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a solver."""
    if name not in _SOLVERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f".{_SOLVERS[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
