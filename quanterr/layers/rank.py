"""Why nothing is proven about a layer: inputs that leave some changes of its weights without effect."""

from __future__ import annotations

import numpy as np

from bounds import Gram

from .layer import Layer

#: With so many input vectors a column the smallest eigenvalue is a quarter of the true one (Marchenko and Pastur 1967).
ENOUGH = 4
SHOWN = 6
VISIBLE = 0.05


def rank_note(layer: Layer, width: int | None) -> str:
    """What to say beside a lower bound of zero: the rank of the inputs and the remedy; empty where it is full.

    Parameters
    ----------
    width : columns solved together, None for all
    """
    columns = layer.columns if width is None else min(width, layer.columns)
    if layer.samples < columns:
        return (
            f"{layer.samples:,} input vectors for {columns:,} columns: changes of the weights exist that no input "
            f"shows, so the optimum may be zero and some lower bounds are; collect {ENOUGH * columns:,} or more"
        )
    for chunk in layer.chunks(width):
        for piece in chunk.pieces:
            gram = Gram(piece.gram)
            if gram.singular:
                found = (chunk.columns.start + np.flatnonzero(gram.null_share > VISIBLE)).tolist()
                names = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
                return (
                    f"inputs {names} depend on each other linearly: the optimum of pruning may lie anywhere down to "
                    "zero, and so does its bound; collect more input vectors, or leave such inputs out of the network"
                )
    return ""
