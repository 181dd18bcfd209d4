"""What the reader accepts: limits that a file's header is checked against before decoding.

A few kilobytes of a compressed file can claim an image of many gigabytes. The header says
how much would be decoded, so such a file is refused before any memory is spent on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from everhart.errors import LimitError

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits on what a file may claim to hold.

    Parameters
    ----------
    max_pixels_per_plane
        Pixels (height times width) of one image.
    max_decoded_bytes
        Bytes of all frames and bands once decoded.
    max_frames
        Frames of a stack.
    max_bands
        Colour bands of a pixel.
    max_ratio
        Decoded bytes for each byte of the file. Micrographs are noisy and compress two- or
        threefold; label images and blank frames up to a few hundredfold.
    ratio_free_bytes
        Decoded size up to which the ratio is not looked at: a small blank image is harmless.

    Examples
    --------
    >>> import everhart as eh
    >>> from everhart.io import Limits
    >>> generous = Limits(max_pixels_per_plane=4_000_000_000, max_decoded_bytes=64 << 30)
    >>> # eh.read("wafer.tif", limits=generous)
    """

    max_pixels_per_plane: int = 500_000_000
    max_decoded_bytes: int = 8 << 30
    max_frames: int = 65_536
    max_bands: int = 4
    max_ratio: float = 250.0
    ratio_free_bytes: int = 64 << 20

    def check(
        self,
        name: str,
        *,
        height: int,
        width: int,
        itemsize: int = 1,
        bands: int = 1,
        frames: int = 1,
        file_bytes: int,
        mapped: bool = False,
    ) -> None:
        """Check a header's claim.

        Parameters
        ----------
        name
            What the file is called in the error.
        height, width, bands, frames
            The claimed shape.
        itemsize
            Bytes of one band of one pixel.
        file_bytes
            Size of the file that would be decoded.
        mapped
            Whether nothing is decoded: the pixels lie in the file as they are, and are read
            when they are used. Then the size of the whole is not limited.

        Raises
        ------
        LimitError
            If the claim is above a limit, or out of proportion to the size of the file.
        """
        pixels = height * width
        decoded = pixels * bands * frames * itemsize
        self._at_most(name, "pixels an image", pixels, self.max_pixels_per_plane,
                      "max_pixels_per_plane", f"{height} x {width} = ")  # fmt: skip
        self._at_most(name, "colour bands", bands, self.max_bands, "max_bands")
        self.check_frames(name, frames)
        if mapped:
            return
        self._at_most(name, "bytes decoded", decoded, self.max_decoded_bytes, "max_decoded_bytes")
        ratio = decoded / max(file_bytes, 1)
        if decoded > self.ratio_free_bytes and ratio > self.max_ratio:
            raise LimitError(
                f"{name} claims {height} x {width} pixels, {decoded:,} bytes decoded, from a file "
                f"of {file_bytes:,} bytes: {math.ceil(ratio):,} times its size, where "
                f"{self.max_ratio:g} is allowed; if you trust it, read it with "
                f"limits=Limits(max_ratio={_rounded_up(ratio):_})."
            )

    def check_frames(self, name: str, frames: int) -> None:
        """Check a number of frames or pages, before each of them is looked at.

        Parameters
        ----------
        name
            What the file is called in the error.
        frames
            The claimed number.

        Raises
        ------
        LimitError
            If there are more than `max_frames`.
        """
        self._at_most(name, "frames", frames, self.max_frames, "max_frames")

    @staticmethod
    def _at_most(
        name: str, what: str, claimed: int, allowed: int, setting: str, detail: str = ""
    ) -> None:
        if claimed > allowed:
            raise LimitError(
                f"{name} claims {detail}{claimed:,} {what}, where {allowed:,} are allowed; if you "
                f"trust it, read it with limits=Limits({setting}={_rounded_up(claimed):_})."
            )


def _rounded_up(value: float) -> int:
    """Round up to two leading digits, for a limit that is easy to read.

    Examples
    --------
    >>> _rounded_up(1_600_000_001), _rounded_up(7)
    (1700000000, 7)
    """
    step = int(10 ** max(0, math.floor(math.log10(max(value, 1))) - 1))
    return math.ceil(value / step) * step


#: Images up to 22000 x 22000, stacks up to 8 GiB.
DEFAULT_LIMITS = Limits()
