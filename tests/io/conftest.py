"""Files that microscopes could have written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FEI_TEXT = """[User]
Date=08/09/2021
Time=04:14:04 PM
[System]
SystemType=Quanta FEG
[Beam]
HV=10000
Beam=EBeam
Scan=EScan
[EBeam]
WD=0.0100446
BeamCurrent=5e-11
TiltCorrectionIsOn=no
[Scan]
PixelWidth={width}
PixelHeight={height}
[EScan]
Dwell=1e-07
PixelWidth={width}
PixelHeight={height}
LineIntegration=50
[Stage]
StageX=-0.000259875
StageT=0.5235987756
WorkingDistance=0.0100446
[Image]
ResolutionX=64
ResolutionY={rows}
[Detectors]
Number=1
Name=ETD
Mode=SE
[ETD]
Signal=SE
[PrivateFei]
DatabarHeight=8
TimeOfCreation=09.08.2021 16:14:04
"""


@pytest.fixture
def levels(rng: np.random.Generator) -> np.ndarray:
    """Noise of 48 x 64 pixels, uint8."""
    return rng.integers(0, 256, (48, 64), dtype=np.uint8)


@pytest.fixture
def write_fei(tmp_path: Path, levels: np.ndarray) -> Callable[..., Path]:
    """Write a TIFF with FEI's tag."""

    def write(
        *, width: Any = 5.82813e-09, height: Any = 5.82813e-09, rows: int = 40, code: int = 34682,
        text: str | None = None, **options: Any,
    ) -> Path:  # fmt: skip
        import tifffile

        if text is None:
            text = FEI_TEXT.format(width=width, height=height, rows=rows)
        path = tmp_path / "fei.tif"
        tag = (code, "s", 0, text.replace("\n", "\r\n"), True)
        tifffile.imwrite(path, levels, metadata=None, extratags=[tag], **options)
        return path

    return write
