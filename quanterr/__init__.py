"""quanterr: for this layer, is quantisation or pruning the better compression, whatever algorithm is used?

>>> import quanterr
>>> layers = quanterr.layers.capture(model, batches, names=["*conv*"])  # doctest: +SKIP
>>> quanterr.certify(layers, bits=(2, 4, 8)).verdicts()                 # doctest: +SKIP
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import layers
from .errors import CertificateFileError, ChunkRefused, InputError, LayerError, QuanterrError, StoreError
from .layers.layer import Layer

if TYPE_CHECKING:
    from .certify import Progress, certify
    from .compare import Comparison, Trial, compare
    from .distributions import Empirical, Gaussian, GeneralizedGaussian, Laplace, Logistic, Mixture, StudentT, Uniform
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
    from .proofs.verifying import Verification, verify
    from .results.report import Duel, LayerFacts, Outcome, Record, Report, Verdict
    from .results.spread import Spread, Stability
    from .scan import scan, scan_frame
    from .stability import stability
    from .store import Store

__version__ = "0.1.0"

#: Where each name lives; loaded when first named, so that `quanterr verify` and `--help` load no solver.
_HOMES = {
    name: module
    for module, names in {
        "certify": "Progress certify",
        "compare": "Comparison Trial compare",
        "distributions": "Empirical Gaussian GeneralizedGaussian Laplace Logistic Mixture StudentT Uniform",
        "expected": (
            "break_even break_even_kurtosis clipping_error code_entropy joint_error joint_snr mask_bits "
            "matching_sparsity nofm_pruning_error nofm_pruning_snr optimal_scale pruned pruned_nofm "
            "pruning_error pruning_snr pruning_threshold quantization_error quantization_snr quantized "
            "rounding_error search_scale shannon_lower_bound snr_limit uniform_noise_error zero_fraction"
        ),
        "grids": "CodebookGrid FloatGrid Grid IntegerGrid",
        "results.report": "Duel LayerFacts Outcome Record Report Verdict",
        "scan": "scan scan_frame",
        "results.spread": "Spread Stability",
        "stability": "stability",
        "store": "Store",
        "proofs.verifying": "Verification verify",
    }.items()
    for name in names.split()
}

__all__ = [
    "CertificateFileError",
    "ChunkRefused",
    "CodebookGrid",
    "Comparison",
    "Duel",
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
    "Spread",
    "Stability",
    "Store",
    "StoreError",
    "StudentT",
    "Trial",
    "Uniform",
    "Verdict",
    "Verification",
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
    "stability",
    "uniform_noise_error",
    "verify",
    "zero_fraction",
]


#: Modules with public names of their own, loaded when first named as well.
_MODULES = ("code_grid", "compression", "contestants", "heuristics", "models", "scaling")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


class _Package(ModuleType):
    """`quanterr.certify`, `compare`, `scan`, `stability` stay functions when the modules of that name are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
