"""``everhart segment --truth``: the label images that were written, judged by the true ones."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everhart.cli.outputs import Task
from everhart.errors import UsageError

if TYPE_CHECKING:
    from everhart.operations.segmentation import SegmentParameters

__all__ = ["judge", "true_labels"]


def true_labels(truth: Path, sources: Sequence[Path]) -> list[Path]:
    """Return the true label image of each image: a file for one, of its name in a folder.

    Raises
    ------
    UsageError
        If one is missing.
    """
    from everhart.io import image_paths

    if truth.is_file():
        if len(sources) > 1:
            raise UsageError(
                f"--truth {truth} was given for {len(sources)} images: give a folder of label "
                "images with their names."
            )
        return [truth]
    if not truth.is_dir():
        raise UsageError(f"--truth {truth} does not exist: give label images.")
    found = {path.stem: path for path in image_paths([str(truth)])}
    for source in sources:
        if source.stem not in found:
            raise UsageError(
                f"{truth} has no label image named {source.stem}: label images have the names of "
                "their images."
            )
    return [found[source.stem] for source in sources]


def judge(
    tasks: Sequence[Task],
    truths: Sequence[Path],
    parameters: SegmentParameters,
    report: Path,
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """Judge the label images that were written, write the report and return the scores."""
    import numpy as np

    from everhart.io import read
    from everhart.nn.segmentation_losses import IGNORE
    from everhart.report import provenance
    from everhart.report.segmentation import write_segmentation_html
    from everhart.restore.models import find_model
    from everhart.segment.evaluate import evaluate, named_clusters
    from everhart.segment.labelled import class_numbers
    from everhart.training.model_file import read_header

    images = [read(task.source).field_of_view for task in tasks]
    said = [read(task.output).field_of_view for task in tasks]
    given = [read(path).pixels for path in truths]
    for task, pixels, path, labels in zip(tasks, images, truths, given, strict=True):
        if labels.shape != pixels.shape:
            raise UsageError(
                f"{path} has the shape {labels.shape} and {task.source.name} {pixels.shape}: give "
                "one label for each pixel of a single image."
            )
    objects = None
    if parameters.clusters is not None:
        values = sorted({int(v) for labels in given for v in np.unique(labels)})
        classes: dict[str, Any] = {str(value): value for value in values}
        ignored: list[int] = []
    else:
        assert parameters.model is not None
        header = read_header(find_model(parameters.model))
        classes, ignored = header.inference["values"], header.inference["ignored"]
    numbers = [
        class_numbers(labels, classes, ignored, path.name)
        for labels, path in zip(given, truths, strict=True)
    ]
    names = list(classes)
    if parameters.clusters is not None:
        said = named_clusters(said, numbers, len(names))
        names.append("no class")
    elif parameters.instances:
        objects = [
            (
                np.where(number == IGNORE, 0, found),
                np.where((number == 0) | (number == IGNORE), 0, labels.astype(np.int64) + 1),
            )
            for found, labels, number in zip(said, given, numbers, strict=True)
        ]
        said = [(labels > 0).astype(np.uint8) for labels in said]
        numbers = [np.where(n == IGNORE, n, n > 0).astype(np.uint8) for n in numbers]
        names = [names[0], "objects"]
    found = evaluate(
        [task.source.name for task in tasks], said, numbers, names, objects=objects,
        last_is_none=parameters.clusters is not None,
    )  # fmt: skip
    facts = provenance(shlex.join(["everhart", *sys.argv[1:]]))
    name = str(parameters.model or f"{parameters.clusters} clusters")
    write_segmentation_html(
        found, images, said, numbers, report, name=Path(name).stem, facts=facts,
        overwrite=overwrite,
    )  # fmt: skip
    return found.to_dict()
