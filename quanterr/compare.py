"""Every heuristic beside what is proven: how many decibels does the best one leave on the table?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import bounds
from bounds import BranchAndBound, Gram, LeastSquares, ProblemError
from bounds.gram import Array
from bounds.verbs import Relaxation

from .contestants import Method, codes_range, feasible_set, keep_at
from .efforts import effort as effort_named
from .errors import QuanterrError
from .results.drawn import Drawn
from .results.report import decibels
from .scaling import SCALES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .layers import Layer

#: Wider problems are compared with a proven limit, narrower ones with the exact optimum.
EXACT_COLUMNS = 64


@dataclass(frozen=True)
class Trial:
    """One heuristic on one problem: some rows of a chunk, or of the whole layer, at one bit-width.

    `energy` and `error` are sums over the rows of squared output units per sample; no feasible point has an error
    below `error_lower` (proven), and where `exact` it is the optimum itself. `seconds`: processor time of the
    heuristic on these rows.
    """

    layer: str
    scope: str
    bits: int
    method: str
    heuristic: str
    rows: int
    columns: int
    energy: float
    error: float
    error_lower: float
    exact: bool
    seconds: float

    @property
    def snr_db(self) -> float:
        """Achieved by the heuristic."""
        return decibels(self.energy, self.error)

    @property
    def snr_limit_db(self) -> float:
        """No algorithm can exceed this SNR; ∞ where nothing above zero is proven (a Gram of deficient rank)."""
        return decibels(self.energy, max(self.error_lower, 0.0))

    @property
    def left_db(self) -> float:
        """Decibels below the limit: exactly what is lost where `exact`, at most what is lost elsewhere."""
        return self.snr_limit_db - self.snr_db


@dataclass(frozen=True)
class Comparison(Drawn):
    """All trials of a run; `refused` says which heuristic refused which problem, and why."""

    trials: tuple[Trial, ...]
    title: str = ""
    refused: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row a trial: its fields, `snr_db`, `snr_limit_db`, `left_db`, and `behind_db` (see `behind`)."""
        import pandas as pd

        extra = ("snr_db", "snr_limit_db", "left_db")
        frame = pd.DataFrame([asdict(t) | {name: getattr(t, name) for name in extra} for t in self.trials])
        return frame.assign(behind_db=behind(self.trials))

    def summary(self) -> pd.DataFrame:
        """One line a heuristic, best first, means over layers and bit-widths: what it loses, and what it costs.

        `lost_db`, `lost_most_db`: below the exact optimum of chunks. `behind_db`: below the best heuristic on whole
        layers; `at_most_db`: below their proven limit, so at most what is lost there. `ms_a_row`: processor time on
        whole layers (on chunks where there are none).
        """
        import pandas as pd

        frame, lines = self.to_frame(), []
        for method in Method:
            for name in reversed(order(t for t in self.trials if t.method == method)):
                mine = frame[(frame.method == method) & (frame.heuristic == name)]
                chunks, whole = mine[mine.exact], mine[~mine.exact]
                timed = chunks if whole.empty else whole
                lines.append(
                    {
                        "method": method.value,
                        "heuristic": name,
                        "lost_db": chunks.left_db.mean(),
                        "lost_most_db": chunks.left_db.max(),
                        "behind_db": whole.behind_db.mean(),
                        "at_most_db": whole.left_db.mean(),
                        "ms_a_row": 1e3 * (timed.seconds / timed.rows).mean(),
                    }
                )
        return pd.DataFrame(lines)

    def best(self) -> pd.DataFrame:
        """The heuristic with the highest SNR for each (layer, scope, bits, method), the fastest among equals."""
        frame = self.to_frame().sort_values(["snr_db", "seconds"], ascending=[False, True], kind="stable")
        return frame.groupby(["layer", "scope", "bits", "method"], sort=False).head(1).sort_index()

    def plot(self) -> Figure:
        """Decibels that each heuristic leaves on the table, layer by layer."""
        from .plots.compared import left_on_the_table

        return left_on_the_table(self)

    def _repr_html_(self) -> str:
        """Notebooks show the best heuristic of each problem."""
        columns = ["layer", "scope", "bits", "method", "heuristic", "snr_db", "snr_limit_db", "left_db", "seconds"]
        return str(self.best()[columns].to_html(index=False, float_format="{:.2f}".format))


