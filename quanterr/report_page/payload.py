"""What page.js draws from: the records as compact JSON, in thousandths of a decibel on the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from ..errors import InputError
from ..results.report import Duel, Record, decibels
from ..results.spread import Stability
from ..scan.rule import break_even_range
from . import steady
from .layers import EQUAL_STORAGE, Column, LayerPage

Number = int | float | str | None


def payload(
    layers: Sequence[LayerPage], columns: Sequence[Column], stability: Stability | None = None
) -> dict[str, object]:
    """All layers, and what is compared in each of `columns`.

    `breakEven` is the kurtosis at which theory expects pruning to become better. What an algorithm achieves and margins
    are rounded down, limits up, so that every printed number is still proven.
    """
    shared, spreads = steady.payload(stability, [column.key for column in columns])
    known = any(layer.facts is not None for layer in layers)
    return {
        "bits": [column.key for column in columns],
        "labels": [column.label for column in columns],
        "names": [column.names for column in columns],
        "breakEven": [_break_even(column) if known else None for column in columns],
        "stability": shared,
        "layers": [_layer(layer, columns) | {"stability": spreads.get(layer.name)} for layer in layers],
    }


def _break_even(column: Column) -> Number:
    if column.bits is None or (column.first, column.second) != EQUAL_STORAGE or column.bits >= 16:
        return None  # at 16 bits nothing is pruned, and never is quantisation as good
    try:
        return float(f"{break_even_range(column.bits).kurtosis:.5g}")
    except InputError:
        return None


def _layer(layer: LayerPage, columns: Sequence[Column]) -> dict[str, object]:
    first = next(iter(layer.duels.values()))
    facts = asdict(layer.facts) if layer.facts is not None else None
    if facts is not None:
        del facts["layer"]
    return {
        "name": layer.name,
        "whole": layer.whole,
        "rows": first[0].second.rows,
        "facts": facts,
        "cells": [_cell(layer.duels[column]) if column in layer.duels else None for column in columns],
    }


def _cell(duels: list[Duel]) -> dict[str, object]:
    """`Q`: the first of the two is better, `P`: the second; `here` the same for the scale of the run only."""
    return {
        "chunk": [duel.first.chunk for duel in duels],
        "columns": _shared([duel.second.columns for duel in duels]),
        "verdict": "".join(_letter(duel, duel.better) or "?" for duel in duels),
        "here": _shared([_letter(duel, duel.at_scale) for duel in duels]),
        "margin": [_milli(duel.margin_db, math.floor) for duel in duels],
        "q": _side([duel.first for duel in duels]),
        "p": _side([duel.second for duel in duels]),
    }


def _letter(duel: Duel, method: str) -> str:
    return {duel.first.method: "Q", duel.second.method: "P"}.get(method, "")


def _side(records: list[Record]) -> dict[str, object]:
    down, up = partial(_milli, towards=math.floor), partial(_milli, towards=math.ceil)
    return {
        "start": [down(decibels(r.energy, r.error_start)) for r in records],
        "achieved": [down(r.snr_db) for r in records],
        "limit": [up(r.snr_limit_db) for r in records],
        "any": _shared(
            [up(decibels(r.energy, r.error_lower_any_scale)) if r.error_lower_any_scale else 0 for r in records]
        ),
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
