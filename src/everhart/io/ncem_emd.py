"""The EMD files of the National Center for Electron Microscopy (Berkeley), read and written.

A group with the attribute ``emd_group_type`` holds an array ``data``, and for each of its axes a
vector ``dim1``, ``dim2`` ... with the attributes ``name`` and ``units`` [1]_.

References
----------
.. [1] EMD 0.1, 0.2 and 1.0, https://emdatasets.com/format
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.calibration import nm_per
from everhart.io.findings import Findings, guarded
from everhart.io.hdf5 import attribute, attributes, child, children, group_in, small_array
from everhart.io.hdf5_image import Hdf5Image
from everhart.io.record import RECORD_KEY, Record, from_json, plain, to_json
from everhart.io.vendors import VendorData
from everhart.io.vendors.values import Tree, known, number, quantity, section, times
from everhart.io.warning import warn
from everhart.micrograph import Micrograph

if TYPE_CHECKING:
    import h5py

__all__ = ["NcemImage", "ncem_image", "write_ncem"]

_DEEPEST_GROUP, _MOST_GROUPS = 16, 4096
_DEEPEST_TREE = 8
_X_NAMES = {"x", "rx", "qx", "width", "col", "cols", "column", "columns"}
_Y_NAMES = {"y", "ry", "qy", "height", "row", "rows", "line", "lines"}
# The step of an axis may vary by this much of itself, as 32-bit floats of many pixels do.
_UNEVEN = 0.01
_LARGEST_RECORD = 64 << 20


@dataclass(frozen=True)
class _Axis:
    """An axis of an array: its name, unit, length, and distance of its points."""

    name: str
    unit: str
    length: int
    step: float | None

    @property
    def nm(self) -> float | None:
        """The unit in nm, None for one that is no length. EMD writes nm as ``[n_m]``."""
        return nm_per(self.unit.strip().strip("[]").replace("_", ""))

    @property
    def is_energy(self) -> bool:
        unit = self.unit.strip("[] ").replace("_", "").casefold()
        return unit.endswith("ev") or "energy" in self.name.casefold()

    def is_called(self, names: set[str]) -> bool:
        return self.name.strip().casefold().replace("_", "") in names


@dataclass(frozen=True)
class NcemImage:
    """An image or a stack of frames, and what the file says of it."""

    pixels: Hdf5Image
    group: h5py.Group
    axes: tuple[_Axis, ...]

    @property
    def name(self) -> str:
        """The name of its group."""
        return str(self.group.name).rpartition("/")[2] or "/"

    def record(self, path: Path) -> Record | None:
        """Return Everhart's own record, if it wrote the file."""
        import h5py

        stored = child(self.group, RECORD_KEY)
        if not isinstance(stored, h5py.Dataset) or stored.dtype.itemsize != 1:
            return None
        raw = guarded(path, "Everhart's own", partial(small_array, path, stored))
        return None if raw is None else from_json(raw.tobytes().decode("ascii", "replace"))

    def findings(self, path: Path, shape: tuple[int, ...]) -> Findings:
        """Return calibration and metadata."""
        found = Findings(record=self.record(path))
        data = guarded(path, "EMD", self._understood)
        if data is not None:
            found.take(path, data, shape)
        if found.record is not None:  # which has the metadata; the axes may be newer than it
            found.metadata = {}
        return found

    def _understood(self) -> VendorData:
        tree = _tree_of(self.group.file, self.group)
        y, x = self.axes[self.pixels.y_axis], self.axes[self.pixels.x_axis]
        size = None
        if y.nm is not None and x.nm is not None and y.step is not None and x.step is not None:
            size = (times(abs(y.step), y.nm), times(abs(x.step), x.nm))
        return VendorData("ncem_emd", plain(tree), plain(_common(tree)), size)


