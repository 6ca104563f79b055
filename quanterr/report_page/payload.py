"""What page.js draws from: the records as compact JSON, in thousandths of a decibel on the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from ..errors import InputError
from ..report import Record, decibels
from ..scan.rule import break_even_range
from ..spread import Stability
from ..table import LETTER
from . import steady
from .layers import LayerPage, Pair

Number = int | float | str | None


def payload(layers: Sequence[LayerPage], bits: Sequence[int], stability: Stability | None = None) -> dict[str, object]:
    """All layers, and the kurtosis at which theory expects pruning to become better, one for each of `bits`.

    What an algorithm achieves and margins are rounded down, limits up, so that every printed number is still proven.
    """
    shared, spreads = steady.payload(stability, bits)
    known = any(layer.facts is not None for layer in layers)
    return {
        "bits": list(bits),
        "breakEven": [_break_even(width) if known else None for width in bits],
        "stability": shared,
        "layers": [_layer(layer, bits) | {"stability": spreads.get(layer.name)} for layer in layers],
    }


def _break_even(bits: int) -> Number:
    if bits >= 16:
        return None  # nothing is pruned, and never is quantisation as good
    try:
        return float(f"{break_even_range(bits).kurtosis:.5g}")
    except InputError:
        return None


def _layer(layer: LayerPage, bits: Sequence[int]) -> dict[str, object]:
    first = next(iter(layer.pairs.values()))
    facts = asdict(layer.facts) if layer.facts is not None else None
    if facts is not None:
        del facts["layer"]
    return {
        "name": layer.name,
        "whole": layer.whole,
        "rows": first[0].pruning.rows,
        "facts": facts,
        "cells": [_cell(layer.pairs[width]) if width in layer.pairs else None for width in bits],
    }


def _cell(pairs: list[Pair]) -> dict[str, object]:
    return {
        "chunk": [pair.verdict.chunk for pair in pairs],
        "columns": _shared([pair.pruning.columns for pair in pairs]),
        "verdict": "".join(LETTER[pair.verdict.outcome] for pair in pairs),
        "margin": [_milli(pair.verdict.margin_db, math.floor) for pair in pairs],
        "q": _side([pair.quantization for pair in pairs]),
        "p": _side([pair.pruning for pair in pairs]),
    }


def _side(records: list[Record]) -> dict[str, object]:
    down, up = partial(_milli, towards=math.floor), partial(_milli, towards=math.ceil)
    return {
        "start": [down(decibels(r.energy, r.error_start)) for r in records],
        "achieved": [down(r.snr_db) for r in records],
        "limit": [up(r.snr_limit_db) for r in records],
        "status": _shared([r.status for r in records]),
        "open": _shared([r.open_rows for r in records]),
        "evidence": _shared([r.evidence for r in records]),
        "seconds": [float(f"{r.seconds:.2g}") for r in records],
    }


def _milli(value: float, towards: Callable[[float], int]) -> Number:
    """Thousandths as an integer; JSON has no infinity, so that is text, and what is undefined is null."""
    if math.isnan(value):
        return None
    return ("∞" if value > 0 else "−∞") if math.isinf(value) else towards(1000 * value)


def _shared(values: Sequence[Number]) -> Number | Sequence[Number]:
    """One value where all chunks agree."""
    return values[0] if all(value == values[0] for value in values) else values
