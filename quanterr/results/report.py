"""What a run found: records, decibels and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..contestants import LAYER, Method
from ..errors import QuanterrError
from .drawn import Drawn
from .spread import Stability

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Outcome(StrEnum):
    """Which contestant is better whatever the algorithm, if the bounds tell."""

    QUANTIZATION = "quantization"
    PRUNING = "pruning"
    UNDECIDED = "undecided"


#: How prose spells a method.
SPELT = {Outcome.QUANTIZATION.value: "quantisation", Method.PRUNING + LAYER: "layer-wide pruning"}


def decibels(energy: float, error: float) -> float:
    """Signal-to-noise ratio 10 log₁₀(energy / error) in dB; ∞ for error 0, NaN when there is no signal either."""
    if error == 0:
        return math.nan if energy == 0 else math.inf
    return -math.inf if energy == 0 else 10 * math.log10(energy / error)


@dataclass(frozen=True)
class Record:
    """One contestant on one chunk, all rows.

    `bits` is the bit-width at which methods are compared, None for contestants that were named; `method` says which
    contestant it is among those with the same `bits`: `quantization`, `pruning`, …, or its name.
    `energy`, `error_*` are sums over the rows of squared output units per sample, `error_lower ≤ optimum ≤
    error_upper` proven; `error_start` is the error of the heuristic the search began with. `evidence` is `dual`
    (a `(D, y)` anyone can recheck), `search` (needs a rerun), `none` (the lower bound is zero, since no error is
    negative) or several, row by row. `seconds`: processor time.
    `contestant` is the name of what is stored (`quanterr.contestants.named`), in `storage` bits a weight and
    `mask_bits` more for what says which weights are kept; empty and None in runs stored before they were kept.
    `error_lower` holds for the scale of the run; `error_lower_any_scale` for every positive scale, one for all rows. It
    is 0 where nobody asked, and None where codes have no scale to choose (or only the one at hand is meant).
    """

    layer: str
    chunk: int
    bits: int | None
    method: str
    rows: int
    columns: int
    energy: float
    error_upper: float
    error_lower: float
    error_start: float
    status: str
    open_rows: int
    evidence: str
    seconds: float
    contestant: str = ""
    storage: float | None = None
    mask_bits: float | None = None
    error_lower_any_scale: float | None = None

    @property
    def snr_db(self) -> float:
        """Achieved: some weights in the set have at least this SNR."""
        return decibels(self.energy, self.error_upper)

    @property
    def snr_limit_db(self) -> float:
        """No algorithm can exceed this SNR, at the scale of the run."""
        return decibels(self.energy, self.error_lower)

    @property
    def unbeatable_error(self) -> float:
        """No algorithm and no scale gets below this error: to be better than all of them, a rival must."""
        return self.error_lower if self.error_lower_any_scale is None else self.error_lower_any_scale


@dataclass(frozen=True)
class Verdict:
    """The comparison of two records; `margin_db` is proven when decided, else how far the bounds overlap (≤ 0).

    `at_scale` is who is better at the scale of the run where that does not hold for every scale.
    """

    layer: str
    chunk: int
    bits: int
    outcome: Outcome
    margin_db: float
    at_scale: Outcome | None = None


@dataclass(frozen=True)
class Duel:
    """The comparison of two contestants: `better` is a method, or empty where the bounds overlap.

    `margin_db` is proven when decided, else how far the bounds overlap (≤ 0). `at_scale` is the method that is better
    at the scales of the run, while another scale of the other one might not lose.
    """

    first: Record
    second: Record
    better: str
    margin_db: float
    at_scale: str = ""

    @property
    def loser_at_scale(self) -> Record:
        """The side of which every scale has to lose before the other one is better."""
        return self.second if (self.better or self.at_scale) == self.first.method else self.first


def duel(first: Record, second: Record) -> Duel:
    """Better means: an achieved SNR above the other's limit, at every scale that the other may choose."""
    first_over = first.snr_db - second.snr_limit_db
    second_over = second.snr_db - first.snr_limit_db
    for one, other, back in ((first, second, second_over), (second, first, first_over)):
        if one.error_upper < other.error_lower:
            over = one.snr_db - decibels(other.energy, other.unbeatable_error)
            if one.error_upper < other.unbeatable_error:
                return Duel(first, second, one.method, over)
            return Duel(first, second, "", max(over, back), one.method)
    return Duel(first, second, "", 0.0 if math.isnan(first_over) else max(first_over, second_over))


