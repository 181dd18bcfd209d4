"""Registration of frames of one field of view.

Two ways to find a shift: :func:`match_psnr`, a search over whole pixels for the highest PSNR
of a reference crop, and :func:`estimate_shift`, cross-correlation to a fraction of a pixel.
:func:`align_frames` lays a whole series on its first frame or on its mean, and
:func:`register_pair` a clean image on its noisy partner.
"""

from __future__ import annotations

from everhart.align.frames import AlignedFrames, align_frames
from everhart.align.moving import common_margin, shift_image
from everhart.align.pair import register_pair
from everhart.align.phase import estimate_shift
from everhart.align.psnr import PsnrMatch, match_psnr

__all__ = [
    "AlignedFrames",
    "PsnrMatch",
    "align_frames",
    "common_margin",
    "estimate_shift",
    "match_psnr",
    "register_pair",
    "shift_image",
]
