"""The wafer of the ReNIn study: simulated NAND scenes imaged with 1 to 64 frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.io import read, write
from everhart.io.atomic import write_text
from everhart.micrograph import Micrograph
from everhart.simulate import Microscope
from everhart.simulate.components import (
    Beam,
    BrightnessDrift,
    Charging,
    Converter,
    Detector,
    Dose,
    Scan,
)
from everhart.simulate.presets import preset_parts
from everhart.simulate.scenes import simulate

__all__ = ["TEST_SCENES", "TestImage", "Wafer", "make_wafer", "wafer_microscope"]

TRAINING_SCENES = 5
TEST_SCENES: Mapping[str, str | dict[str, float]] = {
    "normal": "normal",
    "different A": {"oval": 0.5, "dented": 0.5},
    "different B": {"faint-ring": 0.5, "oval": 0.25, "dented": 0.25},
}
"""The three test images, and the kinds of their 108 holes."""

FRAME_COUNTS = (1, 1, 2, 4, 8, 16, 32, 64)
"""Images of every scene: each of its own shots, so that no two share noise."""


def wafer_microscope() -> Microscope:
    """Return the microscope of the study.

    Noise as strong as in the paper: a 3 x 3 median filter of one frame has about 20 dB. It is
    correlated along the scan line as in the preset fitted to real pairs; frames drift, charge
    and change in brightness. The drift smears a mean of 64 frames by less than a pixel: were it
    more, clean targets would be blurred ones, as an unregistered mean is.
    """
    return Microscope(
        beam=Beam(0.8),
        charging=Charging(0.1, 30.0),
        brightness_drift=BrightnessDrift(0.01),
        scan=Scan(drift_px=0.01, jitter_px=0.1),
        dose=Dose(4.0),
        detector=Detector(
            preset_parts("tin-balls")["detector"].taps, readout_sigma=3.0, row_offset_sigma=1.0
        ),
        converter=Converter(8, black=30, white=200),
        name="wafer",
    )


@dataclass(frozen=True)
class TestImage:
    """An image that methods are judged on.

    Parameters
    ----------
    name
        Its name in the tables.
    frames
        The image by its frame count: ``frames[1]`` is one shot.
    clean
        What each would be without noise: the same drift, jitter and brightness.
    holes
        Truth of the holes: ``y_px, x_px, diameter_px`` and more.
    """

    __test__ = False  # the name is no pytest class

    name: str
    frames: Mapping[int, Micrograph]
    clean: Mapping[int, NDArray[np.float32]]
    holes: pd.DataFrame


@dataclass(frozen=True)
class Wafer:
    """The data of a study on disk: ``train/scene_k/Fnn_mmm.tif`` and ``test/``."""

    folder: Path

    @property
    def training_folder(self) -> Path:
        """Folder of the training scenes, as the ``frames`` data source reads it."""
        return self.folder / "train"

    def test_images(self) -> list[TestImage]:
        """Read the test images."""
        images = []
        for name in TEST_SCENES:
            folder = self.folder / "test" / name.replace(" ", "_")
            counts = sorted({*FRAME_COUNTS})
            images.append(
                TestImage(
                    name,
                    {n: read(folder / f"F{n:02d}_000.tif") for n in counts},
                    {n: read(folder / f"clean_F{n:02d}.tif").pixels for n in counts},
                    pd.read_csv(folder / "holes.csv"),
                )
            )
        return images


def make_wafer(folder: Path, shape: tuple[int, int], seed: int) -> Wafer:
    """Simulate the eight scenes, or go on where it was stopped.

    Parameters
    ----------
    folder
        Where they go.
    shape
        ``(H, W)`` of each image; each has 108 holes whatever the shape.
    seed
        Seed of scenes and noise.

    Returns
    -------
    Wafer
        The data.
    """
    record = {"shape": list(shape), "seed": seed, "microscope": wafer_microscope().to_dict()}
    done = folder / "wafer.json"
    if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == _plain(record):
        return Wafer(folder)
    kinds: list[tuple[str, str, str | dict[str, float]]]
    kinds = [("train", f"scene_{n}", "normal") for n in range(TRAINING_SCENES)]
    kinds += [("test", name.replace(" ", "_"), kind) for name, kind in TEST_SCENES.items()]
    for number, (part, name, kind) in enumerate(kinds):
        scene_folder = folder / part / name
        scene_folder.mkdir(parents=True, exist_ok=True)
        _expose(scene_folder, shape, [seed, number], kind, with_truth=part == "test")
    write_text(done, json.dumps(_plain(record), indent=2) + "\n", overwrite=True)
    return Wafer(folder)


def _expose(
    folder: Path,
    shape: tuple[int, int],
    seed: list[int],
    kind: str | dict[str, float],
    *,
    with_truth: bool,
) -> None:
    rng = np.random.default_rng(seed)
    scene = simulate("nand", shape=shape, rng=rng, kind=kind)
    microscope = wafer_microscope()
    seen: dict[int, int] = {}
    for count in FRAME_COUNTS:
        copy = seen[count] = seen.get(count, -1) + 1
        image, clean = microscope.expose(scene, rng, count, return_clean=True)
        write(image, folder / f"F{count:02d}_{copy:03d}.tif", overwrite=True)
        if with_truth and copy == 0:
            write(clean, folder / f"clean_F{count:02d}.tif", overwrite=True)
    if with_truth:
        text = scene.truth.tables["holes"].to_csv(index=False, lineterminator="\n")
        write_text(folder / "holes.csv", text, overwrite=True)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as JSON gives it back, to be compared."""
    back: dict[str, Any] = json.loads(json.dumps(record))
    return back
