"""`compress`: every layer by its recipe, the errors judged, the network compared with the dense one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, log10
from typing import Any

import numpy as np
import torch
from torch import nn

from bounds import ProblemError
from bounds.gram import Array

from ..contestants import DENSE_BITS
from ..errors import InputError, LayerError, QuanterrError
from ..heuristics import irreducible, refit_target
from ..layers import Layer, LayerPair, capture, capture_pair
from ..layers.naming import select, transposed
from .matrices import compress_matrix
from .network import Comparison, compare, length, renew_batchnorm, split
from .recipe import Recipe, recipe_for


@dataclass(frozen=True)
class LayerOutcome:
    """One compressed layer.

    Attributes
    ----------
    snr_db : float
        `10 log10(energy / error)` on the calibration inputs, with the judge's upper bound of the error (no better than
        the truth), against the dense layer's outputs.
    stored_bytes, dense_bytes : float
        As `Recipe.stored_bits` counts; dense weights have 16 bits.
    zeros : float
        Share of weights that are zero.
    """

    name: str
    recipe: Recipe
    rows: int
    columns: int
    snr_db: float
    zeros: float
    stored_bytes: float
    dense_bytes: float
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A compressed network and what is known about it.

    Attributes
    ----------
    model : torch.nn.Module
        A copy of the network with compressed weights in their dense shapes and types.
    comparison : Comparison
        With the dense network, on inputs held out.
    untouched : tuple of str
        Parameters that stay as they are: biases, norms, layers of other kinds, layers without a recipe.
    renewed : tuple of str
        Batch norms whose statistics are those of the calibration inputs.
    """

    model: nn.Module
    layers: tuple[LayerOutcome, ...]
    comparison: Comparison
    calibrated: int
    untouched: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()


