"""The records of a run, layer by layer, as a reader wants them."""

from __future__ import annotations

from dataclasses import dataclass

from ..contestants import Method
from ..report import LayerFacts, Record, Report, Verdict


@dataclass(frozen=True)
class Pair:
    """Both sides of one chunk at one bit-width, and their verdict."""

    quantization: Record
    pruning: Record
    verdict: Verdict


@dataclass(frozen=True)
class LayerPage:
    """One layer: its pairs by bit-width, chunks in order.

    `whole`: every record takes all columns, so that verdicts speak of the layer; known only with the layer's facts.
    """

    name: str
    facts: LayerFacts | None
    pairs: dict[int, list[Pair]]
    whole: bool

    @property
    def records(self) -> list[Record]:
        return [side for pairs in self.pairs.values() for pair in pairs for side in (pair.quantization, pair.pruning)]

    @property
    def chunks(self) -> int:
        return len({record.chunk for record in self.records})


def layer_pages(report: Report) -> list[LayerPage]:
    """Every layer with a record, in the order of the run.

    Raises
    ------
    QuanterrError
        A record lacks its other side.
    """
    sides = {(r.layer, r.chunk, r.bits, r.method): r for r in report.records}
    pairs: dict[str, dict[int, list[Pair]]] = {}
    for verdict in report.judged():
        place = (verdict.layer, verdict.chunk, verdict.bits)
        pair = Pair(sides[*place, Method.QUANTIZATION.value], sides[*place, Method.PRUNING.value], verdict)
        pairs.setdefault(verdict.layer, {}).setdefault(verdict.bits, []).append(pair)
    facts = {known.layer: known for known in report.layers}
    return [_page(name, facts.get(name), by_bits) for name, by_bits in pairs.items()]


def _page(name: str, facts: LayerFacts | None, by_bits: dict[int, list[Pair]]) -> LayerPage:
    ordered = {bits: sorted(pairs, key=lambda pair: pair.verdict.chunk) for bits, pairs in sorted(by_bits.items())}
    columns = {pair.pruning.columns for pairs in ordered.values() for pair in pairs}
    return LayerPage(name, facts, ordered, facts is not None and columns == {facts.columns})
