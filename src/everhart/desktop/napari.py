"""What napari needs: a reader with scale and units, and widgets that denoise, segment, measure.

The functions give layers as napari's tuples ``(data, attributes, type)`` and need no window; the
widgets put them into napari's forms and run them in its threads. The manifest is ``napari.yaml``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from everhart.io import read, readable_suffixes, write
from everhart.micrograph import HistoryEntry, Micrograph
from everhart.operations import get_operation
from everhart.operations.measurements import MEASUREMENTS, PREFIX
from everhart.restore.names import CLASSICAL, SHIPPED

if TYPE_CHECKING:
    from everhart.measure.result import Outline

__all__ = [
    "denoise",
    "denoise_widget",
    "get_reader",
    "layer_of",
    "measure",
    "measure_widget",
    "micrograph_of",
    "read_layers",
    "segment",
    "segment_widget",
    "write_image",
]

Paths = str | Sequence[str]
LayerData = tuple[Any, dict[str, Any], str]
_COLOURS: Final = {"edge": "#ffb000", "doubt": "#64b4ff", "missing": "#ff4678"}
_OWN: Final = "everhart"
KINDS: Final = tuple(operation.name.removeprefix(PREFIX) for operation in MEASUREMENTS)
"""Kinds of measurements."""


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of files that Everhart knows by their suffix, None for others."""
    paths = [path] if isinstance(path, str) else list(path)
    if not all(name.lower().endswith(readable_suffixes()) for name in paths):
        return None
    return read_layers


def read_layers(path: Paths) -> list[LayerData]:
    """Read files as layers, with scale and units where the file tells.

    Parameters
    ----------
    path
        A file, or several.

    Raises
    ------
    EverhartError
        As :func:`everhart.io.read` does.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer_of(read(name), Path(name).stem) for name in paths]


def layer_of(image: Micrograph, name: str, kind: str = "image") -> LayerData:
    """Make a layer of a micrograph.

    Parameters
    ----------
    image
        Image ``(H, W)`` or stack ``(N, H, W)``.
    name
        Name of the layer.
    kind
        ``"image"``, or ``"labels"`` for integers that are labels.
    """
    size = image.pixel_size_nm
    frames = image.ndim - 2
    own = {
        "data_bar_rows": image.data_bar_rows,
        "history": [entry.to_dict() for entry in image.history],
        "metadata": dict(image.metadata),
    }
    attributes = {
        "name": name,
        "scale": (1.0,) * frames + (size or (1.0, 1.0)),
        "units": ("pixel",) * frames + (("nm", "nm") if size else ("pixel", "pixel")),
        "metadata": {_OWN: own},
    }
    return image.pixels, attributes, kind


def micrograph_of(layer: Any) -> Micrograph:
    """Make a micrograph of a layer; scales with a unit of length are its pixel size.

    Parameters
    ----------
    layer
        An image layer of napari.
    """
    own = layer.metadata.get(_OWN, {})
    size = None
    lengths = [step * unit for step, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True)]
    if all(length.check("[length]") for length in lengths):
        size = (float(lengths[0].to("nm").magnitude), float(lengths[1].to("nm").magnitude))
    return Micrograph(
        np.asarray(layer.data),
        size,
        own.get("metadata", {}),
        tuple(HistoryEntry.from_dict(entry) for entry in own.get("history", ())),
        int(own.get("data_bar_rows", 0)),
    )


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a layer as a micrograph with its pixel size.

    Parameters
    ----------
    path
        Name of the output, which must not exist.
    data, attributes
        Of the layer.
    """
    from napari.layers import Image

    kept = {key: attributes[key] for key in ("scale", "units", "metadata") if key in attributes}
    return [str(write(micrograph_of(Image(data, **kept)), path))]


def denoise(layer: Any, method: str) -> LayerData:
    """Take the noise out of a layer; see :func:`everhart.denoise`."""
    outcome = get_operation("denoise")(micrograph_of(layer), method=method)
    return layer_of(outcome.micrographs[0], f"{layer.name} {method}")


