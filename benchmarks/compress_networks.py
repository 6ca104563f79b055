"""Whole networks compressed by `quanterr compress`: what is left of their outputs on inputs that no method saw.

EfficientNet-lite0 on crops of 14 photographs, the last four of them held out with all their crops; MiniLM-L6 on
passages of text, the last quarter held out, its outputs averaged to sentence embeddings. Layer SNRs are means over
layers, on the calibration inputs and on those held out. Bytes count codes, masks, scales and zero points of the
compressed layers against 16 bits a weight; "the few" are the depthwise convolutions, the first and the last layer. Few
inputs: a whole network's figures are estimates, one crop more or less is 6 % of agreement.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from quanterr.compression import Recipe, compress
from quanterr.models.efficientnet import efficientnet_lite0
from quanterr.models.minilm import minilm_l6

from .timing import markdown, processor_seconds

CROPS = 4
EIGHT = Recipe("nearest", bits=8)
KEEP = Recipe("keep")
FIRST_LAST = ("*_depthwise_conv", "_conv_stem", "_fc")

Recipes = dict[str, Recipe]


def efficientnet_recipes() -> dict[str, tuple[Recipes, bool]]:
    """Name: recipes by glob, and whether biases and batch norms are corrected."""
    tensor = Recipe("nearest", bits=8, axis="tensor", symmetric=True)
    return {
        "8 bits a tensor, symmetric, nothing corrected": ({"*": tensor}, False),
        "8 bits, nothing corrected": ({"*": EIGHT}, False),
        "8 bits": ({"*": EIGHT}, True),
        "6 bits": ({"*": Recipe("nearest", bits=6)}, True),
        "4 bits": ({"*": Recipe("nearest", bits=4)}, True),
        "4 bits GPTQ of 32 columns, the few 8": (_beside(Recipe("babai", bits=4, axis="32"), EIGHT), True),
        "SparseGPT 50 %, the few dense": (_beside(Recipe("sparse-gpt", sparsity=0.5), KEEP), True),
        "SparseGPT 2:4, the few dense": (_beside(Recipe("sparse-gpt", pattern="2:4"), KEEP), True),
        "SparseGPT 50 % + 8 bits, the few 8": (
            _beside(Recipe("sparse-gpt+nearest", bits=8, sparsity=0.5), EIGHT),
            True,
        ),
    }


def minilm_recipes() -> dict[str, tuple[Recipes, bool]]:
    """As `efficientnet_recipes`; all linear layers of the encoder and the pooler's are compressed."""
    return {
        "8 bits": ({"*": EIGHT}, True),
        "6 bits": ({"*": Recipe("nearest", bits=6)}, True),
        "4 bits": ({"*": Recipe("nearest", bits=4)}, True),
        "4 bits GPTQ of 32 columns": ({"*": Recipe("babai", bits=4, axis="32")}, True),
        "SparseGPT 50 %": ({"*": Recipe("sparse-gpt", sparsity=0.5)}, True),
        "SparseGPT 2:4": ({"*": Recipe("sparse-gpt", pattern="2:4")}, True),
        "SparseGPT 50 % + 4 bits": ({"*": Recipe("sparse-gpt+nearest", bits=4, sparsity=0.5)}, True),
    }


def run() -> str:
    """A table for each network."""
    parts = []
    for title, factory, recipes, group in (
        ("EfficientNet-lite0", partial(efficientnet_lite0, each=CROPS), efficientnet_recipes(), CROPS),
        ("MiniLM-L6", minilm_l6, minilm_recipes(), 1),
    ):
        model, batches, description = factory()
        rows = []
        for name, (chosen, correct) in recipes.items():
            spent, outcome = processor_seconds(partial(compress, model, batches, chosen, correct=correct, group=group))
            seen, layers = outcome.comparison, outcome.layers
            stored, dense = (sum(getattr(x, what) for x in layers) for what in ("stored_bytes", "dense_bytes"))
            held_out = [x.held_out_db for x in layers if x.held_out_db is not None]
            rows.append(
                [
                    name, f"{np.mean([x.snr_db for x in layers]):.1f}", f"{np.mean(held_out):.1f}",
                    f"{seen.snr_db:.1f}",
                    "" if seen.agreement is None else f"{seen.agreement:.0%}", f"{seen.cosine:.4f}",
                    f"{stored / dense:.1%}", f"{spent:.0f}",
                ]
            )  # fmt: skip
            print(f"  {title}: {' | '.join(rows[-1])}", flush=True)
        header = ["", "layer SNR, dB", "held out", "network SNR, dB", "same top 1", "cosine", "bytes", "s"]
        parts.append(f"**{description}**, {outcome.comparison.inputs} inputs held out\n\n{markdown(header, rows)}")
    return "\n\n".join(parts)


def _beside(recipe: Recipe, few: Recipe) -> Recipes:
    """`recipe` for the pointwise convolutions, `few` for the depthwise ones, the first and the last layer."""
    return {"*": recipe} | dict.fromkeys(FIRST_LAST, few)
