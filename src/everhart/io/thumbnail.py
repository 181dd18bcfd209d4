"""Small pictures of large images, for people to look at."""

from __future__ import annotations

import numpy as np

from everhart.micrograph import HistoryEntry, Micrograph

__all__ = ["thumbnail"]


def thumbnail(image: Micrograph, longest_px: int = 512) -> Micrograph:
    """Make a small picture of an image.

    Parameters
    ----------
    image
        Image ``(H, W)``.
    longest_px
        Longest side of the picture; a smaller image keeps its size.

    Returns
    -------
    Micrograph
        uint8; black and white are the 0.5th and 99.5th percentile of the field of view. The pixel
        size is that of the picture.

    Examples
    --------
    >>> thumbnail(Micrograph(np.random.default_rng(0).random((600, 2048)), 2.0))
    <Micrograph 150 x 512 uint8, 8 x 8 nm/px, 1 operations>
    """
    from PIL import Image

    height, width = image.shape
    factor = max(1.0, max(height, width) / longest_px)
    size = max(1, round(height / factor)), max(1, round(width / factor))
    view = image.field_of_view
    if view.dtype == bool:  # percentiles are differences, which truth values do not have
        view = view.astype(np.uint8)
    finite = view[np.isfinite(view)]
    black, white = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    if white <= black:
        white = black + 1
    grey = (np.nan_to_num(image.pixels.astype(np.float32), nan=black) - black) / (white - black)
    picture = Image.fromarray(np.clip(grey, 0, 1).astype(np.float32))
    small = np.asarray(picture.resize(size[::-1], Image.Resampling.BOX))
    scale = None
    if image.pixel_size_nm is not None:
        scale = (
            image.pixel_size_nm[0] * height / size[0],
            image.pixel_size_nm[1] * width / size[1],
        )
    entry = HistoryEntry("thumbnail", {"black": float(black), "white": float(white)})
    return Micrograph(np.rint(255 * small).astype(np.uint8), scale, history=(*image.history, entry))
