"""The one list of what can be run on micrographs.

Command line, service and desktop take names, parameters and functions from here, so that the
same parameters give the same numbers everywhere.

An operation works on micrographs in memory: which files they come from, and where the
result goes, is the shell's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from everhart.errors import unknown_name
from everhart.micrograph import Micrograph
from everhart.operations.base import Operation, Outcome, Parameters, Run
from everhart.operations.measurements import MEASUREMENTS
from everhart.operations.segmentation import SEGMENT
from everhart.restore.names import CLASSICAL, SHIPPED

__all__ = [
    "OPERATIONS",
    "AlignParameters",
    "CompareParameters",
    "DenoiseParameters",
    "NoiseParameters",
    "Operation",
    "Outcome",
    "Parameters",
    "Run",
    "get_operation",
]


def _names(value: Any) -> Any:
    """Take names with commas between them as a list of names."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="Where a learned model runs: auto takes the GPU where there is one."),
]


class DenoiseParameters(Parameters):
    """Parameters of ``denoise``."""

    method: Annotated[
        str | None,
        Field(
            description=f"{', '.join(CLASSICAL)}, or the name of a model; "
            f"the model {SHIPPED[0]} if nothing is said.",
            json_schema_extra={"metavar": "NAME"},
        ),
    ] = None
    model: Annotated[
        str | None,
        Field(
            description="A model by name, or the .safetensors file of one.",
            json_schema_extra={"metavar": "NAME_OR_FILE"},
        ),
    ] = None
    device: Device = "auto"
    engine: Annotated[
        Literal["auto", "torch", "openvino", "onnx"],
        Field(
            description="What runs a learned model: auto takes OpenVINO where it is installed and "
            "knows the network, else PyTorch; onnx is ONNX Runtime."
        ),
    ] = "auto"


class NoiseParameters(Parameters):
    """Parameters of ``noise``: there is nothing to choose."""


class CompareParameters(Parameters):
    """Parameters of ``compare``."""

    methods: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        Field(
            min_length=1,
            description=f"Methods with commas between them: {', '.join(CLASSICAL)}, "
            "names of models, .safetensors files.",
            json_schema_extra={"metavar": "A,B,C", "default_words": "all that come with Everhart"},
        ),
    ] = (*CLASSICAL, *SHIPPED)
    alignment: Annotated[
        Literal["affine", "shift", "none"],
        Field(
            description="How a reference or second frame is laid on the image: with the drift of "
            "a slow scan, by a shift alone, or not at all."
        ),
    ] = "affine"
    data_range: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Grey levels from black to white for PSNR and SSIM; 255 for 8 bit, else "
            "the reference's own range.",
            json_schema_extra={"metavar": "LEVELS"},
        ),
    ] = None
    device: Device = "auto"
    one_field: Annotated[
        bool, Field(description="The inputs are frames of one field, judged by each other.")
    ] = False
    turns: Annotated[
        int,
        Field(
            ge=1,
            description="How many of the frames of a field every method restores, each judged by "
            "all others.",
            json_schema_extra={"metavar": "N"},
        ),
    ] = 3
    measure: Annotated[
        Literal["holes", "lines"] | None,
        Field(
            description="Measure holes or lines in every picture and in the reference: bias and "
            "spread of the CD, bias of the roughness, missed and false ones.",
        ),
    ] = None


class AlignParameters(Parameters):
    """Parameters of ``align``."""

    method: Annotated[
        Literal["phase", "psnr"],
        Field(
            description="How shifts are found: phase is cross-correlation to a fraction of a "
            "pixel, psnr the whole pixels of highest PSNR."
        ),
    ] = "phase"
    reference: Annotated[
        Literal["first", "mean"],
        Field(description="What frames are laid on: the first one, or the mean of the others."),
    ] = "first"
    crop: Annotated[
        Literal["common", "keep"],
        Field(description="Cut what not all frames show, or keep the size."),
    ] = "common"
    average: Annotated[
        bool, Field(description="Write the mean of the aligned frames, as float32.")
    ] = False
    whole_pixels: Annotated[
        bool,
        Field(
            description="Move by whole pixels only, which keeps the noise as it is: for "
            "training on noisy frames and for noise diagnosis."
        ),
    ] = False
    max_shift_px: Annotated[
        float,
        Field(
            ge=1,
            allow_inf_nan=False,
            description="Largest shift in y and in x to look for.",
            json_schema_extra={"metavar": "PX"},
        ),
    ] = 40.0


def _denoise(parameters: DenoiseParameters) -> Run:
    from everhart.restore import make_denoiser

    denoiser = make_denoiser(**parameters.model_dump())

    def run(images: Sequence[Micrograph], _: Mapping[str, Micrograph]) -> Outcome:
        restored = tuple(denoiser(image) for image in images)
        return Outcome(restored, tuple(image.history[-1].to_dict() for image in restored))

    return run


def _noise(_: NoiseParameters) -> Run:
    from everhart.noise import diagnose

    def run(images: Sequence[Micrograph], roles: Mapping[str, Micrograph]) -> Outcome:
        reference = roles.get("reference")
        reports = [diagnose(image, reference=reference) for image in images]
        return Outcome(results=tuple(report.to_dict() for report in reports))

    return run


def _compare(parameters: CompareParameters) -> Run:
    from everhart.report import compare, render_html
    from everhart.report.methods import check_methods

    check_methods(parameters.methods)

    def run(images: Sequence[Micrograph], roles: Mapping[str, Micrograph]) -> Outcome:
        comparison = compare(
            list(images),
            parameters.methods,
            reference=roles.get("reference"),
            second_frame=roles.get("second_frame"),
            alignment=parameters.alignment,
            data_range=parameters.data_range,
            device=parameters.device,
            one_field=parameters.one_field,
            turns=parameters.turns,
            measure=parameters.measure,
        )
        return Outcome(
            results=tuple(image.to_dict() for image in comparison.images),
            documents={"report.html": render_html(comparison)},
        )

    return run


def _align(parameters: AlignParameters) -> Run:
    from everhart.align import align_frames

    def run(images: Sequence[Micrograph], _: Mapping[str, Micrograph]) -> Outcome:
        aligned = align_frames(images, **parameters.model_dump())
        entry = aligned.image.history[-1].to_dict()
        result = {**entry, "border_px": list(aligned.border_px), "frames": aligned.table()}
        return Outcome((aligned.image,), (result,))

    return run


OPERATIONS: Final[Mapping[str, Operation[Any]]] = {
    operation.name: operation
    for operation in (
        Operation("denoise", "Take the noise out of an image.", DenoiseParameters, _denoise),
        Operation(
            "noise", "Say what the noise of an image is.", NoiseParameters, _noise, ("reference",)
        ),
        Operation(
            "compare",
            "Show methods side by side, with pictures and metrics.",
            CompareParameters,
            _compare,
            ("reference", "second_frame"),
        ),
        Operation("align", "Lay frames of one field on each other.", AlignParameters, _align),
        *MEASUREMENTS,
        SEGMENT,
    )
}
"""Every operation by name."""


def get_operation(name: str) -> Operation[Any]:
    """Return an operation by name.

    Parameters
    ----------
    name
        Name of the operation.

    Returns
    -------
    Operation
        The entry of :data:`OPERATIONS`.

    Raises
    ------
    UsageError
        If there is none of this name; the nearest one is offered.

    Examples
    --------
    >>> get_operation("denoise").summary
    'Take the noise out of an image.'
    """
    try:
        return OPERATIONS[name]
    except KeyError:
        raise unknown_name("operation", name, OPERATIONS) from None
