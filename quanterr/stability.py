"""Would other calibration inputs agree? Verdicts on disjoint parts of the inputs, and the spread between parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from itertools import permutations
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from .contestants import Method, codes_range
from .errors import ChunkRefused, InputError
from .execution.running import Progress, run
from .execution.workers import workers
from .layers.layer import require_layers
from .resampling import FEWEST, Resamples, advantage, bias, needed
from .results.report import Outcome
from .results.spread import REFUSED, Spread, Stability
from .samples import Sample
from .scaling import SCALES

if TYPE_CHECKING:
    from .layers import LayerFolds
    from .store import Store

__all__ = ["stability"]

Q, P = Method.QUANTIZATION, Method.PRUNING


def stability(
    layers: Iterable[LayerFolds],
    bits: Sequence[int] = (2, 4, 8),
    chunk: int | None = 36,
    *,
    splits: int = 4,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    scale: str = "mse",
    store: Store | None = None,
    executor: Executor | None = None,
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
    title: str = "",
) -> Stability:
    """How much verdicts depend on the calibration inputs: a Gram matrix is a sample.

    Each comparison is solved anew in each of `splits` disjoint parts of the inputs, as exactly as `certify` does: a
    verdict there is proven for the inputs of that split. The rest is statistics and called an estimate: an interval of
    the advantage by resampling inputs (`quanterr/resampling.py`), the chance that as many other inputs turn the
    verdict, and the number of inputs that would settle it, as if the interval shrank with the square root of their
    number. All of it supposes inputs drawn independently from what the network will see; no statistics mend a
    calibration set of another kind.

    A small sample flatters: the optimum for few inputs has a smaller error there than it will have on many, and not
    both sides by the same. The splits, with fewer inputs still, show by how much (`bias_db`), and the interval reaches
    to the corrected value as well: of 95 % intervals on real layers with 8 to 16 inputs, 33 … 98 % held the truth
    without that (`python -m benchmarks stability`).

    Parameters
    ----------
    layers : iterable of LayerFolds
        From `quanterr.layers.capture_folds`.
    bits, chunk, scale, store, executor, jobs, progress : as for `certify`
        Problems wider than 64 columns get the quick effort.
    splits : int
        Disjoint parts that are solved anew, 2 or more; consecutive inputs stay together.
    resamples, level, seed : of the bootstrap
        `level` is the share of intervals that should hold the truth, were everything done again and again.

    Returns
    -------
    Stability

    Raises
    ------
    InputError
        Fewer inputs than splits, or than four; layers with different parts; no bits; a level outside 0 … 1, an
        unknown scale.
    LayerError
        No layers, or two of the same name.
    QuanterrError
        As for `certify`. A chunk that a split refuses (dependent inputs, say) is named in `Stability.refused`.
    """
    folded = list(layers)
    widths = tuple(dict.fromkeys(int(b) for b in bits if codes_range(b)))
    if not widths:
        raise InputError("no bit-widths given: pass at least one, for example bits=(2, 4, 8)")
    parts = _parts(folded, splits)
    if resamples < 100 or not 0.0 < level < 1.0 or scale not in SCALES:
        raise InputError(
            f"resamples = {resamples!r}, level = {level!r}, scale = {scale!r}: 100 resamples or more, a share between "
            f"0 and 1 such as 0.95, and one of {', '.join(SCALES)}"
        )
    pieces = [list(map(int, piece)) for piece in np.array_split(np.arange(parts), splits)]
    samples = {
        one.layer.name: [
            Sample(one, one.layer.name, range(parts)),
            *(Sample(one, f"{one.layer.name}, split {i} of {splits}", p) for i, p in enumerate(pieces, start=1)),
        ]
        for one in folded
    }
    by_name = {sample.name: sample for several in samples.values() for sample in several}
    plan = [unit for sample in by_name.values() for unit in sample.plan(widths, chunk, scale)]
    refused: dict[tuple[str, int], str] = {}
    with workers(executor, jobs) as pool, closing(run(plan, store, pool, progress, "solving")) as outcomes:
        for unit, results in outcomes:
            if isinstance(results, ChunkRefused):
                refused.setdefault((unit.layer, unit.chunk), str(results))
            else:
                by_name[unit.layer].add(unit, results)
    for name, index in refused:
        by_name[name].drop(index)
    for sample in by_name.values():
        sample.close()
    drawn = Resamples.draw(parts, resamples, level, seed)
    spreads = []
    for one in folded:
        whole, *some = samples[one.layer.name]
        for piece in one.layer.chunks(chunk):
            for width in widths:
                found = _spread(whole, some, piece.index, piece.columns, width, drawn)
                spreads += [found] if found is not None else []
    remarks = tuple(sorted(refused.values()))
    return Stability(tuple(spreads), splits, parts, resamples, level, seed, title, remarks)


def _parts(folded: list[LayerFolds], splits: int) -> int:
    """How many parts all layers share, if they can be split and resampled."""
    require_layers([one.layer for one in folded])
    counts = {one.sources for one in folded}
    if len(counts) > 1:
        raise InputError("the layers come from different captures: their parts hold different inputs")
    parts, inputs = folded[0].folds, sum(folded[0].sources)
    if splits < 2 or splits > parts:
        raise InputError(f"{splits} splits of {parts} parts ({inputs} inputs): 2 splits or more, and a part for each")
    if parts < FEWEST:
        raise InputError(f"{inputs} inputs in {parts} parts: give {FEWEST} independent inputs or more, better 16")
    return parts


def _spread(
    whole: Sample, some: list[Sample], chunk: int, columns: slice, bits: int, drawn: Resamples
) -> Spread | None:
    """One comparison; None where it was refused for all inputs."""
    verdict = whole.judged(chunk, bits)
    if verdict is None:
        return None
    q, p = (whole.records[chunk, bits, method] for method in (Q, P))
    inputs = sum(whole.folds.sources)
    low, high = advantage(q.error_upper, p.error_lower), advantage(q.error_lower, p.error_upper)
    errors = [whole.errors((chunk, bits, method), columns) for method in (Q, P)]
    found = advantage(q.error_upper, p.error_upper)
    judged = [sample.judged(chunk, bits) for sample in some]
    in_splits = tuple(
        None if v is None else advantage(*(s.records[chunk, bits, m].error_upper for m in (Q, P)))
        for s, v in zip(some, judged, strict=True)
    )
    chance, enough, excess = None, None, None
    if found is not None and low is not None and high is not None and math.isfinite(found):
        deviations = drawn.deviations(errors[0], errors[1])
        excess = bias(found, in_splits)
        below, above = drawn.reach(deviations)
        below, above = min(below, below - (excess or 0.0)), max(above, above - (excess or 0.0))
        if verdict.outcome is Outcome.QUANTIZATION:
            chance, enough = drawn.turned(deviations, low), needed(inputs, low, -below)
        elif verdict.outcome is Outcome.PRUNING:
            chance, enough = drawn.turned(-deviations, -high), needed(inputs, -high, above)
        low, high = low + below, high + above
    return Spread(
        layer=verdict.layer,
        chunk=chunk,
        bits=bits,
        verdict=verdict.outcome.value,
        advantage_db=found,
        low_db=low,
        high_db=high,
        bias_db=excess,
        flip_probability=chance,
        inputs=inputs,
        inputs_needed=enough,
        split_verdicts=tuple(REFUSED if v is None else v.outcome.value for v in judged),
        split_db=in_splits,
        held_out_db=tuple(_held_out(sample, (chunk, bits), columns) for sample in some),
        quantization_transfer_db=_transfer(some, (chunk, bits, Q), columns),
        pruning_transfer_db=_transfer(some, (chunk, bits, P), columns),
    )


def _held_out(sample: Sample, place: tuple[int, int], columns: slice) -> float | None:
    """The advantage on all inputs that the weights of this split were not found on."""
    if any((*place, method) not in sample.squares for method in (Q, P)):
        return None
    outside = [part for part in range(sample.folds.folds) if part not in sample.parts]
    return advantage(*(float(sample.errors((*place, m), columns)[outside].sum()) for m in (Q, P)))


def _transfer(some: list[Sample], key: tuple[int, int, Method], columns: slice) -> float | None:
    """Mean over pairs of splits of what weights found in one lose in the other."""
    losses = [
        advantage(b.records[key].error_upper, a.error_in(b, key, columns))
        for a, b in permutations((sample for sample in some if key in sample.records), 2)
    ]
    known = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    return fmean(known) if known else None