def segment(layer: Any, model: str = "", clusters: int = 2, instances: bool = False) -> LayerData:
    """Tell the classes of the pixels of a layer apart; see :func:`everhart.segment`.

    Parameters
    ----------
    layer
        An image layer.
    model
        A segmentation by name or file; "" to cluster without labels.
    clusters
        Number of clusters, 0 to estimate it; of no effect with a segmentation.
    instances
        Whether every object gets its own number.
    """
    values: dict[str, Any] = {"instances": instances}
    values |= {"model": model} if model else {"clusters": clusters}
    outcome = get_operation("segment")(micrograph_of(layer), **values)
    labels = outcome.micrographs[0]
    return layer_of(labels, f"{layer.name} labels", "labels")


def measure(layer: Any, kind: str, unit: str = "nm") -> list[LayerData]:
    """Measure a layer and draw what was measured as shapes.

    Parameters
    ----------
    layer
        An image layer.
    kind
        One of :data:`KINDS`.
    unit
        ``"nm"``, or ``"px"`` where the pixel size is not known.

    Returns
    -------
    list
        A layer of shapes. Its features are the rows of the table that are about them; the
        whole table, and the summary, are in its metadata.
    """
    import pandas as pd

    image = micrograph_of(layer).crop_data_bar()
    (found,) = get_operation(PREFIX + kind)(image, unit=unit).measurements
    outlines = [outline for outline in found.outlines if len(outline.points) > 1]
    attributes = {
        "name": f"{layer.name} {kind}",
        "scale": tuple(layer.scale[-2:]),
        "units": tuple(layer.units[-2:]),
        "shape_type": ["polygon" if outline.closed else "path" for outline in outlines],
        "edge_color": [_COLOURS.get(outline.kind, "#ffffff") for outline in outlines],
        "face_color": "transparent",
        "edge_width": 1.0,
        "features": pd.DataFrame([_features(outline, found.table) for outline in outlines]),
        "text": {"string": "{label}", "size": 9, "color": "#ffffff"},
        "metadata": {"table": found.table, "summary": dict(found.summary)},
    }
    return [([outline.points for outline in outlines], attributes, "shapes")]


def _features(outline: Outline, table: Any) -> dict[str, Any]:
    """Return the row of the table that has the number of the outline, and its label."""
    told = {"label": outline.label, "kind": outline.kind}
    if len(table) and outline.label.isdecimal():
        rows = table[table.iloc[:, 0] == int(outline.label)]
        if len(rows):
            told |= rows.iloc[0].to_dict()
    return told


# -- widgets ------------------------------------------------------------------------------------


def denoise_widget() -> Any:
    """Return the form that denoises a layer."""
    choices = {"method": {"choices": [*SHIPPED, *CLASSICAL]}}
    return _widget(_form_denoise, "Denoise", single=True, **choices)


def segment_widget() -> Any:
    """Return the form that segments a layer."""
    return _widget(_form_segment, "Segment", single=True, clusters={"min": 0, "max": 32})


def measure_widget() -> Any:
    """Return the form that measures a layer."""
    choices = {"kind": {"choices": list(KINDS)}, "unit": {"choices": ["nm", "px"]}}
    return _widget(_form_measure, "Measure", single=False, **choices)


def _form_denoise(image: Any, method: str = SHIPPED[0]) -> Callable[[], Any]:
    return lambda: denoise(image, method)


def _form_segment(
    image: Any, model: str = "", clusters: int = 2, instances: bool = False
) -> Callable[[], Any]:
    return lambda: segment(image, model, clusters, instances)


def _form_measure(image: Any, kind: str = KINDS[0], unit: str = "nm") -> Callable[[], Any]:
    return lambda: measure(image, kind, unit)


def _widget(
    form: Callable[..., Callable[[], Any]], words: str, *, single: bool, **options: Any
) -> Any:
    """Make a form whose work runs in a thread of napari, so that its window does not freeze."""
    from magicgui import magicgui
    from napari.layers import Image
    from napari.qt.threading import FunctionWorker, thread_worker
    from napari.types import LayerDataTuple

    @wraps(form)
    def run(*values: Any, **named: Any) -> Any:
        return thread_worker(form(*values, **named), start_thread=True)()

    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(form).parameters.items()
        if name != "image"
    }
    found = LayerDataTuple if single else list[LayerDataTuple]
    run.__annotations__ = {
        "image": Image,
        **{name: type(default) for name, default in defaults.items()},
        "return": FunctionWorker[found],
    }
    return magicgui(run, call_button=words, **options)