def compress(
    model: nn.Module,
    batches: Iterable[Any],
    recipes: Mapping[str, Recipe] | Recipe,
    *,
    sequential: bool = False,
    batchnorm: bool = False,
    held_out: float = 0.25,
    device: str | torch.device | None = None,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Compress a copy of a network layer by layer.

    Parameters
    ----------
    batches : inputs as for `layers.capture`, read once; the last `held_out` of them are not calibrated on
    recipes : one for all layers, or by glob over layer names; the last glob that matches counts, none leaves a layer
    sequential : each layer is compressed on the inputs that the network compressed so far gives, against the dense
        layer's outputs (OBC appendix A.8). Two passes of the network a layer.
    batchnorm : afterwards take the batch norms' means and variances afresh from the calibration inputs
    device : where the network runs and the methods compute
    progress : called with the name of each layer that is done

    Raises
    ------
    LayerError
        A glob that means no layer, or a layer whose recipe does not fit; the message names it.
    QuanterrError
        What `layers.capture` refuses.
    """
    table = {"*": recipes} if isinstance(recipes, Recipe) else dict(recipes)
    for glob in table:
        select(model, [glob])
    modules = select(model, None)
    chosen = {name: r for name in modules if (r := recipe_for(name, table)) is not None and r.method != "keep"}
    if not chosen:
        raise InputError("no layer has a recipe: there is nothing to compress")
    place = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    calibration, rest = split(batches, held_out)
    compressed = copy.deepcopy(model)
    outcomes = []
    for dense, target, layer, floor in _targets(model, compressed, calibration, list(chosen), sequential, place):
        outcomes.append(_compress_layer(compressed, dense, target, layer, floor, chosen[layer.name], place))
        if progress is not None:
            progress(layer.name)
    touched = {id(_weight_of(compressed, outcome.name)) for outcome in outcomes}
    untouched = tuple(name for name, value in compressed.named_parameters() if id(value) not in touched)
    renewed = renew_batchnorm(compressed, calibration, place) if batchnorm else ()
    comparison = compare(model, compressed, rest, place)
    return Outcome(compressed, tuple(outcomes), comparison, _count(calibration), untouched, renewed)


def _targets(
    model: nn.Module, compressed: nn.Module, batches: list[Any], names: list[str], sequential: bool, device: Any
) -> Iterator[tuple[Layer, Array, Layer, Array]]:
    """Dense layer, what to approximate, the layer in whose metric, and errors that nothing can undo, (rows,)."""
    if not sequential:
        for layer in capture(model, batches, names, device=device):
            yield layer, layer.weight, layer, np.zeros(layer.rows)
        return
    done: set[int] = set()
    for name in names:
        if id(_weight_of(compressed, name)) in done:  # shared with an earlier layer, which saw the inputs of both
            continue
        done.add(id(_weight_of(compressed, name)))
        (pair,) = capture_pair(model, compressed, batches, [name], device=device)
        target, floor = _sequential_target(pair, device)
        yield pair.dense, target, pair.compressed, floor


def _sequential_target(pair: LayerPair, device: Any) -> tuple[Array, Array]:
    target, floor = np.empty(pair.dense.weight.shape), np.empty(pair.dense.rows)
    before = next(pair.dense.chunks(None)).pieces
    after = next(pair.compressed.chunks(None)).pieces
    crosses = pair.cross if pair.cross.ndim == 3 else pair.cross[None]
    for old, new, cross in zip(before, after, crosses, strict=True):
        target[new.rows] = np.asarray(refit_target(new.weight, new.gram, cross, device=device))
        floor[new.rows] = np.asarray(irreducible(old.weight, old.gram, target[new.rows], new.gram))
    return target, floor


def _compress_layer(
    compressed: nn.Module, dense: Layer, target: Array, layer: Layer, floor: Array, recipe: Recipe, device: Any
) -> LayerOutcome:
    parameter = _weight_of(compressed, layer.name)
    stored, upper = np.empty_like(target), np.empty(layer.rows)
    for piece in next(layer.chunks(None)).pieces:
        try:
            found = compress_matrix(target[piece.rows], piece.gram, recipe, parameter.dtype, device)
        except (QuanterrError, ProblemError) as error:
            where = f"rows {piece.rows.start}–{piece.rows.stop - 1}, " if layer.groups > 1 else ""
            raise LayerError(
                f"layer {layer.name!r}, {where}{recipe.method}: {error}; or leave it out with the recipe 'keep'"
            ) from error
        stored[piece.rows], upper[piece.rows] = found.weight, found.error_upper
    matrix = torch.from_numpy(stored)
    whole = matrix.T if transposed(compressed.get_submodule(layer.name)) else matrix.reshape(parameter.shape)
    with torch.no_grad():
        parameter.copy_(whole)
    energy, total = float(dense.energy.sum()), float((floor + upper).sum())
    snr = inf if total <= 0.0 else (-inf if energy <= 0.0 else 10.0 * log10(energy / total))
    notes = list(layer.notes)
    if layer.samples < layer.columns:
        notes.append(
            f"{layer.samples} input vectors for {layer.columns} columns: the method fits these inputs exactly where it "
            "can and says little about others; give more inputs, or a damping"
        )
    if recipe.damping:
        notes.append(f"the method saw {recipe.damping:g} of the mean diagonal on the diagonal; the error is undamped")
    return LayerOutcome(
        layer.name, recipe, layer.rows, layer.columns, snr, float((stored == 0.0).mean()),
        recipe.stored_bits(stored) / 8, stored.size * DENSE_BITS / 8, tuple(notes),
    )  # fmt: skip


def _weight_of(model: nn.Module, name: str) -> nn.Parameter:
    weight = model.get_submodule(name)._parameters.get("weight")
    if weight is None:
        raise LayerError(
            f"layer {name!r} computes its weight anew in each pass (weight norm, a parametrisation): remove that first"
        )
    return weight


def _count(batches: list[Any]) -> int:
    return sum(length(batch) for batch in batches)