def judge(quantization: Record, pruning: Record) -> Verdict:
    """The duel of the two methods at equal storage."""
    found = duel(quantization, pruning)
    names = {quantization.method: Outcome.QUANTIZATION, pruning.method: Outcome.PRUNING}
    outcome, here = names.get(found.better, Outcome.UNDECIDED), names.get(found.at_scale)
    return Verdict(quantization.layer, quantization.chunk, quantization.bits or 0, outcome, found.margin_db, here)


@dataclass(frozen=True)
class LayerFacts:
    """What a reader of a layer's records should know of the layer; records of all `columns` are claims about it.

    `columns` of one row (of one group's Gram); `samples`, `damping`, `notes` as in `Layer`; `kurtosis` of all its
    weights, 3 for a Gaussian, None where they are all equal.
    """

    layer: str
    rows: int
    columns: int
    groups: int
    samples: int
    damping: float
    kurtosis: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report(Drawn):
    """All records of a run, in the order of the layers; `refused` says which chunks have none, and why.

    `layers`: what is known of the layers; empty for runs that were stored before it was kept. `stability`: what
    `quanterr.stability` found about these comparisons, where it was asked.
    """

    records: tuple[Record, ...]
    title: str = ""
    refused: tuple[str, ...] = ()
    layers: tuple[LayerFacts, ...] = ()
    stability: Stability | None = None

    @classmethod
    def from_dicts(cls, dicts: list[dict[str, Any]], title: str = "", facts: dict[str, Any] | None = None) -> Self:
        """The report that `to_dicts` and `facts` wrote."""
        known = facts or {}
        layers = tuple(LayerFacts(**(layer | {"notes": tuple(layer["notes"])})) for layer in known.get("layers", ()))
        # runs from before it was kept claim nothing about other scales
        unasked = [d if "error_lower_any_scale" in d else d | _no_other_scale(d) for d in dicts]
        stability = Stability.from_dict(known["stability"]) if "stability" in known else None
        return cls(tuple(Record(**d) for d in unasked), title, tuple(known.get("refused", ())), layers, stability)

    def to_dicts(self) -> list[dict[str, object]]:
        return [asdict(record) for record in self.records]

    def facts(self) -> dict[str, object]:
        """What the records don't say, ready for JSON: facts of each layer, what was refused, stability if known."""
        facts: dict[str, object] = {"layers": [asdict(layer) for layer in self.layers], "refused": list(self.refused)}
        return facts if self.stability is None else facts | {"stability": self.stability.to_dict()}

    @property
    def widths(self) -> list[int]:
        """Bit-widths at which methods are compared, ascending; none for contestants that were named."""
        return sorted({record.bits for record in self.records if record.bits is not None})

    def to_frame(self) -> pd.DataFrame:
        """One row per (layer, chunk, bits, method): the fields of `Record`, and `snr_db`, `snr_limit_db`.

        `bits` is undefined where contestants were named.
        """
        import pandas as pd

        names = [*(field.name for field in fields(Record)), "snr_db", "snr_limit_db"]
        rows = [asdict(r) | {"snr_db": r.snr_db, "snr_limit_db": r.snr_limit_db} for r in self.records]
        frame = pd.DataFrame(rows, columns=names)
        first = ["layer", "chunk", "bits", "method", "rows", "columns", "energy", "error_upper", "error_lower"]
        first += ["snr_db", "snr_limit_db", "status", "seconds"]
        return frame[first + [c for c in frame.columns if c not in first]]

    def judged(self, pruning: str = Method.PRUNING) -> Iterator[Verdict]:
        """A verdict for every (layer, chunk, bits); contestants that were named have duels only.

        `pruning` is the method that quantisation is judged against: `pruning_layer` has one budget for all rows. Chunks
        whose budget of the layer was refused are left out then.

        Raises
        ------
        QuanterrError
            Quantisation or pruning is missing.
        """
        known = list(dict.fromkeys(record.method for record in self.records))
        if pruning != Method.PRUNING and pruning not in known:
            raise QuanterrError(f"no record of {pruning!r}: there are {', '.join(known)}")
        sides: dict[tuple[str, int, int], dict[str, Record]] = {}
        for record in self.records:
            if record.bits is not None:
                sides.setdefault((record.layer, record.chunk, record.bits), {})[record.method] = record
        for (layer, chunk, bits), pair in sides.items():
            if pruning != Method.PRUNING and pruning not in pair:
                continue  # refused: dependent inputs have no budget of the layer
            try:
                yield judge(pair[Method.QUANTIZATION], pair[pruning])
            except KeyError as missing:
                raise QuanterrError(f"layer {layer}, chunk {chunk}, {bits} bits: no record of {missing}") from None

    def pairs(self) -> Iterator[Duel]:
        """Every two contestants that are compared: those of one chunk with the same `bits`."""
        rivals: dict[tuple[str, int, int | None], list[Record]] = {}
        for record in self.records:
            rivals.setdefault((record.layer, record.chunk, record.bits), []).append(record)
        for group in rivals.values():
            for first, second in combinations(group, 2):
                yield duel(first, second)

    def duels(self) -> pd.DataFrame:
        """`layer, chunk, bits, first, second, better, margin_db, at_scale`, name, storage and mask bits of both.

        `better` is `first`'s method, `second`'s or `undecided`; `at_scale` is who is better at the scale of the run
        only; `bits` is undefined for named contestants.
        """
        import pandas as pd

        columns = ["layer", "chunk", "bits", "first", "second", "better", "margin_db", "at_scale"]
        sides = ["contestant", "storage", "mask_bits"]
        rows = [
            (d.first.layer, d.first.chunk, d.first.bits, d.first.method, d.second.method, d.better or "undecided",
             d.margin_db, d.at_scale, *(getattr(side, name) for name in sides for side in (d.first, d.second)))
            for d in self.pairs()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=[*columns, *(f"{n}_{side}" for n in sides for side in ("first", "second"))])

    def verdicts(self, pruning: str = Method.PRUNING) -> pd.DataFrame:
        """`layer, chunk, bits, verdict, margin_db`: verdict in {quantization, pruning, undecided}; see `judged`."""
        import pandas as pd

        return pd.DataFrame(
            [(v.layer, v.chunk, v.bits, v.outcome.value, v.margin_db) for v in self.judged(pruning)],
            columns=["layer", "chunk", "bits", "verdict", "margin_db"],
        )

    def plot(self) -> Figure:
        """One panel a bit-width: quantisation against pruning SNR (the paper's figure 4)."""
        from ..plots.certified import figure_4

        return figure_4(self)

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page: a heat map to sort and filter, and every proof on demand.

        The same report gives the same bytes.

        Raises
        ------
        QuanterrError
            The file cannot be written, a record lacks its other side, or there is no record.
        """
        from ..report_page import page

        content = page(self)
        try:
            Path(path).write_bytes(content)
        except OSError as error:
            raise QuanterrError(f"cannot write {path}: {error.strerror}; choose another place") from error
        return Path(path)

    def _repr_html_(self) -> str:
        """Notebooks show the heat map of verdicts."""
        from ..report_page import fragment

        return fragment(self)


def _no_other_scale(record: dict[str, Any]) -> dict[str, Any]:
    return {"error_lower_any_scale": 0.0 if record.get("method") == Method.QUANTIZATION else None}
