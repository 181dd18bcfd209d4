"""Hitachi: the text beside SEM images."""

from __future__ import annotations

import re

from everhart.io.vendors.values import (
    VendorData,
    ini_tree,
    iso_time,
    known,
    length_nm,
    number,
    quantity,
    times,
)

__all__ = ["from_hitachi", "is_hitachi"]

# Width of the print that the magnification is that of.
_PRINT_NM = 127e6

_SECTION = re.compile(r"^\s*\[(Sem|Tem)ImageFile\]", re.MULTILINE | re.IGNORECASE)


def is_hitachi(text: str) -> bool:
    """Say whether a text is the one beside a Hitachi image."""
    return _SECTION.search(text) is not None


def from_hitachi(text: str) -> VendorData:
    """Understand the ``.txt`` beside an image of a Hitachi SEM, such as S-4800 or TM4000.

    Parameters
    ----------
    text
        Under ``[SemImageFile]``, lines such as ``PixelSize=9.921875``.

    Notes
    -----
    The pixel size and the stage are in nm, the working distance in um where no unit is given
    [1]_ [2]_. Older instruments (S-4700) tell the magnification alone, which is that of a print
    127 mm wide; newer ones tell a pixel size that is the same to the last digit.

    References
    ----------
    .. [1] https://docs.openmicroscopy.org/bio-formats/latest/formats/hitachi-s-4800.html
    .. [2] https://github.com/IMBalENce/EM-tool
    """
    tree = ini_tree(text)
    said = {
        name.casefold(): value
        for branch in tree.values()
        for name, value in branch.items()
        if value != ""
    }
    magnification = number(said.get("magnification"))
    common = known(
        instrument=said.get("instructname") or said.get("instrumentname"),
        beam="electron",
        beam_energy_kev=times(quantity(said.get("acceleratingvoltage"), "V", "Volt"), 1e-3),
        detector=said.get("signalname"),
        working_distance_mm=times(length_nm(said.get("workingdistance"), "um"), 1e-6),
        magnification=magnification,
        acquisition_time=iso_time(f"{said.get('date')} {said.get('time')}"),
        stage=known(
            x_mm=times(length_nm(said.get("stagepositionx"), "nm"), 1e-6),
            y_mm=times(length_nm(said.get("stagepositiony"), "nm"), 1e-6),
            z_mm=times(length_nm(said.get("stagepositionz"), "nm"), 1e-6),
            rotation_deg=number(said.get("stagepositionr")),
            tilt_deg=number(said.get("stagepositiont")),
        ),
    )
    size = None
    if "pixelsize" in said:
        one = length_nm(said["pixelsize"], "nm")
        size = (one, one)
    elif magnification and (columns := _columns(said.get("datasize", ""))):
        one = times(_PRINT_NM, 1 / magnification / columns)
        size = (one, one)
    return VendorData("hitachi", tree, common, size)


def _columns(size: str) -> int | None:
    match = re.fullmatch(r"\s*(\d+)\s*[xX*]\s*\d+\s*", size)
    return int(match[1]) or None if match else None
