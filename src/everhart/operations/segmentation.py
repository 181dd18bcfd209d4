"""The operation ``segment``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from everhart.micrograph import Micrograph
from everhart.operations.base import Operation, Outcome, Parameters, Run

__all__ = ["SEGMENT", "SegmentParameters"]


class SegmentParameters(Parameters):
    """Parameters of ``segment``."""

    model: Annotated[
        str | None,
        Field(
            description="A segmentation by name, or its .safetensors file; with --clusters a "
            "generator, whose features are clustered.",
            json_schema_extra={"metavar": "NAME_OR_FILE", "short": "-m"},
        ),
    ] = None
    clusters: Annotated[
        int | None,
        Field(
            ge=0,
            le=32,
            description="Segment without labels into so many clusters, alike in all images; 0 "
            "estimates how many.",
            json_schema_extra={"metavar": "K"},
        ),
    ] = None
    instances: Annotated[
        bool,
        Field(description="Give every object its own number: all that is not of the first class."),
    ] = False
    average: Annotated[
        bool,
        Field(
            description="Average over the image's eight flips and quarter turns: a little better "
            "and eight times as slow."
        ),
    ] = False
    smoothing_px: Annotated[
        float,
        Field(
            ge=0,
            lt=100,
            description="How far neighbouring pixels decide together on their cluster.",
            json_schema_extra={"metavar": "PX"},
        ),
    ] = 1.5
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="Where a learned model runs: auto takes the GPU where there is one."),
    ] = "auto"
    engine: Annotated[
        Literal["auto", "torch", "openvino"],
        Field(
            description="What computes a trained segmentation: auto takes OpenVINO on a processor "
            "where it is installed."
        ),
    ] = "auto"


def _segment(parameters: SegmentParameters) -> Run:
    from everhart.segment import make_segmentation

    segmentation = make_segmentation(
        parameters.model,
        clusters=parameters.clusters,
        instances=parameters.instances,
        average=parameters.average,
        smoothing_px=parameters.smoothing_px,
        device=parameters.device,
        engine=parameters.engine,
    )

    def run(images: Sequence[Micrograph], _: Mapping[str, Micrograph]) -> Outcome:
        labelled = tuple(segmentation(images))
        return Outcome(labelled, tuple(_summary(image) for image in labelled))

    return run


def _summary(labels: Micrograph) -> dict[str, Any]:
    """Return what was found: the share of each class, or the number of objects."""
    import numpy as np

    pixels = labels.field_of_view
    said = labels.metadata["labels"]
    found: dict[str, Any] = {"kind": said["kind"]}
    if said["kind"] == "objects":
        found["objects"] = int(np.count_nonzero(np.unique(pixels)))
    else:
        counts = np.bincount(pixels.ravel(), minlength=len(said["classes"]))
        found["percent"] = {
            name: round(100 * int(counts[int(number)]) / pixels.size, 3)
            for number, name in said["classes"].items()
        }
    return {**labels.history[-1].to_dict(), **found}


SEGMENT: Final = Operation(
    "segment",
    "Tell the classes of an image's pixels apart, or its objects.",
    SegmentParameters,
    _segment,
)
"""The operation."""
