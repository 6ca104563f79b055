"""Good feasible points, batched over rows: quantisers give codes, pruners weights. Float64, numpy or torch alike."""

from .alternation import alternate
from .descent import local_search
from .exact_obs import exact_obs, exact_obs_trace
from .nearest_plane import babai
from .obq import obq
from .park_boyd import park_boyd
from .rounding import nearest, stochastic
from .sampling import k_best, klein
from .sparse import magnitude, magnitude_refit, swaps

#: Quick enough for whole layers; `park_boyd` solves a semidefinite programme for each row.
QUANTIZERS = {
    "nearest": nearest,
    "stochastic": stochastic,
    "babai": babai,
    "obq": obq,
    "k_best": k_best,
    "klein": klein,
    "local_search": local_search,
}
PRUNERS = {
    "magnitude": magnitude,
    "magnitude_refit": magnitude_refit,
    "exact_obs": exact_obs,
    "swaps": swaps,
}

__all__ = [
    "PRUNERS",
    "QUANTIZERS",
    "alternate",
    "babai",
    "exact_obs",
    "exact_obs_trace",
    "k_best",
    "klein",
    "local_search",
    "magnitude",
    "magnitude_refit",
    "nearest",
    "obq",
    "park_boyd",
    "stochastic",
    "swaps",
]
