"""Every weight tensor of a network, measured one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contestants import codes_range
from ..errors import InputError
from .measuring import Measured, measure
from .tensors import Tensor, open_tensors

if TYPE_CHECKING:
    import pandas as pd

BITS = (2, 3, 4, 5, 6, 7, 8)
"""Bit-widths of the paper."""


@dataclass(frozen=True)
class WeightRecord:
    """One weight tensor at one bit-width.

    Attributes
    ----------
    tensor, shape, weights, dtype : its name, shape as `64x3x7x7`, number of weights and stored type
    sparsity : fraction of weights that are zero already
    kurtosis : 3 for a Gaussian; of the whole tensor
    fit, fit_shape, fit_parameters : the family with the least Bayesian information criterion (`none` if all weights are
        equal), its shape or degrees of freedom (NaN for a family without), and all parameters as text
    bits : of the two's complement grid; pruning keeps `bits / 16` of the weights
    quant_snr_db, quant_snr_channel_db, quant_snr_group_db : quantisation with one best scale a tensor, an output
        channel, a group; the scales' own storage is not counted (16 bits each: 0.125 bits a weight in groups of 128)
    prune_snr_db, prune_snr_mask_cost_db : magnitude pruning at the same storage, the mask free or at 1 bit a weight
    quant_scale : the best scale of the tensor, weight units a code step
    quant_zero_fraction : of the tensor quantised with it
    predicted_quant_snr_db, predicted_prune_snr_db, predicted_zero_fraction : closed form, from the fit truncated to the
        range of the weights
    better : `quantization` or `pruning`, by `quant_snr_db` and `prune_snr_db`; `neither` if they are equal
    note : what to know about this tensor, or empty
    """

    tensor: str
    shape: str
    weights: int
    dtype: str
    sparsity: float
    kurtosis: float
    fit: str
    fit_shape: float
    fit_parameters: str
    bits: int
    quant_snr_db: float
    quant_snr_channel_db: float
    quant_snr_group_db: float
    prune_snr_db: float
    prune_snr_mask_cost_db: float
    quant_scale: float
    quant_zero_fraction: float
    predicted_quant_snr_db: float
    predicted_prune_snr_db: float
    predicted_zero_fraction: float
    better: str
    note: str


@dataclass(frozen=True)
class Selection:
    """Which tensors count as weights: floats with two or more dimensions, further narrowed.

    Parameters
    ----------
    include, exclude : glob patterns of names such as `*.conv*.weight`; no `include` takes all
    min_size : least number of weights
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 1

    def takes(self, tensor: Tensor) -> bool:
        if not tensor.is_weight or tensor.size < self.min_size:
            return False
        wanted = not self.include or any(fnmatchcase(tensor.name, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(tensor.name, glob) for glob in self.exclude)


@dataclass(frozen=True)
class ScanProgress:
    """Weights and tensors done so far and in all; `tensor` is the one just done."""

    tensor: str
    tensors_done: int
    tensors_total: int
    weights_done: int
    weights_total: int


def scan(
    source: Any,
    bits: Iterable[int] = BITS,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    min_size: int = 1,
    group: int = 128,
    progress: Callable[[ScanProgress], None] | None = None,
) -> Iterator[WeightRecord]:
    """Measure every weight tensor of a network, one at a time.

    Weights are the floating point tensors with two or more dimensions. Their first axis is the output channel. Memory
    stays within a few copies of the largest of them for safetensors and ONNX files with external data.

    Parameters
    ----------
    source : see `open_tensors`: a safetensors file or index, an ONNX file, a torch checkpoint,
        `package.module:factory`, a mapping of names to arrays or tensors, or a torch module
    bits, group : see `measure`
    include, exclude, min_size : see `Selection`

    Yields
    ------
    WeightRecord
        For each tensor, in the order of the source, one record a bit-width.

    Raises
    ------
    InputError
        What `open_tensors` and `measure` refuse, a source without weight tensors (or without any that is not all zero),
        or a tensor with NaN or infinity.
    """
    widths = tuple(dict.fromkeys(bits))
    for width in widths:
        codes_range(width)
    selection = Selection(_globs("include", include), _globs("exclude", exclude), min_size)
    return _scan(source, widths, selection, group, progress)


def scan_frame(source: Any, bits: Iterable[int] = BITS, **options: Any) -> pd.DataFrame:
    """The records of `scan(source, bits, …)` as a table, one row a tensor and bit-width."""
    return to_frame(scan(source, bits, **options))


def to_frame(records: Iterable[WeightRecord]) -> pd.DataFrame:
    """Records as a table with the columns of `WeightRecord`."""
    import pandas as pd

    return pd.DataFrame([asdict(record) for record in records], columns=list(WeightRecord.__dataclass_fields__))


def _globs(name: str, globs: Iterable[str]) -> tuple[str, ...]:
    if isinstance(globs, str):
        raise InputError(f"{name} = {globs!r}: give a list of patterns, [{globs!r}]")
    return tuple(globs)


def _scan(
    source: Any,
    bits: tuple[int, ...],
    selection: Selection,
    group: int,
    progress: Callable[[ScanProgress], None] | None,
) -> Iterator[WeightRecord]:
    found = list(open_tensors(source))
    chosen = [tensor for tensor in found if selection.takes(tensor)]
    if not chosen:
        usable = sum(tensor.is_weight for tensor in found)
        raise InputError(
            f"no weight tensor was chosen: of {len(found)} tensors {usable} are floats with two or more dimensions; "
            + ("loosen --include, --exclude or --min-size" if usable else "there is nothing to scan")
        )
    total = sum(tensor.size for tensor in chosen)
    done = nonzero = 0
    for number, tensor in enumerate(chosen, 1):
        records = _records(tensor, bits, group)
        nonzero += records[0].sparsity < 1.0
        yield from records
        done += tensor.size
        if progress is not None:
            progress(ScanProgress(tensor.name, number, len(chosen), done, total))
    if not nonzero:
        raise InputError(f"all {len(chosen)} weight tensors are zero: the network is not initialised; load its weights")


def _records(tensor: Tensor, bits: tuple[int, ...], group: int) -> list[WeightRecord]:
    values = tensor.read()
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = "NaN" if np.isnan(low) or np.isnan(high) else "infinity"
        raise InputError(
            f"{tensor.name!r} holds {bad}: repair the checkpoint, or leave the tensor out (--exclude {tensor.name!r})"
        )
    measured = measure(values, bits, group=group) if low < 0.0 or high > 0.0 else None
    return [_record(tensor, measured, i, width) for i, width in enumerate(bits)]


def _record(tensor: Tensor, m: Measured | None, i: int, bits: int) -> WeightRecord:
    shape = "x".join(map(str, tensor.shape))
    if m is None:
        nan = float("nan")
        return WeightRecord(
            tensor=tensor.name, shape=shape, weights=tensor.size, dtype=tensor.dtype, sparsity=1.0, kurtosis=nan,
            fit="none", fit_shape=nan, fit_parameters="", bits=bits, quant_snr_db=nan, quant_snr_channel_db=nan,
            quant_snr_group_db=nan, prune_snr_db=nan, prune_snr_mask_cost_db=nan, quant_scale=nan,
            quant_zero_fraction=1.0, predicted_quant_snr_db=nan, predicted_prune_snr_db=nan,
            predicted_zero_fraction=nan, better="neither", note="every weight is zero: no SNR",
        )  # fmt: skip
    quant, prune = float(m.quant_snr_db[i]), float(m.prune_snr_db[i])
    return WeightRecord(
        tensor=tensor.name,
        shape=shape,
        weights=tensor.size,
        dtype=tensor.dtype,
        sparsity=m.sparsity,
        kurtosis=m.kurtosis,
        fit=m.fit.family if m.fit is not None else "none",
        fit_shape=m.fit.shape if m.fit is not None else float("nan"),
        fit_parameters=repr(m.fit.distribution) if m.fit is not None else "",
        bits=bits,
        quant_snr_db=quant,
        quant_snr_channel_db=float(m.quant_snr_channel_db[i]),
        quant_snr_group_db=float(m.quant_snr_group_db[i]),
        prune_snr_db=prune,
        prune_snr_mask_cost_db=float(m.prune_snr_mask_cost_db[i]),
        quant_scale=float(m.quant_scale[i]),
        quant_zero_fraction=float(m.quant_zero_fraction[i]),
        predicted_quant_snr_db=float(m.predicted_quant_snr_db[i]),
        predicted_prune_snr_db=float(m.predicted_prune_snr_db[i]),
        predicted_zero_fraction=float(m.predicted_zero_fraction[i]),
        better="neither" if quant == prune else "quantization" if quant > prune else "pruning",
        note=_note(m),
    )


def _note(m: Measured) -> str:
    if m.fit is None:
        return "all weights are equal: no kurtosis, no fit"
    if m.sparsity > 0.01:
        return f"{m.sparsity:.0%} of the weights are zero already: a density cannot describe that"
    return ""
