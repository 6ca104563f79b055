"""What a run found: records, decibels and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .contestants import Method
from .errors import QuanterrError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Outcome(StrEnum):
    """Which contestant is better whatever the algorithm, if the bounds tell."""

    QUANTIZATION = "quantization"
    PRUNING = "pruning"
    UNDECIDED = "undecided"


def decibels(energy: float, error: float) -> float:
    """Signal-to-noise ratio 10 log₁₀(energy / error) in dB; ∞ for error 0, NaN when there is no signal either."""
    if error == 0:
        return math.nan if energy == 0 else math.inf
    return -math.inf if energy == 0 else 10 * math.log10(energy / error)


@dataclass(frozen=True)
class Record:
    """One method on one chunk at one bit-width, all rows.

    `energy`, `error_*` are sums over the rows of squared output units per sample, `error_lower ≤ optimum ≤
    error_upper` proven; `error_start` is the error of the heuristic the search began with. `evidence` is `dual`
    (a `(D, y)` anyone can recheck), `search` (needs a rerun), `none` (the lower bound is zero, since no error is
    negative) or several, row by row. `seconds`: processor time.
    """

    layer: str
    chunk: int
    bits: int
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

    @property
    def snr_db(self) -> float:
        """Achieved: some weights in the set have at least this SNR."""
        return decibels(self.energy, self.error_upper)

    @property
    def snr_limit_db(self) -> float:
        """No algorithm can exceed this SNR."""
        return decibels(self.energy, self.error_lower)


@dataclass(frozen=True)
class Verdict:
    """The comparison of two records; `margin_db` is proven when decided, else how far the bounds overlap (≤ 0)."""

    layer: str
    chunk: int
    bits: int
    outcome: Outcome
    margin_db: float


def judge(quantization: Record, pruning: Record) -> Verdict:
    """Better means: an achieved SNR above the other's limit."""
    q_over_p = quantization.snr_db - pruning.snr_limit_db
    p_over_q = pruning.snr_db - quantization.snr_limit_db
    if quantization.error_upper < pruning.error_lower:
        outcome, margin = Outcome.QUANTIZATION, q_over_p
    elif pruning.error_upper < quantization.error_lower:
        outcome, margin = Outcome.PRUNING, p_over_q
    else:
        outcome, margin = Outcome.UNDECIDED, 0.0 if math.isnan(q_over_p) else max(q_over_p, p_over_q)
    return Verdict(quantization.layer, quantization.chunk, quantization.bits, outcome, margin)


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
class Report:
    """All records of a run, in the order of the layers; `refused` says which chunks have none, and why.

    `layers`: what is known of the layers; empty for runs that were stored before it was kept.
    """

    records: tuple[Record, ...]
    title: str = ""
    refused: tuple[str, ...] = ()
    layers: tuple[LayerFacts, ...] = ()

    @classmethod
    def from_dicts(cls, dicts: list[dict[str, Any]], title: str = "", facts: dict[str, Any] | None = None) -> Self:
        """The report that `to_dicts` and `facts` wrote."""
        known = facts or {}
        layers = tuple(LayerFacts(**(layer | {"notes": tuple(layer["notes"])})) for layer in known.get("layers", ()))
        return cls(tuple(Record(**d) for d in dicts), title, tuple(known.get("refused", ())), layers)

    def to_dicts(self) -> list[dict[str, object]]:
        return [asdict(record) for record in self.records]

    def facts(self) -> dict[str, object]:
        """What the records don't say, ready for JSON: the facts of each layer, and what was refused."""
        return {"layers": [asdict(layer) for layer in self.layers], "refused": list(self.refused)}

    def to_frame(self) -> pd.DataFrame:
        """One row per (layer, chunk, bits, method): the fields of `Record`, and `snr_db`, `snr_limit_db`."""
        import pandas as pd

        frame = pd.DataFrame([asdict(r) | {"snr_db": r.snr_db, "snr_limit_db": r.snr_limit_db} for r in self.records])
        first = ["layer", "chunk", "bits", "method", "rows", "columns", "energy", "error_upper", "error_lower"]
        first += ["snr_db", "snr_limit_db", "status", "seconds"]
        return frame[first + [c for c in frame.columns if c not in first]]

    def judged(self) -> Iterator[Verdict]:
        """A verdict for every (layer, chunk, bits) that has both methods.

        Raises
        ------
        QuanterrError
            If one of them is missing.
        """
        sides: dict[tuple[str, int, int], dict[str, Record]] = {}
        for record in self.records:
            sides.setdefault((record.layer, record.chunk, record.bits), {})[record.method] = record
        for (layer, chunk, bits), pair in sides.items():
            try:
                yield judge(pair[Method.QUANTIZATION], pair[Method.PRUNING])
            except KeyError as missing:
                raise QuanterrError(f"layer {layer}, chunk {chunk}, {bits} bits: no record of {missing}") from None

    def verdicts(self) -> pd.DataFrame:
        """`layer, chunk, bits, verdict, margin_db`: verdict in {quantization, pruning, undecided}."""
        import pandas as pd

        return pd.DataFrame(
            [(v.layer, v.chunk, v.bits, v.outcome.value, v.margin_db) for v in self.judged()],
            columns=["layer", "chunk", "bits", "verdict", "margin_db"],
        )

    def plot(self) -> Figure:
        """One panel a bit-width: quantisation against pruning SNR (the paper's figure 4)."""
        from .plots import figure_4

        return figure_4(self)

    def save_figure(self, stem: str | Path) -> list[Path]:
        """Write `plot()` as `stem.pdf`, `stem.svg` and `stem.png`.

        Raises
        ------
        QuanterrError
            The folder cannot be written.
        """
        from .plots import save

        return save(self.plot(), stem)

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page: a heat map to sort and filter, and every proof on demand.

        The same report gives the same bytes.

        Raises
        ------
        QuanterrError
            The file cannot be written, a record lacks its other side, or there is no record.
        """
        from .report_page import page

        content = page(self)
        try:
            Path(path).write_bytes(content)
        except OSError as error:
            raise QuanterrError(f"cannot write {path}: {error.strerror}; choose another place") from error
        return Path(path)

    def _repr_html_(self) -> str:
        """Notebooks show the heat map of verdicts."""
        from .report_page import fragment

        return fragment(self)
