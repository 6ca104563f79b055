"""The figures of *Pruning vs Quantization*, section 3 and appendices B and C: closed forms beside real weights."""

from .captions import CREDIT
from .drawing import draw_all
from .points import Points, points_of_scan, read_points
from .real import (
    density_ratio,
    figure_3_left,
    figure_3_right,
    natural_sparsity,
    natural_sparsity_figure,
    preference_share,
)
from .theory import figure_1, figure_2, figure_5, truncated_student

__all__ = [
    "CREDIT",
    "Points",
    "density_ratio",
    "draw_all",
    "figure_1",
    "figure_2",
    "figure_3_left",
    "figure_3_right",
    "figure_5",
    "natural_sparsity",
    "natural_sparsity_figure",
    "points_of_scan",
    "preference_share",
    "read_points",
    "truncated_student",
]
