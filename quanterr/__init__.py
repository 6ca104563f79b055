"""quanterr: for this layer, is quantisation or pruning the better compression, whatever algorithm is used?

>>> import quanterr
>>> layers = quanterr.layers.capture(model, batches, names=["*conv*"])  # doctest: +SKIP
>>> quanterr.certify(layers, bits=(2, 4, 8)).verdicts()                 # doctest: +SKIP
"""

from . import layers
from .certify import Progress, certify
from .compare import Comparison, Trial, compare
from .distributions import (
    Empirical,
    Gaussian,
    GeneralizedGaussian,
    Laplace,
    Logistic,
    Mixture,
    StudentT,
    Uniform,
)
from .errors import ChunkRefused, InputError, LayerError, QuanterrError, StoreError
from .expected import (
    break_even,
    break_even_kurtosis,
    clipping_error,
    code_entropy,
    joint_error,
    joint_snr,
    mask_bits,
    matching_sparsity,
    nofm_pruning_error,
    nofm_pruning_snr,
    optimal_scale,
    pruned,
    pruned_nofm,
    pruning_error,
    pruning_snr,
    pruning_threshold,
    quantization_error,
    quantization_snr,
    quantized,
    rounding_error,
    search_scale,
    shannon_lower_bound,
    snr_limit,
    uniform_noise_error,
    zero_fraction,
)
from .grids import CodebookGrid, FloatGrid, Grid, IntegerGrid
from .layers.layer import Layer
from .report import LayerFacts, Outcome, Record, Report, Verdict
from .scan import scan, scan_frame
from .store import Store

__version__ = "0.1.0"

__all__ = [
    "ChunkRefused",
    "CodebookGrid",
    "Comparison",
    "Empirical",
    "FloatGrid",
    "Gaussian",
    "GeneralizedGaussian",
    "Grid",
    "InputError",
    "IntegerGrid",
    "Laplace",
    "Layer",
    "LayerError",
    "LayerFacts",
    "Logistic",
    "Mixture",
    "Outcome",
    "Progress",
    "QuanterrError",
    "Record",
    "Report",
    "Store",
    "StoreError",
    "StudentT",
    "Trial",
    "Uniform",
    "Verdict",
    "break_even",
    "break_even_kurtosis",
    "certify",
    "clipping_error",
    "code_entropy",
    "compare",
    "joint_error",
    "joint_snr",
    "layers",
    "mask_bits",
    "matching_sparsity",
    "nofm_pruning_error",
    "nofm_pruning_snr",
    "optimal_scale",
    "pruned",
    "pruned_nofm",
    "pruning_error",
    "pruning_snr",
    "pruning_threshold",
    "quantization_error",
    "quantization_snr",
    "quantized",
    "rounding_error",
    "scan",
    "scan_frame",
    "search_scale",
    "shannon_lower_bound",
    "snr_limit",
    "uniform_noise_error",
    "zero_fraction",
]
