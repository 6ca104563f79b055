"""The records of a run, layer by layer, as a reader wants them."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from ..contestants import Method
from ..results.report import SPELT, Duel, LayerFacts, Record, Report

#: Where the name of a layer may break: after a dot, and after an underscore between words.
BREAKS = re.compile(r"(?<=\.)(?=.)|(?<=[^._]_)(?=[^_])")
EQUAL_STORAGE = (Method.QUANTIZATION.value, Method.PRUNING.value)


@dataclass(frozen=True)
class Column:
    """Two contestants that are compared on every layer: one column of the heat map."""

    bits: int | None
    first: str
    second: str

    @property
    def key(self) -> int | str:
        """The bit-width where quantisation meets pruning, else the label."""
        return self.bits if self.bits is not None and (self.first, self.second) == EQUAL_STORAGE else self.label

    @property
    def label(self) -> str:
        names = " · ".join(self.names)
        if self.bits is None:
            return names
        return f"{self.bits} bits" if (self.first, self.second) == EQUAL_STORAGE else f"{self.bits} bits: {names}"

    @property
    def names(self) -> tuple[str, str]:
        """As prose spells them."""
        return SPELT.get(self.first, self.first), SPELT.get(self.second, self.second)


@dataclass(frozen=True)
class LayerPage:
    """One layer: its duels by column, chunks in order.

    `whole`: every record takes all columns, so that verdicts speak of the layer; known only with the layer's facts.
    """

    name: str
    facts: LayerFacts | None
    duels: dict[Column, list[Duel]]
    whole: bool

    @property
    def records(self) -> list[Record]:
        """Each once."""
        sides = [side for duels in self.duels.values() for duel in duels for side in (duel.first, duel.second)]
        return list({(side.chunk, side.bits, side.method): side for side in sides}.values())

    @property
    def chunks(self) -> int:
        return len({record.chunk for record in self.records})


def layer_pages(report: Report) -> list[LayerPage]:
    """Every layer with a record, in the order of the run.

    Raises
    ------
    QuanterrError
        A record at equal storage lacks its other side.
    """
    for _ in report.judged():
        pass  # refuses what lacks a side
    duels: dict[str, dict[Column, list[Duel]]] = {}
    for duel in report.pairs():
        column = Column(duel.first.bits, duel.first.method, duel.second.method)
        duels.setdefault(duel.first.layer, {}).setdefault(column, []).append(duel)
    facts = {known.layer: known for known in report.layers}
    return [_page(name, facts.get(name), by_column) for name, by_column in duels.items()]


def columns_of(layers: list[LayerPage]) -> list[Column]:
    """All columns: quantisation against pruning by bit-width, then the others."""
    found = dict.fromkeys(column for layer in layers for column in layer.duels)
    return sorted(found, key=lambda c: ((c.first, c.second) != EQUAL_STORAGE, c.bits or 0))


def _page(name: str, facts: LayerFacts | None, by_column: dict[Column, list[Duel]]) -> LayerPage:
    ordered = {column: sorted(duels, key=lambda duel: duel.first.chunk) for column, duels in by_column.items()}
    columns = {duel.second.columns for duels in ordered.values() for duel in duels}
    return LayerPage(name, facts, ordered, facts is not None and columns == {facts.columns})


def breakable(name: str) -> str:
    """HTML: the name of a layer that breaks after dots and between words, not in one; copied, it is the name."""
    return f"<span>{BREAKS.sub('<wbr>', html.escape(name))}</span>"
