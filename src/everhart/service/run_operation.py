"""Run an operation on files, as the command line does, and write what comes of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from everhart.io import open_frames, read, write
from everhart.io.limits import Limits
from everhart.io.record import plain
from everhart.micrograph import Micrograph, __version__
from everhart.operations import Outcome, Run, get_operation
from everhart.operations.measurements import PREFIX
from everhart.service.tasks import link, named, pixels_sha256

if TYPE_CHECKING:
    from everhart.measure.result import Measurement

__all__ = ["SERIES", "run_operation"]

SERIES: Final = frozenset({"align", "compare"})
"""Operations that take all images of a job at once; others take one after the other."""

# The operation that ran last, made ready: a model is loaded once for all images of a job.
_ready: dict[str, Run] = {}


def run_operation(
    operation: str,
    parameters: dict[str, Any],
    images: Sequence[tuple[str, str]],
    roles: Mapping[str, tuple[str, str]],
    pixel_size_nm: float | None,
    limits: dict[str, Any],
    folder: str,
    models: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """Run an operation.

    Parameters
    ----------
    operation, parameters
        Name and parameters, as :data:`everhart.operations.OPERATIONS` has them.
    images
        Path and name of each image.
    roles
        Path and name of the images in roles.
    pixel_size_nm
        Pixel size in nm, in place of what the files say.
    limits
        What files may claim to hold.
    folder
        Where the results go.
    models
        Path and sha256 of further models, by the names that the parameters have for them.

    Returns
    -------
    dict
        ``files`` in `folder` by name with their media type, ``summary``, ``model_hash``,
        ``version``.
    """
    given_models = dict(models or {})
    wanted = Limits(**limits)
    out = Path(folder)
    with _at_hand(given_models), named([*images, *roles.values()]) as paths:
        run = _prepared(operation, parameters, given_models)
        sources, others = paths[: len(images)], paths[len(images) :]
        given = {
            role: read(path, pixel_size_nm=pixel_size_nm, limits=wanted)
            for role, path in zip(roles, others, strict=True)
        }
        if operation == "align":
            with open_frames(sources, pixel_size_nm=pixel_size_nm, limits=wanted) as frames:
                outcome = run(frames, given)
            names = ["aligned"]
        else:
            read_in = [read(p, pixel_size_nm=pixel_size_nm, limits=wanted) for p in sources]
            if operation.startswith(PREFIX):
                return _measured(operation, run, read_in, given, sources, out)
            outcome = run(read_in, given)
            names = [path.stem for path in sources]
    files: dict[str, dict[str, Any]] = {}
    for name, image in zip(names, outcome.micrographs, strict=False):
        write(image, out / f"{name}.tif")
        files[f"{name}.tif"] = _of_type("image/tiff", pixels_sha256(image.pixels))
    for name, text in outcome.documents.items():
        (out / name).write_text(text, "utf-8")
        files[name] = _of_type("text/html" if name.endswith(".html") else "text/plain")
    return _answer(files, outcome, [h for i in outcome.micrographs for h in i.history])


@contextmanager
def _at_hand(models: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Let models be found by their names, as those of the folders of ``EVERHART_MODELS`` are."""
    if not models:
        yield
        return
    before = os.environ.get("EVERHART_MODELS", "")
    with TemporaryDirectory(prefix="everhart-", ignore_cleanup_errors=True) as folder:
        for name, (path, _) in models.items():
            link(path, Path(folder) / f"{name}.safetensors")
        os.environ["EVERHART_MODELS"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            os.environ["EVERHART_MODELS"] = before


def _prepared(
    operation: str, parameters: dict[str, Any], models: Mapping[str, tuple[str, str]]
) -> Run:
    hashes = {name: sha256 for name, (_, sha256) in models.items()}
    made_of = json.dumps([operation, parameters, hashes], sort_keys=True)
    key = hashlib.sha256(made_of.encode()).hexdigest()
    if key not in _ready:
        _ready.clear()
        found = get_operation(operation)
        _ready[key] = found.prepare(found.check(parameters))
    return _ready[key]


def _measured(
    operation: str,
    run: Run,
    images: Sequence[Micrograph],
    roles: Mapping[str, Micrograph],
    sources: Sequence[Path],
    out: Path,
) -> dict[str, Any]:
    from everhart.measure.overlay import write_overlay
    from everhart.operations.tables import csv_text, joined_tables

    kind = operation.removeprefix(PREFIX)
    cropped = {role: image.crop_data_bar() for role, image in roles.items()}
    outcome = run([image.crop_data_bar() for image in images], cropped)
    names = [path.name for path in sources]
    files = {}
    measured = list(zip(names, outcome.measurements, strict=True))
    for name, table in joined_tables(measured, kind).items():
        (out / f"{name}.csv").write_text(csv_text(table), "utf-8", newline="\n")
        files[f"{name}.csv"] = _of_type("text/csv")
    write_overlay(images[0], outcome.measurements[0], out / "overlay.png")
    files["overlay.png"] = _of_type("image/png")
    # What the picture shows, for clients that draw it themselves.
    (out / "outlines.json").write_text(_outlines(outcome.measurements[0]), "utf-8")
    files["outlines.json"] = _of_type("application/json")
    return _answer(files, outcome, [])


def _outlines(found: Measurement) -> str:
    """Return outlines as JSON, with points to a thousandth of a pixel."""
    plain_ones = [
        {
            "points": [[round(float(y), 3), round(float(x), 3)] for y, x in outline.points],
            "label": outline.label,
            "kind": outline.kind,
            "closed": outline.closed,
        }
        for outline in found.outlines
    ]
    return json.dumps(plain_ones)


def _of_type(media_type: str, pixels: str | None = None) -> dict[str, Any]:
    return {"media_type": media_type, "pixels_sha256": pixels}


def _answer(files: dict[str, Any], outcome: Outcome, history: Sequence[Any]) -> dict[str, Any]:
    models = [entry.model_hash for entry in history if entry.model_hash is not None]
    results = [plain(result) for result in outcome.results]
    return {
        "files": files,
        "summary": results[0] if len(results) == 1 else {"images": results},
        "model_hash": models[-1] if models else None,
        "version": __version__,
    }
