"""`compress`: every layer by its recipe, the errors judged, the network compared with the dense one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
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
from ..layers.naming import select, supported, transposed
from .matrices import compress_matrix
from .network import Comparison, compare, correct_batchnorm, length, split
from .recipe import Recipe, recipe_for

#: Below so many input vectors a column a layer's Gram matrix is mostly chance, and methods that follow it fit that:
#: they see it with at least this share of its mean diagonal added, which leads them back towards plain rounding.
ENOUGH = 2
FEW_DAMPING = 1.0


@dataclass(frozen=True)
class LayerOutcome:
    """One compressed layer.

    Attributes
    ----------
    snr_db : float
        `10 log10(energy / error)` on the calibration inputs, with the judge's upper bound of the error (no better than
        the truth), against the dense layer's outputs. Of the weights alone: corrected biases can only improve it.
    held_out_db : float or None
        The same on the dense network's inputs of the comparison, which no method saw: far less says that the method
        fitted its inputs. None in sequential mode, where weights make up for other inputs.
    samples : int
        Input vectors that the methods saw.
    stored_bytes, dense_bytes : float
        As `Recipe.stored_bits` counts; dense weights have 16 bits.
    zeros : float
        Share of weights that are zero.
    """

    name: str
    recipe: Recipe
    rows: int
    columns: int
    samples: int
    snr_db: float
    held_out_db: float | None
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
    corrected : tuple of str
        Biases and batch norms that make up for the mean (norms: and variance) of errors.
    """

    model: nn.Module
    layers: tuple[LayerOutcome, ...]
    comparison: Comparison
    calibrated: int
    untouched: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()


def compress(
    model: nn.Module,
    batches: Iterable[Any],
    recipes: Mapping[str, Recipe] | Recipe,
    *,
    sequential: bool = False,
    correct: bool = True,
    held_out: float = 0.25,
    group: int = 1,
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
    correct : add to each bias what the layer's mean output lost on the calibration inputs (Nagel et al. 2019, section
        4.2), and move the batch norms' statistics as their inputs have moved (`correct_batchnorm`)
    group : so many inputs, side by side, come from one source and stay together when some are held out
    device : where the network runs and the methods compute
    progress : called with what is worked on: the layer's name, and which of how many it is

    A layer with fewer than `ENOUGH` input vectors a column is treated with a damping of `FEW_DAMPING` at least; its
    recipe in the outcome and a note say so.

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
    calibration, rest = split(batches, held_out, group)
    compressed = copy.deepcopy(model)
    tell = progress or (lambda _: None)
    tell("calibration inputs through the network")
    outcomes: list[LayerOutcome] = []
    corrected: list[str] = []
    for dense, target, layer, floor in _targets(model, compressed, calibration, list(chosen), sequential, place):
        tell(f"{layer.name} ({len(outcomes) + 1} of {len(chosen)})")
        outcomes.append(_compress_layer(compressed, dense, target, layer, floor, chosen[layer.name], place))
        if correct and _correct_bias(compressed, dense, layer):
            corrected.append(f"{layer.name}.bias")
    if correct:
        tell("batch norms")
        corrected += correct_batchnorm(model, compressed, calibration, place)
    tell("comparison")
    if not sequential:
        outcomes = _held_out(model, compressed, rest, outcomes, place)
    touched = {id(_weight_of(compressed, outcome.name)) for outcome in outcomes}
    untouched = tuple(
        name for name, value in compressed.named_parameters() if id(value) not in touched and name not in corrected
    )
    comparison = compare(model, compressed, rest, place)
    return Outcome(compressed, tuple(outcomes), comparison, _count(calibration), untouched, tuple(corrected))


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
    few = layer.samples < ENOUGH * layer.columns and recipe.uses_gram
    if few:
        recipe = replace(recipe, damping=max(recipe.damping, FEW_DAMPING))
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
    snr = _decibels(float(dense.energy.sum()), float((floor + upper).sum()))
    notes = list(layer.notes)
    if few:
        notes.append(
            f"{layer.samples} input vectors for {layer.columns} columns: too few to follow, so the method saw a "
            f"damping of {recipe.damping:g}; more inputs would help"
        )
    return LayerOutcome(
        layer.name, recipe, layer.rows, layer.columns, layer.samples, snr, None, float((stored == 0.0).mean()),
        recipe.stored_bits(stored) / 8, stored.size * DENSE_BITS / 8, tuple(notes),
    )  # fmt: skip


def _correct_bias(compressed: nn.Module, dense: Layer, layer: Layer) -> bool:
    """Add to the bias what the mean output lost; False where there is none, or several layers share the weight."""
    weight = _weight_of(compressed, layer.name)
    owners = [m for m in compressed.modules() if supported(m) and m._parameters.get("weight") is weight]
    bias = owners[0]._parameters.get("bias") if len(owners) == 1 else None
    if bias is None:
        return False
    assert dense.mean is not None
    assert layer.mean is not None
    values = weight.detach().double().cpu()
    stored = (values.T if transposed(owners[0]) else values.reshape(layer.rows, layer.columns)).numpy()
    lost = _mean_output(dense.weight, dense.mean) - _mean_output(stored, layer.mean)
    with torch.no_grad():
        bias.add_(torch.from_numpy(lost).to(bias))
    return True


def _mean_output(weight: Array, mean: Array) -> Array:
    groups = np.atleast_2d(mean)
    return np.asarray(np.einsum("gri,gi->gr", weight.reshape(len(groups), -1, weight.shape[1]), groups).ravel())


def _held_out(
    model: nn.Module, compressed: nn.Module, batches: list[Any], outcomes: list[LayerOutcome], device: Any
) -> list[LayerOutcome]:
    found = []
    layers = capture(model, batches, [outcome.name for outcome in outcomes], device=device)
    for outcome, layer in zip(outcomes, layers, strict=True):
        values = _weight_of(compressed, outcome.name).detach().double().cpu()
        flipped = transposed(compressed.get_submodule(outcome.name))
        stored = (values.T if flipped else values.reshape(layer.rows, layer.columns)).numpy()
        step, total = stored - layer.weight, 0.0
        for piece in next(layer.chunks(None)).pieces:
            total += float(np.einsum("ri,ri->", step[piece.rows] @ piece.gram, step[piece.rows]))
        found.append(replace(outcome, held_out_db=_decibels(float(layer.energy.sum()), total)))
    return found


def _decibels(energy: float, error: float) -> float:
    return inf if error <= 0.0 else (-inf if energy <= 0.0 else 10.0 * log10(energy / error))


def _weight_of(model: nn.Module, name: str) -> nn.Parameter:
    weight = model.get_submodule(name)._parameters.get("weight")
    if weight is None:
        raise LayerError(
            f"layer {name!r} computes its weight anew in each pass (weight norm, a parametrisation): remove that first"
        )
    return weight


def _count(batches: list[Any]) -> int:
    return sum(length(batch) for batch in batches)
