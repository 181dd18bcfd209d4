"""Metrics: how far an image is from a reference, and how good it is where there is none.

Every function takes micrographs or arrays (of a micrograph, the field of view without the data
bar), is pure, and is told its data range: a PSNR without a stated range means nothing.
"""

from __future__ import annotations

from everhart.metrics.contrast import cnr, contrast_regions
from everhart.metrics.edges import (
    edge_figure_of_merit,
    edge_preservation_index,
    figure_of_merit,
)
from everhart.metrics.fidelity import affine_match, affine_psnr, mse, nrmse, psnr
from everhart.metrics.frames import (
    LeftOutError,
    LeftOutTarget,
    RankedMethod,
    left_out_error,
    left_out_target,
    paired_difference,
    rank_methods,
)
from everhart.metrics.fsim import fsim, fsim_binning
from everhart.metrics.gradients import gmsd
from everhart.metrics.no_reference import (
    SecondFrameError,
    residual_whiteness,
    second_frame_mse,
    structure_leakage,
)
from everhart.metrics.partitions import adjusted_rand_index, instance_match, matched_clusters
from everhart.metrics.phase_congruency import phase_congruency
from everhart.metrics.quality_index import uiq
from everhart.metrics.segmentation import boundary_match, class_scores
from everhart.metrics.structural import ms_ssim, ms_ssim_scales, ssim

__all__ = [
    "LeftOutError",
    "LeftOutTarget",
    "RankedMethod",
    "SecondFrameError",
    "adjusted_rand_index",
    "affine_match",
    "affine_psnr",
    "boundary_match",
    "class_scores",
    "cnr",
    "contrast_regions",
    "edge_figure_of_merit",
    "edge_preservation_index",
    "figure_of_merit",
    "fsim",
    "fsim_binning",
    "gmsd",
    "instance_match",
    "left_out_error",
    "left_out_target",
    "matched_clusters",
    "ms_ssim",
    "ms_ssim_scales",
    "mse",
    "nrmse",
    "paired_difference",
    "phase_congruency",
    "psnr",
    "rank_methods",
    "residual_whiteness",
    "second_frame_mse",
    "ssim",
    "structure_leakage",
    "uiq",
]
