"""TESCAN: tag 50431, and the header beside the image."""

from __future__ import annotations

import re

from everhart.io.vendors.values import (
    VendorData,
    count,
    decoded,
    ini_tree,
    iso_time,
    known,
    length_nm,
    number,
    quantity,
    times,
)

__all__ = ["from_tescan", "is_tescan"]

# Names that no other program's header has together.
_NAMES = (
    "PixelSizeX",
    "PixelSizeY",
    "ImageStripSize",
    "ViewFieldsCountX",
    "MagnificationReference",
)
# The tag is binary with text in it: a line of text begins where these bytes are over.
_ENTRY = re.compile(r"(?:^|[^\w.=-])([A-Za-z][A-Za-z0-9]{1,40}=[^\r\n\0]*|\[[A-Z]{2,12}\])")


def is_tescan(text: str) -> bool:
    """Say whether a text is the header beside a TESCAN image."""
    return any(f"{name}=" in text for name in _NAMES) and (
        "[MAIN]" in text or "[SEM]" in text or "TESCAN" in text.upper()
    )


def from_tescan(raw: bytes | str) -> VendorData:
    """Understand TESCAN's header: tag 50431 (binary, with text), or the ``.hdr`` file.

    Parameters
    ----------
    raw
        The tag's bytes, or the file's text.

    Raises
    ------
    ValueError
        If there is no text of TESCAN's in it.

    Notes
    -----
    Lengths are in m, voltages in V. The tag begins with pictures (thumbnails) and has the text
    behind them, without the names of the sections [1]_; the file beside the image has the
    sections ``[MAIN]`` and ``[SEM]``. ``ImageStripSize`` counts the rows of the data bar.

    References
    ----------
    .. [1] https://github.com/FAIRmat-NFDI/pynxtools-em
    """
    text = raw if isinstance(raw, str) else _text_in(raw)
    tree = ini_tree(text)
    said = {name: value for branch in tree.values() for name, value in branch.items()}
    if not any(name in said for name in _NAMES):
        raise ValueError("no entry of TESCAN's")
    energy = said.get("HV") or said.get("AcceleratorVoltage")
    common = known(
        instrument=said.get("DeviceModel") or said.get("Device"),
        software=said.get("SoftwareVersion"),
        beam="ion" if "[FIB]" in text and "[SEM]" not in text else "electron",
        beam_energy_kev=times(quantity(energy, "V"), 1e-3),
        beam_current_pa=times(
            quantity(said.get("BeamCurrent") or said.get("PredictedBeamCurrent"), "A"), 1e12
        ),
        dwell_time_s=quantity(said.get("DwellTime"), "s"),
        frame_integration=count(said.get("AccFrames")),
        detector=said.get("Detector0") or said.get("Detector"),
        working_distance_mm=times(length_nm(said.get("WD"), "m"), 1e-6),
        magnification=number(said.get("Magnification")),
        acquisition_time=iso_time(f"{said.get('Date')} {said.get('Time')}"),
        stage=known(
            x_mm=times(length_nm(said.get("StageX"), "m"), 1e-6),
            y_mm=times(length_nm(said.get("StageY"), "m"), 1e-6),
            z_mm=times(length_nm(said.get("StageZ"), "m"), 1e-6),
            rotation_deg=number(said.get("StageRotation")),
            tilt_deg=number(said.get("StageTilt")),
        ),
    )
    x, y = said.get("PixelSizeX", ""), said.get("PixelSizeY", "")
    size = (length_nm(y or x, "m"), length_nm(x or y, "m")) if x or y else None
    strip = number(said.get("ImageStripSize"))
    return VendorData(
        "tescan", tree, common, size, bar_rows=None if strip is None else max(0, int(strip))
    )


def _text_in(raw: bytes) -> str:
    """Return the lines of text of a binary tag."""
    start = min((at for at in (raw.find(f"{n}=".encode()) for n in _NAMES) if at >= 0), default=-1)
    if start < 0:
        raise ValueError("no text in it")
    # Back to where the bytes are text: a picture has an unprintable byte in any few.
    before = re.search(rb"(?:[\x20-\x7e\xa0-\xff]|\r?\n)*\Z", raw[max(0, start - 4096) : start])
    begin = start - (len(before[0]) if before else 0)
    lines = _ENTRY.findall(decoded(raw[begin : begin + (1 << 20)].replace(b"\0", b"\n")))
    return "\n".join(lines)
