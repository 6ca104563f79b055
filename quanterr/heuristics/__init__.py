"""Good feasible points, batched over rows: quantisers give codes, pruners weights. Float64, numpy or torch alike."""

from collections.abc import Callable
from functools import partial

from .ada_prune import ada_prune
from .alps import alps
from .alternation import alternate
from .descent import local_search
from .exact_obs import exact_obs, exact_obs_trace
from .magnitude import magnitude, magnitude_refit, wanda
from .metric import damped
from .nearest_plane import babai
from .obq import obq
from .park_boyd import park_boyd
from .patterns import Keep, LayerSparse, judged
from .refit import refit
from .rounding import nearest, stochastic
from .sampling import k_best, klein
from .sequential import irreducible, refit_target
from .sparse_codes import exchange_codes, prune_then_quantize
from .sparse_gpt import sparse_gpt
from .swaps import swaps, swaps_from_alps
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
    "wanda": wanda,
    "sparse_gpt": sparse_gpt,
    "ada_prune": ada_prune,
    "alps": alps,
    "exact_obs": exact_obs,
    "swaps": swaps,
    "swaps_from_alps": swaps_from_alps,
}

__all__ = [
    "PRUNERS",
    "QUANTIZERS",
    "Keep",
    "LayerSparse",
    "ada_prune",
    "alps",
    "alternate",
    "babai",
    "damped",
    "exact_obs",
    "exact_obs_trace",
    "exchange_codes",
    "irreducible",
    "judged",
    "k_best",
    "klein",
    "local_search",
    "magnitude",
    "magnitude_refit",
    "nearest",
    "obq",
    "park_boyd",
    "prune_then_quantize",
    "refit",
    "refit_target",
    "sparse_gpt",
    "stochastic",
    "swaps",
    "swaps_from_alps",
    "wanda",
]
