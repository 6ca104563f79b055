"""A made-up run with every kind of verdict, and names that try to become markup."""

import math

import numpy as np

from quanterr import LayerFacts, Record, Report

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"' onclick=window.hacked=1 x='",
    "<!--<script>",
    "</script ",
    "${title} $data &amp; ]]> \\u003c \u2028 ⚡",
)
BITS = (2, 4, 8)


def side(layer: str, chunk: int, bits: int, method: str, snr: float, width: float, columns: int = 36) -> Record:
    """A record that achieves `snr` dB and has its limit `width` dB above; open where those differ."""
    upper = 100.0 * 10 ** (-snr / 10)
    lower = upper * 10 ** (-width / 10)
    is_open = width > 0
    return Record(
        layer, chunk, bits, method, 24, columns, 100.0, upper, lower, upper * 1.1,
        "node_limit" if is_open else "closed", 3 if is_open else 0, "search and dual" if is_open else "search", 0.25,
    )  # fmt: skip


def network(layers: int = 30, extra: tuple[str, ...] = HOSTILE) -> Report:
    """Chunked layers with mixed verdicts; layer 3 whole and undecided; the last ones have the names `extra`."""
    rng = np.random.default_rng(5)
    names = [f"blocks.{i}.conv" for i in range(layers)] + list(extra)
    records, facts = [], []
    for index, name in enumerate(names):
        whole = index == 3
        chunks = 1 if whole else 1 + index % 4
        notes = ("dead inputs (always zero): column 3",) if index == 1 else ()
        facts.append(LayerFacts(name, 24, 36 * chunks if not whole else 64, 1, 4000, 0.0, 3.0 + index, notes))
        if index % 4 == 0 and not whole:
            facts[-1] = LayerFacts(name, 24, 72, 1, 4000, 0.01, 3.0 + index, notes)
        for chunk in range(chunks):
            for bits in BITS:
                lead = math.copysign(1.0 + float(rng.random()), bits - 3 if index % 2 else 1) + 0.7 * chunk
                width = 4.0 if whole else 0.0
                columns = 64 if whole else 36
                records.append(side(name, chunk, bits, "quantization", 5.0 * bits + lead, width, columns))
                records.append(side(name, chunk, bits, "pruning", 5.0 * bits, width, columns))
    return Report(
        tuple(records), "A <network> & more", ("layer x, chunk 7, rows 0–3: columns [0, 1] are <twins>",), tuple(facts)
    )
