"""Pictures side by side in one image, with a caption over each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["side_by_side"]

_GAP_PX: Final = 12
_CAPTION_PX: Final = 58
_FONT_PX: Final = 20
_SMALL_FONT_PX: Final = 16


def side_by_side(panels: Sequence[tuple[str, str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Lay 8-bit pictures of one size side by side on white, with two lines over each.

    Parameters
    ----------
    panels
        Title, second line and picture ``(H, W)`` of each.

    Returns
    -------
    ndarray
        uint8 of shape ``(H', W')``.

    Examples
    --------
    >>> grey = np.zeros((40, 60), np.uint8)
    >>> side_by_side([("noisy", "20 dB", grey), ("restored", "30 dB", grey)]).shape
    (122, 156)
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = panels[0][2].shape
    size = (
        len(panels) * width + (len(panels) + 1) * _GAP_PX,
        height + _CAPTION_PX + 2 * _GAP_PX,
    )
    sheet = Image.new("L", size, 255)
    draw = ImageDraw.Draw(sheet)
    font, small = (ImageFont.load_default(px) for px in (_FONT_PX, _SMALL_FONT_PX))
    for index, (title, line, picture) in enumerate(panels):
        left = _GAP_PX + index * (width + _GAP_PX)
        draw.text((left, _GAP_PX), title, font=font, fill=0)
        draw.text((left, _GAP_PX + _FONT_PX + 6), line, font=small, fill=90)
        sheet.paste(Image.fromarray(picture), (left, _GAP_PX + _CAPTION_PX))
    return np.asarray(sheet)
