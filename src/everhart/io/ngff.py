"""Which array of a Zarr store is the image, and what the store says of it.

References
----------
.. [1] OME-NGFF 0.4, https://ngff.openmicroscopy.org/0.4/
.. [2] OME-NGFF 0.5, https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from everhart.errors import FileFormatError
from everhart.io.calibration import Calibration, checked, nm_per
from everhart.io.findings import guarded
from everhart.io.ngff_image import Axis, NgffImage, image_of
from everhart.io.record import RECORD_KEY, Record, from_json, plain
from everhart.io.warning import warn
from everhart.io.zarr_metadata import Json, Node, open_node
from everhart.io.zarr_store import Store, checked_key

__all__ = ["find_image"]

# Versions before 0.3 have no list of axes.
_FIVE_AXES = ("t", "c", "z", "y", "x")
_NO_IMAGES = {"labels", "OME", "tables", "shapes", "points"}
_NAMED = 5


def find_image(store: Store) -> NgffImage:
    """Find the image of a store.

    Parameters
    ----------
    store
        A store, or a group or an array of one.

    Returns
    -------
    NgffImage
        The first image of OME-NGFF, or the one array that there is.

    Raises
    ------
    FileFormatError
        If there is no image, or several, or it is in a way broken or not to be read.

    Warns
    -----
    FileWarning
        If only one of several channels is taken, or the calibration cannot be used.
    """
    node = open_node(store, "")
    if node is None:
        raise FileFormatError(
            f"{store.path} is no Zarr store: it has none of zarr.json, .zgroup and .zarray."
        )
    return _image_in(store, node) or _image_below(store, node)


def _ome(node: Node) -> Json:
    """Return what a node says under the names of OME-NGFF; 0.5 has them under one key."""
    ome = node.attributes.get("ome")
    return ome if isinstance(ome, dict) else node.attributes


def _image_in(store: Store, node: Node) -> NgffImage | None:
    if node.is_array:
        return _plain_image(node)
    multiscales = _ome(node).get("multiscales")
    if isinstance(multiscales, list) and multiscales and isinstance(multiscales[0], dict):
        return _ngff_image(store, node, multiscales[0])
    return None


def _image_below(store: Store, node: Node) -> NgffImage:
    """Find the one image in the groups and arrays of a group."""
    plate = _ome(node).get("plate")
    if isinstance(plate, dict):
        raise FileFormatError(
            f"{store.path} is a plate of many images: give one of them, such as "
            f"{store.path / _first_well(plate) / '0'}."
        )
    found = [child for child in _children(store, node) if child.is_array or _is_image(child)]
    if len(found) == 1:
        image = _image_in(store, found[0])
        assert image is not None
        return image
    if not found:
        raise FileFormatError(
            f"{store.path} holds no image: a group with OME-NGFF's multiscales, or one array of "
            "pixels, is read."
        )
    names = ", ".join(repr(child.key) for child in found[:_NAMED])
    more = ", ..." if len(found) > _NAMED else ""
    raise FileFormatError(
        f"{store.path} holds several images ({names}{more}): give one of them, such as "
        f"{store.path / found[0].key}."
    )


def _is_image(node: Node) -> bool:
    return bool(_ome(node).get("multiscales"))


def _children(store: Store, node: Node) -> Iterator[Node]:
    for name in store.names(node.key):
        if name in _NO_IMAGES:
            continue
        child = open_node(store, f"{node.key}/{name}".lstrip("/"))
        if child is not None:
            yield child


def _first_well(plate: Json) -> str:
    wells = plate.get("wells")
    path = wells[0].get("path") if isinstance(wells, list) and wells and isinstance(
        wells[0], dict
    ) else None  # fmt: skip
    return path if isinstance(path, str) and len(path) < 40 else "A/1"


# -- axes -------------------------------------------------------------------------------------
def _plain_image(node: Node) -> NgffImage:
    """Take an array that nobody calls an image."""
    array = node.array()
    names = array.axes or node.attributes.get("_ARRAY_DIMENSIONS")  # as xarray has them
    axes: list[Axis] | None = None
    if isinstance(names, (list, tuple)) and len(names) == len(array.shape):
        axes = [Axis(str(name).casefold()) for name in names]
    return image_of(array, axes, metadata=_tree("zarr", node), record=_record(node))


def _ngff_image(store: Store, node: Node, multiscale: Json) -> NgffImage:
    try:
        level = multiscale["datasets"][0]
        key = checked_key(store.path, str(level["path"]))
    except (LookupError, TypeError) as error:
        raise FileFormatError(
            f"{store.path} has broken metadata: its multiscales name no array; copy the store "
            "again from its source."
        ) from error
    found = open_node(store, f"{node.key}/{key}".strip("/"))
    if found is None or not found.is_array:
        raise FileFormatError(
            f"{store.path} has no array {key!r}, which its metadata name as the image: copy the "
            "store again from its source."
        )
    array = found.array()
    axes = guarded(store.path, "axes", lambda: _axes(multiscale, len(array.shape)))
    record = _record(node)
    metadata = {} if record else _tree("ome_zarr", node)
    image = image_of(array, axes, omero=_ome(node).get("omero"), metadata=metadata, record=record)
    if axes is None:
        return image
    calibration = guarded(
        store.path,
        "pixel size",
        lambda: _calibration(image, axes, [level, multiscale]),
    )
    return NgffImage(
        array, image.frame_axes, image.y_axis, image.x_axis, calibration, metadata, record
    )


def _axes(multiscale: Json, count: int) -> list[Axis]:
    stored = multiscale.get("axes")
    axes = []
    for axis in _FIVE_AXES if stored is None else stored:
        said = axis if isinstance(axis, dict) else {"name": axis}
        unit = said.get("unit")
        axes.append(
            Axis(
                str(said["name"]).casefold(),
                str(said.get("type", "")).casefold(),
                None if unit is None else str(unit),
            )
        )
    if len(axes) != count:
        raise ValueError(f"{len(axes)} axes of an array of {count}")
    return axes


# -- calibration and metadata -----------------------------------------------------------------
def _calibration(
    image: NgffImage, axes: Sequence[Axis], levels: Sequence[Json]
) -> Calibration | None:
    """Return the pixel size from the scales of the level and of all levels."""
    scale = np.ones(len(axes))
    scaled = False
    for level in levels:
        for transformation in level.get("coordinateTransformations") or ():
            if transformation.get("type") == "scale":
                scale = scale * np.asarray(transformation["scale"], np.float64)
                scaled = True
    if not scaled or scale.shape != (len(axes),):
        return None
    path = image.array.store.path
    sizes = []
    for axis in (image.y_axis, image.x_axis):
        unit = nm_per(axes[axis].unit)
        if unit is None:
            if axes[axis].unit is None and scale[axis] != 1:
                warn(path, "has a scale without a unit; it is uncalibrated")
            return None
        # Products of scales and units have digits at their ends that nobody wrote.
        sizes.append(float(f"{scale[axis] * unit:.15g}"))
    return checked(path, sizes, "ome_zarr")


def _tree(name: str, node: Node) -> dict[str, Any]:
    tree = {key: value for key, value in _ome(node).items() if key != RECORD_KEY}
    return {name: plain(tree)} if tree else {}


def _record(node: Node) -> Record | None:
    stored = node.attributes.get(RECORD_KEY)
    return from_json(json.dumps({RECORD_KEY: stored})) if isinstance(stored, dict) else None