def behind(trials: Sequence[Trial]) -> list[float]:
    """Decibels below the best heuristic on the same problem, trial by trial: no bound has a part in it."""
    best: dict[tuple[str, str, int, str], float] = {}
    for trial in trials:
        problem = trial.layer, trial.scope, trial.bits, trial.method
        best[problem] = max(best.get(problem, -math.inf), trial.snr_db)
    return [0.0 if t.snr_db == (b := best[t.layer, t.scope, t.bits, t.method]) else b - t.snr_db for t in trials]


def order(trials: Iterable[Trial]) -> list[str]:
    """Names of heuristics from worst to best by their mean loss: on exact problems where there are any."""
    losses: dict[str, dict[bool, list[float]]] = {}
    for trial in trials:
        losses.setdefault(trial.heuristic, {True: [], False: []})[trial.exact].append(trial.left_db)

    def mean(name: str) -> float:
        finite = [v for v in losses[name][True] or losses[name][False] if math.isfinite(v)]
        return sum(finite) / len(finite) if finite else math.inf

    return sorted(losses, key=mean, reverse=True)


def compare(
    layers: Iterable[Layer],
    bits: Sequence[int] = (2, 3, 4),
    *,
    chunk: int = 36,
    chunks: int = 3,
    whole: bool = True,
    rows: int = 64,
    heuristics: Sequence[str] | None = None,
    effort: str = "quick",
    scale: str = "mse",
    device: str | None = None,
    title: str = "",
    progress: Callable[[Trial], None] | None = None,
) -> Comparison:
    """Run every heuristic on chunks, beside the exact optimum, and on whole layers, beside a proven limit.

    Parameters
    ----------
    layers : iterable of Layer
    bits : sequence of int
        Bit-widths; pruning keeps ⌊columns · bits / 16⌋ weights of each row.
    chunk, chunks : int
        Columns solved together, at most 64, and how many chunks of a layer, evenly spaced; their errors are summed.
    whole : bool
        Also the whole layer, unless it is no wider than a chunk.
    rows : int
        At most so many rows of each layer, evenly spaced.
    heuristics : sequence of str, optional
        Names out of `quanterr.heuristics.QUANTIZERS` and `PRUNERS`; default: all.
    effort : {"quick", "normal", "thorough"}
        Work on the proven limit of whole layers, as in `certify`.
    scale : {"mse", "max", "lp"}
        Quantisation scale per tensor, the same for every heuristic.
    device : str, optional
        Where torch computes.
    progress : callable, optional
        Called with every finished `Trial`.

    Returns
    -------
    Comparison
        Errors are recomputed by `bounds` from the points found, allowance for rounding included.

    Raises
    ------
    QuanterrError
        Bad chunk, rows, scale or bits, an unknown heuristic, or no layer.
    """
    if not 1 <= chunk <= EXACT_COLUMNS:
        raise QuanterrError(f"chunk = {chunk} columns: the exact optimum needs 1 … {EXACT_COLUMNS}")
    if rows < 1 or chunks < 1:
        raise QuanterrError(f"rows = {rows} and chunks = {chunks} must be positive")
    if scale not in SCALES:
        raise QuanterrError(f"scale = {scale!r}: choose one of {', '.join(SCALES)}")
    for width in bits:
        codes_range(width)
    chosen = _chosen(heuristics)
    relaxations = effort_named(effort).relaxation
    trials: list[Trial] = []
    refused: list[str] = []
    for layer in layers:
        for width in bits:
            step = float(SCALES[scale](layer.weight, width))
            for scope, parts, exact in _scopes(layer, chunk, chunks, whole, rows):
                for method in Method:
                    contest = _Contest(layer.name, scope, width, method, step, parts, device)
                    for outcome in contest.run(chosen[method], None if exact else relaxations[method]):
                        if isinstance(outcome, str):
                            refused.append(outcome)
                            continue
                        trials.append(outcome)
                        if progress is not None:
                            progress(outcome)
    if not trials and not refused:
        raise QuanterrError("no layers given: nothing to compare")
    return Comparison(tuple(trials), title, tuple(refused))


Heuristic = Callable[..., Any]
Part = tuple[Gram, Array]


