"""Write a scene's truth beside its images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from everhart.io.atomic import write_text
from everhart.io.writing import write
from everhart.micrograph import Micrograph
from everhart.simulate.scene import Scene

__all__ = ["truth_paths", "write_truth"]


def truth_paths(scene: Scene, folder: Path, stem: str) -> dict[str, Path]:
    """Return the files that :func:`write_truth` writes, by what they hold.

    Parameters
    ----------
    scene
        The scene.
    folder
        Where they go.
    stem
        What their names begin with.
    """
    names = {name: f"{stem}_{name}.csv" for name in scene.truth.tables}
    if scene.truth.edges_px is not None:
        names["edges"] = f"{stem}_edges.csv"
    names |= {"labels": f"{stem}_labels.png", "truth": f"{stem}_truth.json"}
    return {kind: folder / name for kind, name in names.items()}


def write_truth(
    scene: Scene,
    folder: Path,
    stem: str,
    *,
    record: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the truth of a scene: tables as CSV, labels as PNG, the rest as JSON.

    Parameters
    ----------
    scene
        The scene.
    folder
        An existing folder.
    stem
        What the files' names begin with.
    record
        More to write into the JSON, such as the seed and the microscope.
    overwrite
        Whether existing files may be replaced.

    Returns
    -------
    dict
        The files by what they hold: ``truth`` (JSON), ``labels`` (16-bit PNG), ``edges`` (CSV, one
        column an edge, one row a pixel along it), and one CSV a table.

    Raises
    ------
    UsageError
        If the folder does not exist, or a file exists and `overwrite` is false.
    """
    paths = truth_paths(scene, folder, stem)
    truth = scene.truth
    for name, table in truth.tables.items():
        write_text(paths[name], table.to_csv(index=False, lineterminator="\n"), overwrite=overwrite)
    if truth.edges_px is not None:
        write_text(paths["edges"], _edges_csv(scene), overwrite=overwrite)
    labels = Micrograph(truth.labels.astype(np.uint16), scene.pixel_size_nm)
    write(labels, paths["labels"], overwrite=overwrite)
    document = {
        "scene": scene.name,
        "synthetic": True,
        "shape_px": list(scene.shape),
        "pixel_size_nm": list(scene.pixel_size_nm),
        "coordinates": (
            "pixel centres are at integers: the image covers -0.5 <= y < height - 0.5; "
            "nm = px * pixel size, same origin"
        ),
        "parameters": dict(scene.parameters),
        "label_names": {str(label): name for label, name in truth.label_names.items()},
        "files": {kind: path.name for kind, path in paths.items() if kind != "truth"},
        **(record or {}),
    }
    write_text(paths["truth"], json.dumps(document, indent=2) + "\n", overwrite=overwrite)
    return paths


def _edges_csv(scene: Scene) -> str:
    import pandas as pd

    edges = scene.truth.edges_px
    assert edges is not None
    along, across = ("row", "x") if scene.name == "lines" else ("column", "y")
    columns = {
        f"{across}_px {name}": edge
        for name, edge in zip(scene.truth.edge_names, edges, strict=True)
    }
    table = pd.DataFrame({along: np.arange(edges.shape[1]), **columns})
    return str(table.to_csv(index=False, lineterminator="\n", float_format="%.5f"))
