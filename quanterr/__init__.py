"""quanterr: for this layer, is quantisation or pruning the better compression, whatever algorithm is used?

>>> import quanterr
>>> layers = quanterr.layers.capture(model, batches, names=["*conv*"])  # doctest: +SKIP
>>> quanterr.certify(layers, bits=(2, 4, 8)).verdicts()                 # doctest: +SKIP
"""

from . import layers
from .certify import Progress, certify
from .errors import InputError, LayerError, QuanterrError, StoreError
from .layers.layer import Layer
from .report import Outcome, Record, Report, Verdict
from .store import Store

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "Layer",
    "LayerError",
    "Outcome",
    "Progress",
    "QuanterrError",
    "Record",
    "Report",
    "Store",
    "StoreError",
    "Verdict",
    "certify",
    "layers",
]