def _chosen(names: Sequence[str] | None) -> dict[Method, dict[str, Heuristic]]:
    from .heuristics import PRUNERS, QUANTIZERS

    known: dict[Method, dict[str, Heuristic]] = {Method.QUANTIZATION: dict(QUANTIZERS), Method.PRUNING: dict(PRUNERS)}
    if names is None:
        return known
    for name in names:
        if not any(name in group for group in known.values()):
            everything = ", ".join(name for group in known.values() for name in group)
            raise QuanterrError(f"no heuristic is called {name!r}: choose among {everything}")
    return {method: {n: h for n, h in group.items() if n in names} for method, group in known.items()}


def _scopes(layer: Layer, chunk: int, chunks: int, whole: bool, rows: int) -> Iterator[tuple[str, list[Part], bool]]:
    """The problems of a layer, chunks together, then the whole, and whether the optimum is in reach."""
    every = list(layer.chunks(chunk))
    picked = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(chunks, len(every))).astype(int))]
    exact = [(Gram(piece.gram), _spread(piece.weight, rows)) for c in picked for piece in c.pieces[:1]]
    yield f"{len(exact)} chunks of {chunk}" if len(exact) > 1 else f"{exact[0][1].shape[1]} columns", exact, True
    if whole and len(every) > 1:
        piece = next(layer.chunks(None)).pieces[0]
        yield f"whole layer, {layer.columns} columns", [(Gram(piece.gram), _spread(piece.weight, rows))], False


def _spread(weight: Array, rows: int) -> Array:
    """At most so many rows, evenly spaced."""
    picked: Array = weight[np.unique(np.linspace(0, len(weight) - 1, min(rows, len(weight))).astype(int))]
    return picked


@dataclass(frozen=True)
class _Contest:
    """The problems of one scope at one bit-width, for one side; `step` is the quantisation scale."""

    layer: str
    scope: str
    bits: int
    method: Method
    step: float
    parts: list[Part]
    device: str | None

    def run(self, heuristics: dict[str, Heuristic], limit: Relaxation | None) -> Iterator[Trial | str]:
        """A trial for each heuristic, or one line that says what was refused and why."""
        quantizing = self.method is Method.QUANTIZATION
        unit = self.step if quantizing else 1.0
        try:
            problems = [
                LeastSquares(gram, weight / unit, feasible_set(self.method, self.bits, gram.columns))
                for gram, weight in self.parts
            ]
            lower, exact = _limit(problems, limit)
        except ProblemError as refusal:
            yield f"{self.layer}, {self.scope}, {self.bits} bits, {self.method}: {refusal}"
            return
        energy = sum(_energy(gram, weight) for gram, weight in self.parts)
        columns = sum(p.columns for p in problems)
        for name, heuristic in heuristics.items():
            try:
                began = time.process_time()
                points = [self._apply(heuristic, p) for p in problems]
                seconds = time.process_time() - began
            except ProblemError as refusal:
                yield f"{self.layer}, {self.scope}, {self.bits} bits, {name}: {refusal}"
                continue
            error = unit**2 * sum(float(p.upper(x).sum()) for p, x in zip(problems, points, strict=True))
            yield Trial(
                self.layer, self.scope, self.bits, self.method.value, name, problems[0].rows, columns, energy,
                error, unit**2 * lower, exact, seconds,
            )  # fmt: skip

    def _apply(self, heuristic: Heuristic, problem: LeastSquares) -> Array:
        limits = codes_range(self.bits) if self.method is Method.QUANTIZATION else [keep_at(self.bits, problem.columns)]
        return np.asarray(heuristic(problem.target, problem.gram, *limits, device=self.device))


def _limit(problems: list[LeastSquares], relaxation: Relaxation | None) -> tuple[float, bool]:
    """Sum of the proven lower bounds, and whether they are the optimum."""
    if relaxation is not None:
        return sum(float(relaxation.lower_bound(p).value.sum()) for p in problems), False
    found = [bounds.solve(p, BranchAndBound()) for p in problems]
    return sum(float(s.lower.sum()) for s in found), all(bool(s.closed.all()) for s in found)


def _energy(gram: Gram, weight: Array) -> float:
    return float(np.einsum("ri,ri->", weight @ gram.array, weight))
