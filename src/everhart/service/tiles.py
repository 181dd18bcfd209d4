"""Tiles of large images: an image once decoded, at all sizes, and the pieces cut from it.

Level 0 is the image; each further level has half the height and width, up to the one that is a
single tile. All levels of a frame are kept as uint8 in files that are mapped, so only the first
tile of an image takes the time to decode it.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from everhart.micrograph import Micrograph

__all__ = ["TILE_PX", "level_shapes", "prune", "touch", "write_levels", "write_tile"]

TILE_PX: Final = 512
"""Height and width of a tile; those at the lower and right edge may be smaller."""

_ROWS: Final = 2 * TILE_PX
_SAMPLE_PX: Final = 16_000_000


def level_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Return the shape of an image at each level.

    Examples
    --------
    >>> level_shapes(1025, 700)
    [(1025, 700), (513, 350), (257, 175)]
    """
    shapes = [(height, width)]
    while max(shapes[-1]) > TILE_PX:
        shapes.append((math.ceil(shapes[-1][0] / 2), math.ceil(shapes[-1][1] / 2)))
    return shapes


def write_levels(image: Micrograph, folder: Path) -> None:
    """Write all levels of an image into a folder, which appears whole.

    Parameters
    ----------
    image
        Image ``(H, W)``. Black and white are the 0.5th and 99.5th percentile of its field of view.
    folder
        The folder; if it is there already it is left as it is.
    """
    import numpy as np

    black, white = _range(image)
    folder.parent.mkdir(parents=True, exist_ok=True)
    own = Path(mkdtemp(dir=folder.parent, prefix="making-"))
    try:
        above: Any = None
        for level, shape in enumerate(level_shapes(*image.shape)):
            levels = np.lib.format.open_memmap(
                own / f"{level}.npy", mode="w+", dtype=np.uint8, shape=shape
            )
            for top in range(0, shape[0], _ROWS):
                rows = slice(top, min(shape[0], top + _ROWS))
                if above is None:
                    levels[rows] = _grey(image.pixels[rows], black, white)
                else:
                    levels[rows] = _halved(above[2 * rows.start : 2 * rows.stop])
            above = levels
        own.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(own, ignore_errors=True)


def write_tile(folder: Path, level: int, row: int, column: int, output: Path) -> None:
    """Cut a tile from the levels of an image, and write it as PNG."""
    import numpy as np
    from PIL import Image

    whole = np.load(folder / f"{level}.npy", mmap_mode="r")
    y, x = row * TILE_PX, column * TILE_PX
    tile = np.ascontiguousarray(whole[y : y + TILE_PX, x : x + TILE_PX])
    Image.fromarray(tile).save(output, "PNG", compress_level=1)


def prune(folder: Path, most_mb: float) -> None:
    """Delete the levels of those images that were not asked for the longest."""
    found = []
    for entry in folder.iterdir():
        try:
            size = sum(file.stat().st_size for file in entry.iterdir())
            found.append((entry.stat().st_mtime, size, entry))
        except OSError:  # another one deletes it
            continue
    total = sum(size for _, size, _ in found)
    for _, size, entry in sorted(found)[:-1]:  # never the last one: it is being looked at
        if total <= most_mb * 1e6:
            return
        shutil.rmtree(entry, ignore_errors=True)
        total -= size


def touch(folder: Path) -> None:
    """Note that the levels of an image were asked for."""
    os.utime(folder)


def _range(image: Micrograph) -> tuple[float, float]:
    import numpy as np

    view = image.field_of_view
    step = max(1, math.ceil(math.sqrt(view.size / _SAMPLE_PX)))
    sample = view[::step, ::step].astype(np.float64)  # of truth values there is no percentile
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0
    black, white = np.percentile(finite, (0.5, 99.5))
    return float(black), float(max(white, black + 1e-30))


def _grey(pixels: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    import numpy as np

    scaled = (np.nan_to_num(pixels.astype(np.float32), nan=black) - black) / (white - black)
    grey: NDArray[np.uint8] = np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return grey


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np

    height, width = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    four = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    halved: NDArray[np.uint8] = ((four + 2) // 4).astype(np.uint8)
    return halved
