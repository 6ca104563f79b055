"""Would another calibration set agree? Real layers in four disjoint splits, and how often the interval holds the truth.

First every fourth row of the demo's layers (all rows of the depthwise one) and of two of MiniLM-L6, chunks of 36
columns, 4 splits, 2,000 resamples: `quanterr stability` as shipped. Photographs (two crops each) and passages of text
are the inputs. "held out": the advantage of the weights of a split on all inputs outside it. "transfer": what weights
found in one split lose in another, quantisation / pruning.

Then coverage on real Gram matrices. All crops or passages are the population, so that the truth is known: the exact
advantage on all of them. Samples of 8 and 16 are drawn from it with replacement; 24 rows of one chunk at 2 bits. How
often does a 95 % interval hold the truth, and how wide is it? Percentile: the plain bootstrap with weights held.
Expanded: taken further out for few inputs (Hesterberg 2015). Shipped: reaching also to the value corrected for what a
small sample feigns. "held / solved anew": standard deviation of bootstrap advantages with weights held, divided by that
with both sides solved anew in every resample (30 resamples of one sample): what holding them costs.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np

import quanterr
from quanterr import Spread
from quanterr.contestants import Method
from quanterr.layers import LayerFolds, capture_folds
from quanterr.models import PRESETS
from quanterr.models.efficientnet import efficientnet_lite0
from quanterr.models.minilm import minilm_l6
from quanterr.resampling import Resamples
from quanterr.samples import Sample
from quanterr.units import solve_unit

from .timing import markdown, processor_seconds

BITS = (2, 4)
EVERY = 4
REPEATS, SOLVED = 60, 30
BOTH = (Method.QUANTIZATION, Method.PRUNING)
FIRST, WIDTH, ROWS = 36, 36, 24


def run() -> str:
    """Three tables."""
    lines: list[list[str]] = []
    for name in ("efficientnet-lite0", "minilm-l6"):
        preset = PRESETS[name]
        model, batches, _ = preset.factory()
        for folds in capture_folds(model, batches, preset.layers, group=preset.together):
            every = EVERY if folds.layer.groups == 1 else 1
            few = replace(folds, layer=replace(folds.layer, weight=folds.layer.weight[::every]))
            spent, found = processor_seconds(lambda few=few: quanterr.stability([few], BITS))
            for bits in BITS:
                lines.append(_line([s for s in found.spreads if s.bits == bits], spent / len(BITS)))
                print(f"  {' | '.join(lines[-1])}", flush=True)
    header = ["layer", "bits", "chunks", "inputs", "verdicts", "advantage, dB", "splits, dB", "interval, dB"]
    header += ["flips", "chance of a flip", "inputs needed", "held out, dB", "transfer, dB", "s"]
    return "\n\n".join(
        [
            "**Real layers**\n\n" + markdown(header, lines),
            "**Coverage of 95 % intervals (width in dB), one chunk of real layers at 2 bits**\n\n" + _coverage(),
        ]
    )


def _line(spreads: list[Spread], spent: float) -> list[str]:
    def extent(values: list[float | None]) -> str:
        known = [value for value in values if value is not None]
        return f"{min(known):.1f} … {max(known):.1f}" if known else "–"

    chances = [s.flip_probability for s in spreads if s.flip_probability is not None]
    needed = [s.inputs_needed for s in spreads]
    verdicts = [s.verdict for s in spreads]
    return [
        f"`{spreads[0].layer}`", str(spreads[0].bits), str(len(spreads)), str(spreads[0].inputs),
        ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)),
        extent([s.advantage_db for s in spreads]), extent([v for s in spreads for v in s.split_db]),
        extent([v for s in spreads for v in (s.low_db, s.high_db)]), str(sum(len(s.flips) for s in spreads)),
        f"≤ {max(chances, default=0):.1%}", "?" if None in needed else f"≤ {max(n for n in needed if n is not None)}",
        extent([v for s in spreads for v in s.held_out_db]),
        " / ".join(
            f"{fmean(v for s in spreads if (v := getattr(s, f'{m.value}_transfer_db')) is not None):.1f}" for m in BOTH
        ),
        f"{spent:.0f}",
    ]  # fmt: skip


def _coverage() -> str:
    rows = []
    for name, (model, batches, _) in (
        ("_blocks.15._expand_conv", efficientnet_lite0(each=8)),
        ("encoder.layer.2.attention.output.dense", minilm_l6()),
    ):
        every = _chunk(capture_folds(model, batches, [name], folds=128)[0])
        everything = range(every.folds)
        truth = _advantage(_solved(every, everything), every, everything)
        for inputs in (8, 16):
            rng, hits, widths = np.random.default_rng(0), np.zeros(3), np.zeros(3)
            for _ in range(REPEATS):
                found = _intervals(_drawn(every, rng.choice(every.folds, inputs)))
                hits += [low <= truth <= high for low, high in found]
                widths += [high - low for low, high in found]
            shares = [f"{h / REPEATS:.0%} ({w / REPEATS:.2f})" for h, w in zip(hits, widths, strict=True)]
            held = _held_against_solved(_drawn(every, np.random.default_rng(1).choice(every.folds, inputs)))
            rows.append([f"`{name}`", str(every.folds), str(inputs), f"{truth:.2f}", *shares, f"{held:.2f}"])
            print(f"  {' | '.join(rows[-1])}", flush=True)
    header = ["layer", "population", "inputs", "truth, dB", "percentile", "expanded", "shipped", "held / solved anew"]
    return markdown(header, rows)


def _chunk(folds: LayerFolds) -> LayerFolds:
    """24 rows of the second chunk, as a layer of its own."""
    at = slice(FIRST, FIRST + WIDTH)
    weight = folds.layer.weight[:: folds.layer.rows // ROWS][:ROWS, at]
    layer = quanterr.Layer(folds.layer.name, weight, folds.layer.gram[at, at], folds.layer.samples)
    return LayerFolds(layer, folds.sums[:, at, at], folds.samples, folds.sources)


def _drawn(every: LayerFolds, chosen: np.ndarray) -> LayerFolds:
    """The same layer, captured on other inputs."""
    part = every.part([int(i) for i in chosen])
    ones = tuple(every.samples[i] for i in chosen)
    return LayerFolds(part, every.sums[chosen], ones, (1,) * len(chosen))


def _solved(folds: LayerFolds, parts: range) -> Sample:
    sample = Sample(folds, folds.layer.name, parts)
    for unit in sample.plan((2,), None, "mse"):
        sample.add(unit, solve_unit(unit))
    sample.close()
    return sample


def _errors(sample: Sample) -> list[np.ndarray]:
    return [sample.errors((0, 2, method), slice(0, WIDTH)) for method in BOTH]


def _advantage(sample: Sample, folds: LayerFolds, parts: range) -> float:
    quantization, pruning = (float(errors[list(parts)].sum()) for errors in _errors(sample))
    return float(10 * np.log10(pruning / quantization))


def _intervals(folds: LayerFolds) -> list[tuple[float, float]]:
    """Percentile, expanded, shipped."""
    parts = range(folds.folds)
    sample = _solved(folds, parts)
    whole = _advantage(sample, folds, parts)
    drawn = Resamples.draw(folds.folds, 2000, 0.95, 0)
    deviations = drawn.deviations(*_errors(sample))
    plain, further = np.quantile(deviations, [0.025, 0.975]), drawn.reach(deviations)
    shipped = quanterr.stability([folds], (2,), None).spreads[0]
    assert shipped.low_db is not None
    assert shipped.high_db is not None
    return [
        (whole + plain[0], whole + plain[1]),
        (whole + further[0], whole + further[1]),
        (shipped.low_db, shipped.high_db),
    ]


def _held_against_solved(folds: LayerFolds) -> float:
    rng, held, anew = np.random.default_rng(2), [], []
    quantization, pruning = _errors(_solved(folds, range(folds.folds)))
    for _ in range(SOLVED):
        chosen = rng.choice(folds.folds, folds.folds)
        held.append(10 * np.log10(pruning[chosen].sum() / quantization[chosen].sum()))
        again = _drawn(folds, chosen)
        anew.append(_advantage(_solved(again, range(again.folds)), again, range(again.folds)))
    return float(np.std(held) / np.std(anew))
