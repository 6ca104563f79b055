"""Good feasible points, batched over rows: quantisers give codes, pruners weights. Float64, numpy or torch alike."""

from .descent import local_search
from .exact_obs import exact_obs, exact_obs_trace
from .nearest_plane import babai
from .obq import obq
from .rounding import nearest
from .sparse import magnitude, magnitude_refit, swaps

QUANTIZERS = {"nearest": nearest, "babai": babai, "obq": obq, "local_search": local_search}
PRUNERS = {
    "magnitude": magnitude,
    "magnitude_refit": magnitude_refit,
    "exact_obs": exact_obs,
    "swaps": swaps,
}

__all__ = [
    "PRUNERS",
    "QUANTIZERS",
    "babai",
    "exact_obs",
    "exact_obs_trace",
    "local_search",
    "magnitude",
    "magnitude_refit",
    "nearest",
    "obq",
    "swaps",
]
