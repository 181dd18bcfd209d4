"""Make the picture of the README: noisy, restored and true, with planted defects.

    python scripts/make_readme_picture.py [-o docs/assets/demo.png] [--model NAME_OR_FILE]

Two specimens are drawn, with defects in them. The microscope preset `tin-balls` images each of
them once, and the model restores the image. The crop of each row is centred on its defects; the
seeds are chosen such that both fit into it, and for nothing else. The figures are those of the
whole image, data range 255.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import everhart as eh
from everhart.metrics import psnr
from everhart.report.sheet import side_by_side
from everhart.simulate import Microscope

PANEL_PX = 300
SHAPE = (480, 720)


@dataclass(frozen=True)
class Specimen:
    """A row of the picture."""

    scene: str
    defects: tuple[str, ...]
    seed: int


SPECIMENS = (
    Specimen("nand", ("missing_hole", "particle"), seed=34),
    Specimen("lines", ("bridge", "break"), seed=3),
)


def row(specimen: Specimen, model: str | None) -> NDArray[np.uint8]:
    """Image and restore a specimen, and lay the crops around its defects side by side."""
    rng = np.random.default_rng(specimen.seed)
    scene = eh.simulate(specimen.scene, shape=SHAPE, rng=rng, defects=specimen.defects)
    noisy, clean = Microscope.preset("tin-balls").expose(scene, rng, return_clean=True)
    restored = eh.denoise(noisy, model=model)
    truth = np.clip(np.rint(clean.pixels), 0, 255).astype(np.uint8)

    centre = scene.truth.tables["defects"][["y_px", "x_px"]].mean()
    corner = (
        int(np.clip(round(middle) - PANEL_PX // 2, 0, length - PANEL_PX))
        for middle, length in zip(centre, SHAPE, strict=True)
    )
    window = tuple(slice(start, start + PANEL_PX) for start in corner)

    def figures(image: NDArray[np.uint8]) -> str:
        return f"PSNR {psnr(image, truth, data_range=255):.1f} dB"

    shown = (
        ("noisy", figures(noisy.pixels), noisy.pixels),
        ("restored", figures(restored.pixels), restored.pixels),
        ("truth", ", ".join(specimen.defects).replace("_", " "), truth),
    )
    return side_by_side([(title, line, picture[window]) for title, line, picture in shown])


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/assets/demo.png"))
    parser.add_argument("--model", help="name or file of a model; the shipped one by default")
    arguments = parser.parse_args()
    picture = np.vstack([row(specimen, arguments.model) for specimen in SPECIMENS])
    eh.write(picture, arguments.output, overwrite=True)
    print(f"{arguments.output}: {picture.shape[1]} x {picture.shape[0]} pixels")


if __name__ == "__main__":
    main()
