"""The evaluation of a segmentation as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.report.html import environment
from everhart.report.pictures import data_uri

if TYPE_CHECKING:
    from everhart.metrics.partitions import InstanceMatch
    from everhart.metrics.segmentation import BoundaryMatch, ClassScores
    from everhart.segment.evaluate import Evaluation

__all__ = ["render_segmentation_html", "write_segmentation_html"]

_SHOWN: Final = 8
_PICTURE_PX: Final = 512


def render_segmentation_html(
    found: Evaluation,
    images: Sequence[NDArray[Any]],
    predictions: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    *,
    name: str,
    facts: Mapping[str, str],
) -> str:
    """Return an evaluation as the text of a self-contained HTML page.

    Parameters
    ----------
    found
        What :func:`everhart.segment.evaluate.evaluate` gave.
    images
        The images ``(H, W)``.
    predictions, truths
        The label images that were compared.
    name
        Name of the model.
    facts
        How the report was made.

    Returns
    -------
    str
        HTML with styles and pictures in it; it loads nothing from anywhere. The images are shown
        from the worst on.
    """
    from everhart.segment.overlay import COLOURS

    scores, borders, objects = found.scores, found.borders, found.objects
    order = np.argsort([image.scores.mean_iou for image in found.images], kind="stable")[:_SHOWN]
    shown = [
        {
            "name": found.images[n].name,
            "words": _words(found.images[n].scores, found.images[n].borders[-1]),
            "image": _picture(
                images[n], np.zeros(images[n].shape, np.uint8), "image", objects=True
            ),
            "said": _picture(images[n], predictions[n], "segmentation"),
            "true": _picture(images[n], truths[n], "truth"),
            "wrong": _picture(images[n], _wrong(predictions[n], truths[n]), "wrong", objects=True),
        }
        for n in order.tolist()
    ]
    return (
        environment()
        .get_template("segmentation.html")
        .render(
            name=name,
            verdict=_verdict(scores, borders, objects, len(found.images)),
            classes=_class_rows(found.classes, scores, COLOURS),
            rows=_image_rows(found),
            with_objects=objects is not None,
            shown=shown,
            count=len(found.images),
            facts=facts,
        )
    )


def write_segmentation_html(
    found: Evaluation,
    images: Sequence[NDArray[Any]],
    predictions: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    path: str | os.PathLike[str],
    *,
    name: str,
    facts: Mapping[str, str],
    overwrite: bool = False,
) -> Path:
    """Write an evaluation as one HTML file; see :func:`render_segmentation_html`.

    Raises
    ------
    UsageError
        If it exists and `overwrite` is false, or its folder does not exist.
    """
    from everhart.io.atomic import check_output, write_text

    check_output(path, overwrite=overwrite)
    text = render_segmentation_html(found, images, predictions, truths, name=name, facts=facts)
    return write_text(path, text, overwrite=overwrite)


def _picture(
    image: NDArray[Any], labels: NDArray[Any], name: str, *, objects: bool = False
) -> dict[str, Any]:
    """Return a tinted picture; of large images every n-th pixel."""
    from everhart.segment.overlay import draw_labels

    step = max(1, -(-max(image.shape) // _PICTURE_PX))
    drawn = draw_labels(image[::step, ::step], labels[::step, ::step], objects=objects)
    height, width = drawn.shape[:2]
    # OpenCV, which encodes it, has blue first.
    uri = data_uri(np.ascontiguousarray(drawn[..., ::-1]))
    return {"uri": uri, "width": width, "height": height, "name": name}


def _wrong(said: NDArray[Any], true: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 7 (red in the overlay) where a pixel that counts is wrong, else 0."""
    from everhart.nn.segmentation_losses import IGNORE

    return np.where((said != true) & (true != IGNORE), np.uint8(7), np.uint8(0))


def _verdict(
    scores: ClassScores, borders: Sequence[BoundaryMatch], objects: InstanceMatch | None, count: int
) -> str:
    words = (
        f"In {count} image{'s' * (count != 1)} the mean IoU of the classes is "
        f"{scores.mean_iou:.3f}, the mean Dice coefficient {scores.mean_dice:.3f}, and the F1 of "
        f"the borders {borders[0].f1:.3f} within 1 pixel and {borders[1].f1:.3f} within 2."
    )
    if objects is not None:
        words += (
            f" {objects.found} objects were found, {objects.missed} missed and {objects.made_up} "
            f"made up: an average precision of {objects.average_precision:.3f} at an IoU of 0.5."
        )
    return words


def _words(scores: ClassScores, border: BoundaryMatch) -> str:
    return f"mean IoU {scores.mean_iou:.3f}, borders within 2 pixels {border.f1:.3f}"


def _class_rows(
    classes: Sequence[str], scores: ClassScores, colours: Sequence[tuple[int, int, int]]
) -> list[dict[str, str]]:
    total = max(int(scores.counts.sum()), 1)
    return [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colours[n % len(colours)]),
            "share": f"{100 * int(scores.counts[n].sum()) / total:.2f} %",
            "iou": _number(float(scores.iou[n])),
            "dice": _number(float(scores.dice[n])),
        }
        for n, name in enumerate(classes)
    ]


def _image_rows(found: Evaluation) -> list[dict[str, str]]:
    return [
        {
            "name": image.name,
            "iou": _number(image.scores.mean_iou),
            "dice": _number(image.scores.mean_dice),
            "border_1": _number(image.borders[0].f1),
            "border_2": _number(image.borders[1].f1),
            "ari": _number(image.ari),
            "objects": ""
            if image.objects is None
            else f"{image.objects.found} / {image.objects.missed} / {image.objects.made_up}",
        }
        for image in found.images
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"
