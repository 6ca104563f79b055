"""Closed-form expected errors of quantisation and pruning."""

from .break_even import BreakEven, break_even, break_even_kurtosis, pruned, pruned_nofm, quantized
from .limits import shannon_lower_bound, snr_limit
from .pruning import joint_error, nofm_pruning_error, pruning_error, pruning_threshold
from .quantization import (
    clipping_error,
    code_entropy,
    quantization_error,
    rounding_error,
    uniform_noise_error,
    zero_fraction,
)
from .scale import ScaleSearch, grid_search_scale, optimal_scale, search_scale
from .snr import decibels, joint_snr, nofm_pruning_snr, pruning_snr, quantization_snr
from .storage import mask_bits, matching_sparsity, nofm_mask_bits, pruned_bits

__all__ = [
    "BreakEven",
    "ScaleSearch",
    "break_even",
    "break_even_kurtosis",
    "clipping_error",
    "code_entropy",
    "decibels",
    "grid_search_scale",
    "joint_error",
    "joint_snr",
    "mask_bits",
    "matching_sparsity",
    "nofm_mask_bits",
    "nofm_pruning_error",
    "nofm_pruning_snr",
    "optimal_scale",
    "pruned",
    "pruned_bits",
    "pruned_nofm",
    "pruning_error",
    "pruning_snr",
    "pruning_threshold",
    "quantization_error",
    "quantization_snr",
    "quantized",
    "rounding_error",
    "search_scale",
    "shannon_lower_bound",
    "snr_limit",
    "uniform_noise_error",
    "zero_fraction",
]
