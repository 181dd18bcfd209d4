"""The EMD files of Thermo Fisher's Velox: images in ``Data/Image``, each with its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everhart.errors import FileFormatError
from everhart.io.findings import Findings, guarded
from everhart.io.hdf5 import child, children, group_in, small_array
from everhart.io.hdf5_image import Hdf5Image
from everhart.io.vendors.values import Tree
from everhart.io.vendors.velox import detector_of, from_velox, velox_tree
from everhart.io.warning import warn

if TYPE_CHECKING:
    import h5py

__all__ = ["VeloxImage", "is_velox", "velox_image"]

# Kinds of data beside images, in the words of Velox's menus
_OTHERS = ("Spectrum", "SpectrumImage", "SpectrumStream", "LineScan")
_MOST_IMAGES = 256
_LONGEST_METADATA = 16 << 20


@dataclass(frozen=True)
class VeloxImage:
    """An image or a stack of frames, and what Velox says of it."""

    pixels: Hdf5Image
    tree: Tree

    @property
    def name(self) -> str:
        """What it shows: the detector, or how it was made."""
        return detector_of(self.tree)[0] or "without a detector"

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Order in which an image stands for the file: HAADF, detectors, size."""
        name, kind = detector_of(self.tree)
        _, height, width = self.pixels.shape
        return (
            "HAADF" in name.upper(),
            kind in ("ScanningDetector", "ImagingDetector"),
            height * width,
        )

    def findings(self, path: Path, shape: tuple[int, ...]) -> Findings:
        """Return calibration and metadata."""
        found = Findings()
        data = guarded(path, "Velox", lambda: from_velox(self.tree)) if self.tree else None
        if data is not None:
            found.take(path, data, shape)
        return found


def is_velox(file: h5py.File) -> bool:
    """Say whether a file is laid out as Velox does."""
    data = group_in(file, "Data")
    return data is not None and any(
        group_in(data, kind) is not None for kind in ("Image", *_OTHERS)
    )


def velox_image(path: Path, file: h5py.File) -> VeloxImage:
    """Choose the image that stands for a file, and warn about the others.

    Raises
    ------
    FileFormatError
        If there is none: only spectra, or complex numbers.
    """
    images = list(_images(path, file))
    if not images:
        raise FileFormatError(
            f"{path} holds {_kinds(file)} and no image: export a map or an image from Velox."
        )
    real = [image for image in images if image.pixels.dtype.kind in "buif"]
    # Without a real one, the check of the first says what it is.
    best = max(real or images, key=lambda image: image.rank)
    others = [image for image in real if image is not best]
    if others:
        names = ", ".join(_described(image) for image in others[:20])
        warn(
            path,
            f"holds {len(real)} images; {_described(best)} was read, and not {names}: export these "
            "from Velox to read them",
        )
    return best


def _described(image: VeloxImage) -> str:
    frames, height, width = image.pixels.shape
    size = f"{height} x {width}"
    return f"{image.name} ({size if frames == 1 else f'{frames} frames of {size}'})"


def _kinds(file: h5py.File) -> str:
    data = group_in(file, "Data")
    found = [kind for kind in _OTHERS if data is not None and group_in(data, kind) is not None]
    return f"spectra ({', '.join(found)})" if found else "nothing that is known"


def _images(path: Path, file: h5py.File) -> list[VeloxImage]:
    import h5py

    folder = group_in(file, "Data", "Image")
    found: list[VeloxImage] = []
    for name in children(folder) if folder is not None else ():
        group = group_in(folder, name)
        data = child(group, "Data") if group is not None else None
        if not isinstance(data, h5py.Dataset) or data.shape is None or 0 in data.shape:
            continue
        if len(data.shape) not in (2, 3):
            continue
        pixels = Hdf5Image(path, data, 2 if len(data.shape) == 3 else None, 0, 1)
        tree = guarded(path, "Velox", partial(_tree, path, group))
        found.append(VeloxImage(pixels, tree or {}))
        if len(found) >= _MOST_IMAGES:
            break
    return found


def _tree(path: Path, group: h5py.Group) -> dict[str, Any]:
    """Read the metadata of the first frame: bytes down a column, a column for each frame."""
    import h5py

    stored = child(group, "Metadata")
    if not isinstance(stored, h5py.Dataset):
        raise ValueError("there is none")
    if stored.dtype.itemsize != 1 or stored.shape[0] > _LONGEST_METADATA:
        raise ValueError(f"it has {stored.shape} values of {stored.dtype}")
    return velox_tree(small_array(path, stored, column=0).tobytes())
