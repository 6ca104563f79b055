"""Exact search where inputs depend on each other: duplicates, sums of others, fewer input vectors than columns.

A Gram matrix of rank r < columns leaves directions in which `E` does not change. What is claimed about it:

Sets with bounded entries (`IntegerBox`, `Codebook`, `SparseIntegerBox`)
    are searched in a lifted metric, `G' = G + Δ` with a diagonal `Δ ≥ 0` on as many columns as depend on the others.
    Every member has `E(x) = E'(x) − Σ Δᵢ (xᵢ − tᵢ)²`, so that the lower bound of the lifted search less
    `Σ Δᵢ max (xᵢ − tᵢ)²` holds for the stored doubles; `Δ` balances this loss against the rounding of the search.
`Sparse`
    has free weights, so that no lift is known to be small. Dependent within rounding is taken as dependent: then the
    columns that a row keeps may be chosen independent, and lie in one of a list of column sets of full rank. (A
    minimal dependent set, a circuit, is either not kept whole, or one of its columns adds nothing to the span of the
    others; of two proportional columns either will do.) Each of these sets is a problem of full rank once the target
    of the columns left out is carried over to the others; the smallest of their lower bounds is that of the row.
    Carrying over errs by at most `moved` in `√E`: the rounding of the coefficients, and the part by which a column
    measurably differs from the combination that replaces it.
Otherwise
    (too many column sets, or free weights in groups) a heuristic or a short search of the lifted metric finds a good
    point, and zero is the lower bound. So is a bounded set with too many assignments of its dependent columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack

from ..feasible import Codebook, Feasible, IntegerBox, Sparse, SparseIntegerBox
from ..gram import SINGULAR, UNIT_ROUNDOFF, Array, Gram
from ..local.local_search import LocalSearch
from ..problem import LeastSquares
from ..result import Solution, Status, solution
from .best_subset import heuristic

#: More column sets of full rank than this are not searched one by one.
MOST_SETS = 64
#: More assignments of the dependent columns than this are not searched to the end, …
MOST_ASSIGNMENTS = 2**12
#: … but for so many nodes a row, from the best point of a beam: all that 16,000 more of them gain is 1 dB less.
FEW_NODES = 16
BEAM = LocalSearch(rounds=0, beam=32, leaves=1)
#: Lift of a dependent column, as a share of its diagonal, where nothing bounds the entries.
FAINT_LIFT = 1e-9

Columns = NDArray[np.intp]
Run = Callable[..., Solution]


class Tree(Protocol):
    """The search of a feasible set on a Gram of full rank."""

    def __call__(
        self, problem: LeastSquares, start: Array | None, *, max_nodes: int, time_limit: float, gap_tol: float
    ) -> Solution: ...


def solve(
    problem: LeastSquares, start: Array | None, tree: Tree, *, max_nodes: int, time_limit: float, gap_tol: float
) -> Solution:
    """The best point of every row on a singular Gram, and what can be proven about it; `tree` treats full rank.

    Returns
    -------
    Solution whose status is `DEPENDENT` in rows that stay open for want of rank.
    """
    began = time.monotonic()
    run = partial(tree, gap_tol=gap_tol)
    if isinstance(problem.feasible, Sparse):
        sets = independent_sets(problem.gram)
        if sets is not None:
            return _over_sets(problem, start, sets, run, max_nodes, began + time_limit)
    return _lifted(problem, start, run, max_nodes, time_limit)


@dataclass(frozen=True, eq=False)
class IndependentSet:
    """Columns of full rank, and how the others are carried over to them.

    Attributes
    ----------
    columns, others : indices into the columns of the whole Gram, dead ones left out
    gram : Gram of `columns`
    fold : (others, columns) each other column as a combination of these
    blur : (others,) bound on the change of `√E` that a unit of its weight may cause when it is carried over
    """

    columns: Columns
    others: Columns
    gram: Gram
    fold: Array
    blur: Array


_sets: WeakKeyDictionary[Gram, list[IndependentSet] | None] = WeakKeyDictionary()


def independent_sets(gram: Gram) -> list[IndependentSet] | None:
    """Column sets of full rank of which one contains the best support, whatever the target; None for too many."""
    if gram not in _sets:
        found = _columns_of_full_rank(gram)
        _sets[gram] = None if found is None else [_independent(gram, columns) for columns in found]
    return _sets[gram]


def _columns_of_full_rank(gram: Gram) -> list[Columns] | None:
    """Circuits are broken one by one, in every way that matters."""
    done: dict[tuple[int, ...], None] = {}
    seen: set[tuple[int, ...]] = set()
    waiting = [tuple(map(int, gram.live))]
    while waiting:
        columns = waiting.pop()
        if columns in seen:
            continue
        seen.add(columns)
        circuit = _smallest_circuit(gram.restrict(np.array(columns)))
        if circuit is None:
            done[columns] = None
        else:
            drops = circuit[-1:] if circuit.size <= 2 else circuit
            waiting += [columns[:i] + columns[i + 1 :] for i in map(int, drops)]
        if len(done) + len(waiting) > MOST_SETS:
            return None
    return [np.array(columns) for columns in done]


def _smallest_circuit(gram: Gram) -> Columns | None:
    """Columns of which each is a combination of the others, to rounding; None where the Gram has full rank."""
    kept, dependent = split(gram)
    if dependent.size == 0:
        return None
    share = np.abs(_combinations(gram, kept, dependent))
    root = np.sqrt(gram.array.diagonal())
    share *= root[kept] / root[dependent, None]
    involved = share > np.sqrt(SINGULAR * gram.columns)
    at = int(np.argmin(involved.sum(axis=1)))
    return np.sort(np.append(kept[involved[at]], dependent[at]))


def split(gram: Gram) -> tuple[Columns, Columns]:
    """Live columns of full rank, and as many others as the Gram has eigenvalues of zero (to rounding).

    Pivoted Cholesky: each next column is the one of which most is left, relative to its length.
    """
    nullity = int(np.count_nonzero(gram.eigenvalues <= SINGULAR * gram.columns)) if gram.singular else 0
    root = np.sqrt(gram.array.diagonal()[gram.live])
    left = gram.array[np.ix_(gram.live, gram.live)] / root / root[:, None]
    order = lapack.dpstrf(left, tol=0.0, lower=1)[1] - 1
    independent = gram.live.size - nullity
    return gram.live[np.sort(order[:independent])], gram.live[np.sort(order[independent:])]


def _combinations(gram: Gram, columns: Columns, others: Columns) -> Array:
    """(others, columns) each of `others` as the nearest combination of `columns`."""
    block, right = gram.array[np.ix_(columns, columns)], gram.array[np.ix_(columns, others)]
    power = np.frexp(block.diagonal())[1] // 2
    scaled = np.ldexp(np.ldexp(block, -power), -power[:, None])
    found = np.asarray(cho_solve(cho_factor(scaled, lower=True), np.ldexp(right, -power[:, None])))
    return np.ascontiguousarray(np.ldexp(found, -power[:, None]).T)


def _independent(gram: Gram, columns: Columns) -> IndependentSet:
    others = np.setdiff1d(gram.live, columns)
    part = gram.restrict(columns)
    fold = _combinations(gram, columns, others)
    root = np.sqrt(gram.array.diagonal())
    size = np.abs(fold) @ root[columns] + root[others]
    step = np.zeros((others.size, gram.columns))
    step[np.arange(others.size), others] = 1.0
    step[:, columns] -= fold
    n = gram.columns
    apart = np.einsum("ij,ij->i", step @ gram.array, step) - 8 * n * UNIT_ROUNDOFF * size * size
    blur = np.sqrt(np.maximum(apart, 0.0)) + 8 * n * UNIT_ROUNDOFF * np.sqrt(part.amplification) * size
    return IndependentSet(columns, others, part, fold, blur)


def _over_sets(
    problem: LeastSquares, start: Array | None, sets: list[IndependentSet], run: Run, max_nodes: int, deadline: float
) -> Solution:
    """The best of all column sets, each searched from the best point of those before it."""
    assert isinstance(problem.feasible, Sparse)
    x = np.zeros_like(problem.target) if start is None else problem.members(start, "start")
    upper = np.full(problem.rows, np.inf) if start is None else problem.upper(x)
    lower, start_error = np.full((2, problem.rows), np.inf)
    nodes = np.zeros(problem.rows, dtype=np.int64)
    stopped = np.full(problem.rows, Status.DEPENDENT, dtype=object)
    for part in sets:
        folded, moved = _folded(problem, part)
        found = run(
            folded, x[:, part.columns],
            max_nodes=max(1, max_nodes // len(sets)), time_limit=max(deadline - time.monotonic(), 1e-9),
        )  # fmt: skip
        trial = np.zeros_like(x)
        trial[:, part.columns] = found.x
        error = problem.upper(trial)
        x = np.where((error < upper)[:, None], trial, x)
        upper = np.minimum(upper, error)
        lower = np.minimum(lower, _moved(found.lower, moved))
        start_error = np.minimum(start_error, found.stats["start_error"])
        nodes += found.stats["nodes"]
        stopped = np.where(found.closed, stopped, found.status)
    return solution(x, upper, lower, stopped, {"nodes": nodes, "start_error": start_error})


def relaxed(problem: LeastSquares, bound: Callable[[LeastSquares], Array]) -> Array:
    """A lower bound of each row, (rows,), from any bound of problems of full rank; zero for too many column sets.

    Rounding is treated as in the search: what is dependent to rounding is taken as dependent.
    """
    sets = independent_sets(problem.gram) if isinstance(problem.feasible, Sparse) else None
    if sets is None:
        return np.zeros(problem.rows)
    lower = np.full(problem.rows, np.inf)
    for part in sets:
        folded, moved = _folded(problem, part)
        lower = np.minimum(lower, _moved(bound(folded), moved))
    return lower


def _folded(problem: LeastSquares, part: IndependentSet) -> tuple[LeastSquares, Array]:
    """The problem on a set of columns, and by how much that may move `√E` of each row."""
    assert isinstance(problem.feasible, Sparse)
    left_out = problem.target[:, part.others]
    target = problem.target[:, part.columns] + left_out @ part.fold
    feasible = Sparse(min(problem.feasible.keep, part.columns.size))
    return LeastSquares(part.gram, target, feasible), np.abs(left_out) @ part.blur


def _moved(lower: Array, moved: Array) -> Array:
    root = np.maximum(np.sqrt(np.maximum(lower, 0.0)) - moved, 0.0)
    return np.asarray(root * root * (1 - 4 * UNIT_ROUNDOFF))


_lifts: WeakKeyDictionary[Gram, dict[float, Gram]] = WeakKeyDictionary()


def _lifted(problem: LeastSquares, start: Array | None, run: Run, max_nodes: int, time_limit: float) -> Solution:
    values = values_of(problem.feasible)
    dependent = split(problem.gram)[1].size
    share = FAINT_LIFT if values is None else 2.0**-19 / len(values)
    lifted = LeastSquares(lift(problem.gram, share), problem.target, problem.feasible)
    many = values is None or dependent * np.log2(len(values)) > np.log2(MOST_ASSIGNMENTS)
    if many and isinstance(problem.feasible, Sparse):
        found = heuristic(lifted, start)
    else:
        if many and isinstance(problem.feasible, IntegerBox | Codebook):
            start = BEAM.solve(problem, start).x
        found = run(lifted, start, max_nodes=min(max_nodes, FEW_NODES) if many else max_nodes, time_limit=time_limit)
    lower = np.zeros(problem.rows)
    if values is not None:
        farthest = np.maximum(np.abs(problem.target - values[0]), np.abs(values[-1] - problem.target))
        added = (lifted.gram.array.diagonal() - problem.gram.array.diagonal()) * (1 + 4 * UNIT_ROUNDOFF)
        lost = farthest**2 @ added * (1 + 4 * problem.columns * UNIT_ROUNDOFF)
        lower = np.maximum(np.nextafter(found.lower - lost, 0.0), 0.0)
    stopped = np.where(found.closed | many, Status.DEPENDENT, found.status)
    stats = found.stats | {"nodes": found.stats.get("nodes", np.zeros(problem.rows, dtype=np.int64))}
    return solution(found.x, problem.upper(found.x), lower, stopped, stats)


def lift(gram: Gram, share: float) -> Gram:
    """The Gram with at least `share` of their diagonal added to those of dependent columns: of full rank."""
    known = _lifts.setdefault(gram, {})
    if share not in known:
        added = np.zeros(gram.columns)
        added[split(gram)[1]] = share
        lifted = gram
        while lifted.singular:
            lifted = Gram(gram.array + np.diag(added * gram.array.diagonal()))
            added *= 4.0
        known[share] = lifted
    return known[share]


def values_of(feasible: Feasible) -> Array | range | None:
    """The values that an entry may take, increasing; None where it is free."""
    if isinstance(feasible, Codebook):
        return np.asarray(feasible.levels)
    if isinstance(feasible, IntegerBox | SparseIntegerBox):
        return range(feasible.low, feasible.high + 1)
    return None
