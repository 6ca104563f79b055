"""Would other calibration inputs agree? What `stability` finds, comparison by comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from .drawn import Drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

REFUSED = "refused"


@dataclass(frozen=True)
class Spread:
    """One comparison (layer, chunk, bits) on all inputs, on disjoint parts of them, and on inputs that nobody has seen.

    Decibels count for quantisation above zero and for pruning below. Verdicts are proven, each for its own Gram matrix;
    what they say about other inputs is an estimate.

    Attributes
    ----------
    verdict, advantage_db : on all inputs; `advantage_db` of the weights found, None where both errors are zero
    low_db, high_db : the interval of the advantage on other inputs, None as above
        It includes what the bounds leave open where a side is not solved to the end, and the value corrected by
        `bias_db`.
    bias_db : float or None
        How much of the advantage so few inputs feign: weights are fitted to them, codes more closely than masks or the
        other way round. From the splits, which have fewer inputs still; None, and the interval not corrected, where one
        of them was refused.
    flip_probability : float or None
        Chance that as many other inputs would not give this verdict; None where there is none.
    inputs : int
        Independent inputs; crops of one photograph count as one.
    inputs_needed : int or None
        So many inputs of this kind would be enough for an interval without zero; None where no number is (undecided).
    split_verdicts, split_db : solved anew in each split: verdict (or `refused`) and advantage
    held_out_db : for each split, the advantage of the weights found there on all inputs outside it
        Neither side can profit from having seen them. The optimum of a split flatters, its weights elsewhere do not.
    quantization_transfer_db, pruning_transfer_db : float or None
        What weights found in one split lose in another, in dB against the best weights there: mean over all pairs.
    """

    layer: str
    chunk: int
    bits: int
    verdict: str
    advantage_db: float | None
    low_db: float | None
    high_db: float | None
    bias_db: float | None
    flip_probability: float | None
    inputs: int
    inputs_needed: int | None
    split_verdicts: tuple[str, ...]
    split_db: tuple[float | None, ...]
    held_out_db: tuple[float | None, ...]
    quantization_transfer_db: float | None
    pruning_transfer_db: float | None

    @property
    def settled(self) -> bool:
        """The interval excludes zero."""
        return self.low_db is not None and self.high_db is not None and (self.low_db > 0 or self.high_db < 0)

    @property
    def flips(self) -> tuple[int, ...]:
        """Splits, counted from 0, that have a verdict of their own and not that of all inputs."""
        odd = {"quantization", "pruning"} - {self.verdict}
        return tuple(i for i, verdict in enumerate(self.split_verdicts) if verdict in odd and len(odd) == 1)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Stability(Drawn):
    """All spreads of a run. `parts` of the inputs were resampled; `refused` says which problems have no solution."""

    spreads: tuple[Spread, ...]
    splits: int
    parts: int
    resamples: int
    level: float
    seed: int
    title: str = ""
    refused: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        spreads = tuple(Spread(**{name: _frozen(value) for name, value in one.items()}) for one in given["spreads"])
        return cls(**{**given, "spreads": spreads, "refused": tuple(given["refused"])})

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return asdict(self)

    @property
    def flips(self) -> tuple[Spread, ...]:
        """Comparisons for which some split has another verdict than all inputs."""
        return tuple(spread for spread in self.spreads if spread.flips)

    @property
    def unsettled(self) -> tuple[Spread, ...]:
        """Comparisons whose interval includes zero."""
        return tuple(spread for spread in self.spreads if not spread.settled)

    def to_frame(self) -> pd.DataFrame:
        """One row a comparison: the fields of `Spread` but those of splits, `settled`, `flips` (how many), and
        `split_0_db`, `held_out_0_db`, … for each split."""
        import pandas as pd

        lines = []
        for spread in self.spreads:
            line: dict[str, object] = {k: v for k, v in asdict(spread).items() if not isinstance(v, tuple)}
            line |= {"settled": spread.settled, "flips": len(spread.flips)}
            for name, values in (("split", spread.split_db), ("held_out", spread.held_out_db)):
                line |= {f"{name}_{i}_db": value for i, value in enumerate(values)}
            lines.append(line)
        return pd.DataFrame(lines)

    def plot(self) -> Figure:
        """Splits, interval and held-out margin of every comparison, one panel a bit-width."""
        from ..plots.stability import draw

        return draw(self)

    def _repr_html_(self) -> str:
        """Notebooks show the table."""
        return str(self.to_frame().to_html(index=False, float_format="{:.2f}".format))