def ncem_image(path: Path, file: h5py.File) -> NcemImage:
    """Choose the image that stands for a file, the largest, and warn about the others.

    Raises
    ------
    FileFormatError
        If there is none.
    """
    images: list[NcemImage] = []
    refused: FileFormatError | None = None
    for group in _signals(file):
        try:
            images.append(_image(path, group))
        except FileFormatError as error:
            refused = refused or error
    if not images:
        raise refused or FileFormatError(
            f"{path} is an HDF5 file without an image as Velox or EMD have it: export the image as "
            "TIFF from the program that wrote it."
        )
    real = [image for image in images if image.pixels.dtype.kind in "buif"]
    best = max(real or images, key=lambda image: image.pixels.shape[1] * image.pixels.shape[2])
    others = [repr(image.name) for image in real if image is not best]
    if others:
        warn(
            path,
            f"holds {len(real)} images; {best.name!r}, the largest, was read, and not "
            f"{', '.join(others[:20])}: write each of these into a file of its own to read it",
        )
    return best


def _signals(file: h5py.File) -> Iterator[h5py.Group]:
    """Give the groups that hold an array, those nearer to the root first."""
    import h5py

    ahead: list[tuple[h5py.Group, int]] = [(file, 0)]
    seen = set()
    for group, depth in ahead:  # which grows
        if attribute(group, "emd_group_type") in (1, "1", "array") and isinstance(
            child(group, "data"), h5py.Dataset
        ):
            yield group
        for name in children(group) if depth < _DEEPEST_GROUP else ():
            found = group_in(group, name)
            if found is None or len(ahead) >= _MOST_GROUPS:
                continue
            address = h5py.h5o.get_info(found.id).addr
            if address not in seen:  # hard links can lead in circles
                seen.add(address)
                ahead.append((found, depth + 1))


def _image(path: Path, group: h5py.Group) -> NcemImage:
    """Find out which axis of an array is which.

    Raises
    ------
    FileFormatError
        If it is no image: a spectrum, or of more dimensions.
    """
    data = child(group, "data")
    axes = _axes(path, group, data.shape or ())
    long = [axis for axis in axes if axis.length > 1]
    what = ""
    if len(axes) < 2:
        what = "a spectrum or a line profile"
    elif 0 in data.shape:
        what = "an array without a value"
    elif any(axis.is_energy for axis in long):
        what = "spectra (it has an axis of energies)"
    elif len(axes) > 3 and len(long) > 3:
        what = f"data of {len(long)} dimensions, such as 4D-STEM,"
    if what:
        raise FileFormatError(
            f"{path} holds {what} and no image: images and stacks of images are read; write a map "
            "or a slice of it as an image of two dimensions."
        )
    # HyperSpy turns the order of all axes around, as its marks on the group tell.
    frames, y, x = _order(axes, columns_first="signal_type" in group.attrs)
    return NcemImage(Hdf5Image(path, data, frames, y, x), group, axes)


def _order(axes: tuple[_Axis, ...], *, columns_first: bool) -> tuple[int | None, int, int]:
    """Return which axes are the frames, the rows and the columns.

    Names decide, as some programs write the columns first; then units, as frames have no
    length; else frames, rows and columns come in this order, or turned around.
    """
    left = list(range(len(axes)))
    while len(left) > 3:  # a point along the others
        left.remove(next(n for n in left if axes[n].length == 1))
    if columns_first:
        left.reverse()
    xs = [n for n in left if axes[n].is_called(_X_NAMES)]
    ys = [n for n in left if axes[n].is_called(_Y_NAMES)]
    lengths = [n for n in left if axes[n].nm is not None]
    if len(xs) == 1 and len(ys) == 1:
        y, x = ys[0], xs[0]
    elif len(left) == 3 and len(lengths) == 2:
        y, x = lengths
    else:
        y, x = left[-2:]
    others = [n for n in left if n not in (y, x)]
    return (others[0] if others else None), y, x


def _axes(path: Path, group: h5py.Group, shape: tuple[int, ...]) -> tuple[_Axis, ...]:
    first = 0 if child(group, "dim0") is not None else 1  # EMD 1.0 counts from 0
    found = []
    for n, length in enumerate(shape[:32], first):
        axis = guarded(path, f"dim{n}", partial(_axis, path, group, f"dim{n}", length))
        found.append(axis or _Axis("", "", length, None))
    return tuple(found)


