"""A compressed network on disk: a state dict as safetensors, with the account of it in the header."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..models.packages import require
from .compressing import Outcome


def to_frame(outcome: Outcome) -> pd.DataFrame:
    """One line a layer: its recipe, SNR, zeros and bytes."""
    lines = []
    for layer in outcome.layers:
        recipe = {f"recipe_{key}" if key == "scale" else key: value for key, value in asdict(layer.recipe).items()}
        lines.append(
            {"layer": layer.name, "rows": layer.rows, "columns": layer.columns}
            | recipe
            | {
                "samples": layer.samples,
                "snr_db": layer.snr_db,
                "held_out_db": layer.held_out_db,
                "zeros": layer.zeros,
                "stored_bytes": layer.stored_bytes,
            }
            | {"dense_bytes": layer.dense_bytes, "notes": "; ".join(layer.notes)}
        )
    return pd.DataFrame(lines)


def save(outcome: Outcome, path: str | Path, title: str = "") -> int:
    """Write the state dict, dense shapes and types, and return the size of the file in bytes.

    The file appears whole or not at all. `safetensors.torch.load_file` gives what `model.load_state_dict` takes; shared
    weights are written once for each name. The header's `quanterr` entry holds the account as JSON.

    Raises
    ------
    InputError
        safetensors is not installed, or the folder cannot be written.
    """
    torch_file = require("safetensors.torch", "safetensors", "pip install safetensors")
    target = Path(path)
    state = {name: value.detach().cpu().contiguous().clone() for name, value in outcome.model.state_dict().items()}
    account: dict[str, Any] = {
        "title": title,
        "layers": [asdict(layer) for layer in outcome.layers],
        "comparison": asdict(outcome.comparison),
        "calibrated": outcome.calibrated,
        "untouched": outcome.untouched,
        "corrected": outcome.corrected,
    }
    handle = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        try:
            torch_file.save_file(state, name, metadata={"format": "pt", "quanterr": json.dumps(account)})
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InputError(f"{str(target)!r} cannot be written: {error}") from error
    return target.stat().st_size
