"""Good feasible points, batched over rows: quantisers give codes, pruners weights. Float64, numpy or torch alike."""

from .ada_prune import ada_prune
from .alps import alps
from .descent import local_search
from .exact_obs import exact_obs, exact_obs_trace
from .magnitude import magnitude, magnitude_refit, wanda
from .metric import damped
from .nearest_plane import babai
from .obq import obq
from .patterns import Keep, LayerSparse, judged
from .refit import refit
from .rounding import nearest
from .sequential import irreducible, refit_target
from .sparse_codes import exchange_codes, prune_then_quantize
from .sparse_gpt import sparse_gpt
from .swaps import swaps

QUANTIZERS = {"nearest": nearest, "babai": babai, "obq": obq, "local_search": local_search}
PRUNERS = {
    "magnitude": magnitude,
    "magnitude_refit": magnitude_refit,
    "wanda": wanda,
    "sparse_gpt": sparse_gpt,
    "ada_prune": ada_prune,
    "alps": alps,
    "exact_obs": exact_obs,
    "swaps": swaps,
}

__all__ = [
    "PRUNERS",
    "QUANTIZERS",
    "Keep",
    "LayerSparse",
    "ada_prune",
    "alps",
    "babai",
    "damped",
    "exact_obs",
    "exact_obs_trace",
    "exchange_codes",
    "irreducible",
    "judged",
    "local_search",
    "magnitude",
    "magnitude_refit",
    "nearest",
    "obq",
    "prune_then_quantize",
    "refit",
    "refit_target",
    "sparse_gpt",
    "swaps",
    "wanda",
]
