"""Scans of real weights: what quantisation and pruning do to every tensor of a network, beside the closed form."""

from .fits import Fit, fit_families
from .measuring import Measured, measure
from .rule import agreement, break_even_range, predicted_better
from .scanning import BITS, ScanProgress, Selection, WeightRecord, scan, scan_frame, to_frame
from .tensors import Tensor, demo_weights, open_tensors

__all__ = [
    "BITS",
    "Fit",
    "Measured",
    "ScanProgress",
    "Selection",
    "Tensor",
    "WeightRecord",
    "agreement",
    "break_even_range",
    "demo_weights",
    "fit_families",
    "measure",
    "open_tensors",
    "predicted_better",
    "scan",
    "scan_frame",
    "to_frame",
]