def _axis(path: Path, group: h5py.Group, key: str, length: int) -> _Axis | None:
    import h5py

    vector = child(group, key)
    if not isinstance(vector, h5py.Dataset):
        return None
    name, unit = (attribute(vector, word) for word in ("name", "units"))
    step = None
    # Two values are enough for points at equal distances.
    if vector.shape in ((length,), (2,)) and vector.shape != (1,):
        step = _step(path, small_array(path, vector))
    return _Axis(str(name or ""), str(unit or ""), length, step)


def _step(path: Path, stored: NDArray[Any]) -> float | None:
    """Return the distance of the points along an axis; None if it is not the same everywhere."""
    points = stored.astype(np.float64)
    if not np.isfinite(points).all():
        return None
    with np.errstate(all="ignore"):
        steps = np.diff(points)
        mean = float(steps.mean())
        # Far from zero, 32-bit floats have few digits left for the distance.
        digits = np.finfo(stored.dtype).eps if stored.dtype.kind == "f" else 0.0
        allowed = _UNEVEN * abs(mean) + 2 * digits * np.abs(points).max()
        uneven = bool((np.abs(steps - mean) > allowed).any())
    if uneven:
        warn(path, "has an axis whose points are not at equal distances; it is uncalibrated")
        return None
    return mean


def _tree_of(file: h5py.File, group: h5py.Group) -> dict[str, Any]:
    """Return the attributes of the file, of the image's group, and of the groups of metadata."""
    tree: dict[str, Any] = {**attributes(file), "signal": attributes(group)}
    for name in children(file):
        found = group_in(file, name)
        if found is not None and not str(group.name).startswith(f"/{name}/"):
            branch = _branch(found, 0)
            if branch:
                tree[name.encode("utf-8", "replace").decode()] = branch
        if len(tree) >= 64:
            break
    return tree


def _branch(group: h5py.Group, depth: int) -> dict[str, Any]:
    tree = attributes(group)
    for n, name in enumerate(children(group)):
        if n >= 64 or depth >= _DEEPEST_TREE:
            break
        found = group_in(group, name)
        branch = _branch(found, depth + 1) if found is not None else {}
        if branch:
            tree.setdefault(name.encode("utf-8", "replace").decode(), branch)
    return tree


def _common(tree: Tree) -> dict[str, Any]:
    """Return what programs at Berkeley and HyperSpy write of the microscope, in SI units."""
    scope = {
        str(name).casefold().replace("_", " "): value
        for name, value in section(tree, "microscope").items()
    }
    volts = quantity(scope.get("high tension", scope.get("voltage")), "V")
    return known(
        instrument=scope.get("name"),
        beam_energy_kev=times(volts, 1e-3) if volts is not None and volts >= 1000 else None,
        dwell_time_s=number(scope.get("dwell time")),
        magnification=number(scope.get("magnification")),
        spot_size=number(scope.get("spot size")),
        camera_length_mm=times(number(scope.get("camera length")), 1e3),
        operation_mode=scope.get("mode"),
    )


def write_ncem(image: Micrograph, path: Path) -> None:
    """Write EMD 0.2: pixels as they are in memory, axes in nm, and Everhart's own record.

    Parameters
    ----------
    image
        The micrograph, of any dtype.
    path
        The file, which is replaced.
    """
    import h5py

    y, x = image.pixel_size_nm or (1.0, 1.0)
    unit = "[px]" if image.pixel_size_nm is None else "[n_m]"
    axes = [("frame", "", 1.0), ("y", unit, y), ("x", unit, x)][-image.ndim :]
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        for name in ("microscope", "sample", "user", "comments"):
            file.create_group(name)
        group = file.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        # Neither in chunks nor compressed, so that a large stack can be mapped.
        group.create_dataset("data", data=image.pixels)
        for n, ((name, units, step), length) in enumerate(zip(axes, image.shape, strict=True), 1):
            vector = group.create_dataset(f"dim{n}", data=step * np.arange(max(2, length)))
            vector.attrs["name"], vector.attrs["units"] = name, units
        record = np.frombuffer(to_json(image).encode("ascii"), np.uint8)
        group.create_dataset(RECORD_KEY, data=record)
