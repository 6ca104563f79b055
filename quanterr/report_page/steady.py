"""Would other calibration inputs agree? The part of the page for runs that asked: a list, and what steady.js draws."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from ..results.spread import REFUSED, Spread, Stability
from .layers import breakable

LETTER = {"quantization": "Q", "pruning": "P", "undecided": "?", REFUSED: "–"}
SHOWN = 40


def section(stability: Stability | None) -> str:
    """HTML: what was asked, how it came out, and every comparison that flips or is not settled."""
    if stability is None or not stability.spreads:
        return ""
    spreads, inputs = stability.spreads, max(spread.inputs for spread in stability.spreads)
    flips, unsettled = stability.flips, stability.unsettled
    needed = [spread.inputs_needed for spread in spreads if spread.inputs_needed is not None]
    enough = f", of which {max(needed):,} would do" if needed and max(needed) < inputs and not unsettled else ""
    listed = [spread for spread in spreads if spread.flips or not spread.settled]
    head = "".join(
        f"<th scope='col'>{name}</th>"
        for name in ("layer", "chunk", "bits", "all inputs", "splits", "interval", "chance of a flip", "inputs needed")
    )
    rows = "".join(_row(spread, stability.resamples) for spread in listed[:SHOWN])
    more = f"<p>and {len(listed) - SHOWN:,} more.</p>" if len(listed) > SHOWN else ""
    table = (
        "<div class='wide' tabindex='0' role='region' aria-label='Comparisons that other inputs may turn'>"
        "<table class='records steady'><caption>Comparisons that flip in some split or are not settled; dB above zero "
        f"for quantisation, below for pruning.</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"</div>{more}"
        if listed
        else "<p>No comparison flips, and every interval is on one side of zero.</p>"
    )
    refused = f" Refused in some part: {len(stability.refused):,}." if stability.refused else ""
    return (
        "<section class='calibration'><h2>Would other inputs agree?</h2>"
        f"<p>Each of {len(spreads):,} comparisons was solved anew in {stability.splits} disjoint parts of {inputs:,} "
        f"independent calibration inputs{enough}. <b>{len(flips):,}</b> have another verdict in some part, "
        f"<b>{len(unsettled):,}</b> have an interval that includes zero.{refused} All verdicts here are at the scale of"
        " the run, and proven for the inputs that they rest on; intervals "
        f"({100 * stability.level:g} %, from {stability.resamples:,} resamples of inputs), chances and numbers of "
        "inputs are estimates for inputs of the same kind. Open a layer above to see all of "
        f"it.</p>{table}</section>"
    )


def _row(spread: Spread, resamples: int) -> str:
    letters = [LETTER[verdict] for verdict in spread.split_verdicts]
    splits = " · ".join(
        f"<b>{letter}</b> {_db(value)}" if i in spread.flips else f"{letter} {_db(value)}"
        for i, (letter, value) in enumerate(zip(letters, spread.split_db, strict=True))
    )
    needed = "more cannot tell" if spread.inputs_needed is None else f"about {spread.inputs_needed:,}"
    return (
        f"<tr><th scope='row'>{breakable(spread.layer)}</th><td>{spread.chunk}</td><td>{spread.bits}</td>"
        f"<td>{LETTER[spread.verdict]} {_db(spread.advantage_db)}</td><td>{splits}</td>"
        f"<td>{_db(spread.low_db)} … {_db(spread.high_db)}</td><td>{_chance(spread, resamples)}</td>"
        f"<td>{needed}</td></tr>"
    )


def _chance(spread: Spread, resamples: int) -> str:
    if spread.flip_probability is None:
        return "–"
    return f"{spread.flip_probability:.1%}" if spread.flip_probability > 0 else f"&lt; {1 / resamples:.2g}"


def _db(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−").replace("inf", "∞")


def payload(
    stability: Stability | None, columns: Sequence[int | str]
) -> tuple[dict[str, object] | None, dict[str, object]]:
    """For steady.js: what all spreads share, and the spreads of each layer, one entry for each column of the page."""
    if stability is None:
        return None, {}
    shared: dict[str, object] = {
        "splits": stability.splits,
        "level": stability.level,
        "resamples": stability.resamples,
        "inputs": max((spread.inputs for spread in stability.spreads), default=0),
    }
    places: dict[str, dict[int | str, list[Spread]]] = defaultdict(lambda: defaultdict(list))
    for spread in stability.spreads:
        places[spread.layer][spread.bits].append(spread)
    return shared, {
        layer: [_cell(by_bits[key]) if key in by_bits else None for key in columns] for layer, by_bits in places.items()
    }


def _cell(spreads: list[Spread]) -> dict[str, object]:
    return {
        "chunk": [s.chunk for s in spreads],
        "verdict": "".join(LETTER[s.verdict] for s in spreads),
        "all": [_milli(s.advantage_db) for s in spreads],
        "low": [_milli(s.low_db) for s in spreads],
        "high": [_milli(s.high_db) for s in spreads],
        "splits": [[_milli(v) for v in s.split_db] for s in spreads],
        "letters": ["".join(LETTER[v] for v in s.split_verdicts) for s in spreads],
        "heldOut": [[_milli(v) for v in s.held_out_db] for s in spreads],
        "chance": [s.flip_probability for s in spreads],
        "needs": [s.inputs_needed for s in spreads],
    }


def _milli(value: float | None) -> int | str | None:
    """Thousandths to the nearest: estimates are not rounded to a safe side."""
    if value is None or math.isnan(value):
        return None
    return ("∞" if value > 0 else "−∞") if math.isinf(value) else round(1000 * value)
