"""The measurements: an operation for each kind.

To add one, write its parameters, named and with the defaults of the function ``KIND`` in the
module ``everhart.measure.KIND``, and one line in :data:`MEASUREMENTS`. The command
``everhart measure KIND`` follows from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from everhart.errors import UsageError
from everhart.micrograph import Micrograph
from everhart.operations.base import Operation, Outcome, Parameters, Run

__all__ = [
    "FURTHER_TABLES",
    "MEASUREMENTS",
    "PREFIX",
    "DefectsParameters",
    "HolesParameters",
    "LayersParameters",
    "LinesParameters",
    "MeasureParameters",
    "ParticlesParameters",
]

PREFIX: Final = "measure-"
"""What the names of these operations begin with; the kind follows."""

FURTHER_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "holes": ("lattice",),
    "lines": ("psd", "psd_lwr"),
    "layers": ("interfaces",),
    "particles": (),
    "defects": ("limits",),
}
"""What tables a measurement may make beside that of its objects, by its kind."""


def _numbers(value: Any) -> Any:
    """Take numbers with commas between them as a list of numbers."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError:
        raise ValueError("Give numbers with commas between them") from None


class MeasureParameters(Parameters):
    """What all measurements ask for."""

    unit: Annotated[
        Literal["nm", "px"],
        Field(description="Unit of the table: nm, or px for images without a pixel size."),
    ] = "nm"


class HolesParameters(MeasureParameters):
    """Parameters of ``measure-holes``."""

    radius_px: Annotated[
        tuple[float, float] | None,
        BeforeValidator(_numbers),
        Field(
            description="Smallest and largest radius to look for, such as 20,40; all from 4 pixels "
            "on if nothing is said.",
            json_schema_extra={"metavar": "MIN,MAX"},
        ),
    ] = None
    polarity: Annotated[
        Literal["dark", "bright"],
        Field(description="Holes are darker than their edge; pillars and dots are brighter."),
    ] = "dark"
    edge: Annotated[
        Literal["half", "model"],
        Field(
            description="Where a hole ends: half is half way up the edge, model the edge of a "
            "model of wall and rim that takes the blur out."
        ),
    ] = "half"
    detector_taps: Annotated[
        tuple[float, ...] | None,
        BeforeValidator(_numbers),
        Field(
            description="The detector's causal filter along the scan line, such as 0.6,0.4: the "
            "shift that it makes is taken out of x.",
            json_schema_extra={"metavar": "A,B,..."},
        ),
    ] = None


class LinesParameters(MeasureParameters):
    """Parameters of ``measure-lines``."""

    direction: Annotated[
        Literal["auto", "vertical", "horizontal"],
        Field(description="Which way the lines run; auto finds it."),
    ] = "auto"
    polarity: Annotated[
        Literal["bright", "dark"],
        Field(description="Whether lines are brighter or darker than the spaces between them."),
    ] = "bright"


_Labels = Annotated[
    bool, Field(description="The input is a label image: each value is one object or layer.")
]


class LayersParameters(MeasureParameters):
    """Parameters of ``measure-layers``."""

    labels: _Labels = False
    direction: Annotated[
        Literal["auto", "horizontal", "vertical"],
        Field(description="Which way the layers run; auto finds it."),
    ] = "auto"


class ParticlesParameters(MeasureParameters):
    """Parameters of ``measure-particles``."""

    labels: _Labels = False
    polarity: Annotated[
        Literal["auto", "bright", "dark"],
        Field(description="Whether particles are brighter or darker than what is around them."),
    ] = "auto"
    min_diameter_px: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Smallest particle that counts.",
            json_schema_extra={"metavar": "PX"},
        ),
    ] = 6.0


class DefectsParameters(MeasureParameters):
    """Parameters of ``measure-defects``."""

    false_alarms: Annotated[
        float,
        Field(
            ge=1e-6, le=10, description="Alarms by chance that an image without defects may have."
        ),
    ] = 0.01


def _measurement(
    kind: str, summary: str, parameters: type[MeasureParameters], roles: tuple[str, ...] = ()
) -> Operation[MeasureParameters]:
    """Make the operation of one kind; images in roles become keywords of its function."""

    def prepare(values: MeasureParameters) -> Run:
        measure = getattr(import_module(f"everhart.measure.{kind}"), kind)
        keywords = dict(values)

        def run(images: Sequence[Micrograph], given: Mapping[str, Micrograph]) -> Outcome:
            found = tuple(measure(_one_field(image), **keywords, **given) for image in images)
            return Outcome(results=tuple(dict(m.summary) for m in found), measurements=found)

        return run

    return Operation(PREFIX + kind, summary, parameters, prepare, roles)


def _one_field(image: Micrograph) -> Micrograph:
    """Take a stack of one frame as the image that it is; refuse others, which nobody aligned."""
    if image.ndim == 2:
        return image
    if image.n_frames > 1:
        raise UsageError(
            f"A stack of {image.n_frames} frames was given: measurements are made on one image; "
            "average it first (everhart align STACK -o mean.tif --average), or measure its frames."
        )
    from dataclasses import replace

    return replace(image, pixels=image.pixels[0])


MEASUREMENTS: Final = (
    _measurement(
        "holes",
        "Measure holes: position, CD, ellipticity, roughness, and the lattice that they make.",
        HolesParameters,
    ),
    _measurement(
        "lines",
        "Measure lines: CD, pitch, LWR and LER without the noise of finding edges.",
        LinesParameters,
    ),
    _measurement(
        "layers",
        "Measure the layers of a cross-section: thickness and rough interfaces.",
        LayersParameters,
    ),
    _measurement(
        "particles",
        "Measure particles: area, diameter, shape, and the distribution of their sizes.",
        ParticlesParameters,
    ),
    _measurement(
        "defects",
        "Find defects of lines or arrays: what differs from the pattern's own period, or from "
        "--reference.",
        DefectsParameters,
        ("reference",),
    ),
)
"""The operations ``measure-KIND``, in the order of the help."""
