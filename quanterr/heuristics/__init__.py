"""Good feasible points, batched over rows: quantisers give codes, pruners weights. Float64, numpy or torch alike."""

from collections.abc import Callable
from functools import partial

from .alternation import alternate
from .descent import local_search
from .exact_obs import exact_obs, exact_obs_trace
from .nearest_plane import babai
from .obq import obq
from .park_boyd import park_boyd
from .rounding import nearest, stochastic
from .sampling import k_best, klein
from .sparse import magnitude, magnitude_refit, swaps
from .tensors import Matrix

#: Quick enough for whole layers (`park_boyd` solves a semidefinite programme for each row). The damped ones say so: on
#: nearly singular Gram matrices codes that the box clips run away along directions that cost nothing.
QUANTIZERS: dict[str, Callable[..., Matrix]] = {
    "nearest": nearest,
    "stochastic": stochastic,
    "babai": babai,
    "gptq_damped": partial(babai, order="activation", damping=0.01),
    "obq": obq,
    "k_best": k_best,
    "k_best_damped": partial(k_best, damping=0.01),
    "klein": klein,
    "local_search": local_search,
}
PRUNERS: dict[str, Callable[..., Matrix]] = {
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
