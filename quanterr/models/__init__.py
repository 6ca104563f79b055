"""Models with real weights and real inputs (`PRESETS`), and the loader of the caller's own (`load_model`)."""

from .efficientnet import efficientnet_lite0
from .loading import load_model, load_object
from .minilm import minilm_l6
from .presets import PRESETS, Preset, preset
from .table_3 import TABLE_3, PaperLayer, table_3_model

__all__ = [
    "PRESETS",
    "TABLE_3",
    "PaperLayer",
    "Preset",
    "efficientnet_lite0",
    "load_model",
    "load_object",
    "minilm_l6",
    "preset",
    "table_3_model",
]
