"""The study `defects`: what every denoiser does to small defects on known patterns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io.atomic import write_text
from everhart.metrics.defects import DefectScores, score_defects
from everhart.restore.names import CLASSICAL, SHIPPED
from everhart.studies.defects_table import figures_of, markdown, write_curve
from everhart.studies.planting import Specimen, inspection_microscope, make_specimen
from everhart.studies.study import Progress, Scale

__all__ = ["DefectStudy"]

Image = NDArray[np.float32]

RAW: Final = "raw"
"""The method that the others are compared with."""

SCENES: Final = ("lines", "nand", "particles")

KINDS: Final[Mapping[float, tuple[float, ...]]] = {
    1.0: (0.15, 0.2, 0.27, 0.36, 0.48, 0.63, 0.8, 1.0),
    2.0: (0.08, 0.11, 0.15, 0.2, 0.28, 0.38, 0.5, 0.65),
    4.0: (0.04, 0.055, 0.075, 0.1, 0.14, 0.2, 0.3, 0.45),
}
"""Contrasts of the planted lumps by their radius in px: from unseen to plain in the raw image."""


@dataclass(frozen=True)
class _Size:
    """How much is simulated: side of the square images, images of a specimen, seeds."""

    side_px: int
    placements: int
    seeds: int


_SIZES: Final = {
    "smoke": _Size(256, 3, 1),
    "cpu": _Size(512, 3, 2),
    "gpu": _Size(1024, 4, 4),
}


@dataclass(frozen=True)
class _Method:
    """A row: a denoiser (None: the image as it is) on the mean of some frames."""

    name: str
    denoiser: str | None
    shots: int = 1


METHODS: Final = (
    _Method(RAW, None),
    *(_Method(name, name) for name in (*CLASSICAL, *SHIPPED)),
    _Method("4 frames", None, 4),
    *(_Method(f"4 frames, {name}", name, 4) for name in SHIPPED),
)


@dataclass(frozen=True)
class DefectStudy:
    """Planted lumps of falling contrast and size, before and after every denoiser."""

    name: str = "defects"
    title: str = "small defects: contrast kept, found at equal false alarms, made up"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Run it, or go on; ``curve.png`` is written beside the table.

        Of the scale only the name counts: images are squares of 256, 512 or 1024 px.
        """
        size = _SIZES[scale.name]
        results = folder / self.name
        cells = results / "cells"
        cells.mkdir(parents=True, exist_ok=True)
        scores: dict[str, dict[str, list[DefectScores]]] = {}
        for seed in range(seeds if seeds is not None else size.seeds):
            for number, scene in enumerate(SCENES):
                paths = {m.name: cells / f"{_file_name(m)}_{scene}_{seed}.json" for m in METHODS}
                if not all(path.is_file() for path in paths.values()):
                    progress(f"{self.name}: {scene}, seed {seed}")
                    self._fill(paths, scene, [seed, number], size, progress)
                for method, path in paths.items():
                    read = DefectScores.from_dict(json.loads(path.read_text(encoding="utf-8")))
                    scores.setdefault(method, {}).setdefault(scene, []).append(read)
        record = {
            "study": self.name,
            "title": self.title,
            "scale": scale.name,
            "side_px": size.side_px,
            "microscope": inspection_microscope().to_dict(),
            **figures_of(scores, RAW),
        }
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        write_text(results / "results.json", text, overwrite=True)
        write_text(results / "table.md", markdown(self, record), overwrite=True)
        write_curve(record, results / "curve.png")
        as_stored: dict[str, Any] = json.loads(text)
        return as_stored

    def _fill(
        self,
        paths: Mapping[str, Path],
        scene: str,
        seed: list[int],
        size: _Size,
        progress: Progress,
    ) -> None:
        """Compute the cells of one specimen that are missing."""
        rng = np.random.default_rng(seed)
        shape = (size.side_px, size.side_px)
        specimen = make_specimen(scene, shape, rng, placements=size.placements, kinds=KINDS)
        exposed: dict[int, tuple[list[Image], list[Image]]] = {}
        for method in METHODS:
            path = paths[method.name]
            if path.is_file():
                continue
            progress(f"{self.name}: {scene}, seed {seed[0]}, {method.name}")
            if method.shots not in exposed:
                # Its own source: an image does not depend on which cells were there already.
                shots_rng = np.random.default_rng([*seed, method.shots])
                exposed[method.shots] = specimen.expose(shots_rng, method.shots)
            found = _judge(method, specimen, *exposed[method.shots])
            write_text(path, json.dumps(found.to_dict()) + "\n", overwrite=True)


def _judge(
    method: _Method, specimen: Specimen, images: list[Image], blanks: list[Image]
) -> DefectScores:
    denoise: Callable[[Image], Image] = lambda image: image  # noqa: E731
    if method.denoiser is not None:
        from everhart.restore import make_denoiser

        denoise = make_denoiser(method.denoiser)
    return score_defects(
        specimen.trial, [denoise(image) for image in images], [denoise(blank) for blank in blanks]
    )


def _file_name(method: _Method) -> str:
    return method.name.replace(", ", "_").replace(" ", "-")
