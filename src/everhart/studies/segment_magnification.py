"""Segmentation at another magnification than that of the training: what is lost, and what helps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from everhart.io import read, write
from everhart.io.atomic import write_text
from everhart.metrics.segmentation import class_scores
from everhart.micrograph import Micrograph
from everhart.nn.unet import UNetConfig
from everhart.studies.segment import digest_of, trained_segmentation
from everhart.studies.segment_table import interval
from everhart.studies.study import Progress, Scale

__all__ = ["MagnificationStudy"]

_CLASSES: Final = ("fill", "metal", "high-k", "oxide", "substrate", "trench oxide")
_TRAINED_NM: Final = 0.4
_FIELD_NM: Final = 102.4


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    `networks` are widths by name: the deeper one sees further. `tested_nm` are the pixel sizes of
    the images that judge.
    """

    networks: Mapping[str, tuple[int, ...]]
    tested_nm: tuple[float, ...]
    images: int
    steps: int
    batch: int
    crop_px: int


_SIZES: Final = {
    "smoke": _Size({"2 levels": (8, 16)}, (0.4, 0.8), 2, 6, 2, 32),
    "cpu": _Size(
        {"2 levels": (32, 64), "4 levels": (32, 64, 128, 256)}, (0.2, 0.3, 0.4, 0.6, 0.8), 4, 300,
        4, 128,
    ),
    "gpu": _Size(
        {"2 levels": (32, 64), "4 levels": (32, 64, 128, 256)}, (0.2, 0.3, 0.4, 0.6, 0.8), 20,
        4000, 16, 128,
    ),
}  # fmt: skip

_TRAININGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "at one size": {},
    "with magnifications of 0.5 to 2": {"augmentation": {"zoom": [0.5, 2.0]}},
    "brought to one size at use": {"common_pixel_size_nm": _TRAINED_NM},
}


@dataclass(frozen=True)
class MagnificationStudy:
    """One pixel size to learn from, others to be judged by."""

    name: str = "segment-magnification"
    title: str = "segmentation at another pixel size than that of the training"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train every network in every way at one pixel size, and judge at all."""
        size = _SIZES[scale.name]
        results = folder / self.name
        cells = results / "cells"
        cells.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        learned = _images(results / "data", _TRAINED_NM, size.images, first=0)
        for seed in range(seeds or 1):
            for name, widths in size.networks.items():
                for training, settings in _TRAININGS.items():
                    config = _config(learned, widths, settings, size, seed)
                    key = f"{name}_{training}_{seed}_{digest_of(config)}".replace(" ", "-")
                    path = cells / f"{key}.json"
                    if not path.is_file():
                        progress(f"{self.name}: {name}, {training}, seed {seed}")
                        model = trained_segmentation(config, results / "models")
                        found = {
                            f"{nm:g}": _judge(model, results / "data", nm, size.images)
                            for nm in size.tested_nm
                        }
                        row = {
                            "network": name, "training": training, "seed": seed,
                            "radius_px": UNetConfig(widths=widths).receptive_radius,
                            "mean_iou": found,
                        }  # fmt: skip
                        write_text(path, json.dumps(row, indent=2) + "\n", overwrite=True)
                    rows.append(json.loads(path.read_text(encoding="utf-8")))
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows), overwrite=True)
        return record


def _images(folder: Path, nm: float, count: int, *, first: int) -> Path:
    """Write images of one field in nm at a pixel size, with their labels."""
    from everhart.simulate import Camera, simulate

    place = folder / f"{nm:g}nm"
    edge = round(_FIELD_NM / nm)
    for number in range(first, first + count):
        name = f"stack_{number:03d}.tif"
        if (place / "images" / name).is_file():
            continue
        rng = np.random.default_rng([78, number])
        scene = simulate("stack", shape=(edge, edge), pixel_size_nm=nm, rng=rng)
        image = Camera().expose(scene, rng, 1)
        assert isinstance(image, Micrograph)
        labels = Micrograph(scene.truth.labels.astype(np.uint8), scene.pixel_size_nm)
        for what, pixels in (("labels", labels), ("images", image)):
            (place / what).mkdir(parents=True, exist_ok=True)
            write(pixels, place / what / name, overwrite=True)
    return place


def _config(
    learned: Path, widths: tuple[int, ...], settings: Mapping[str, Any], size: _Size, seed: int
) -> dict[str, Any]:
    return {
        "task": "segment",
        "seed": seed,
        "data": {"folder": str(learned.resolve())},
        "train": {"blocks": [[0, size.images - 1]]},
        "classes": {name: number for number, name in enumerate(_CLASSES)},
        "crop_px": size.crop_px,
        "network": {"widths": list(widths)},
        "augmentation": {},
        "optimiser": {
            "steps": size.steps,
            "batch_size": size.batch,
            "steps_per_epoch": max(1, size.steps // 3),
            "warmup_steps": min(20, size.steps // 4),
            "ema_decay": 0.98,
            "threads": 1,
        },
        **settings,
    }


def _judge(model: Path, data: Path, nm: float, count: int) -> float:
    """Return the mean IoU on fields that were not learned from, at a pixel size."""
    from everhart.segment.segmenter import Segmenter

    # Numbers after those of the training: other fields.
    place = _images(data / "judged", nm, max(2, count // 2), first=100)
    segmenter = Segmenter.load(model)
    said, true = [], []
    for file in sorted((place / "images").iterdir()):
        image = read(file)
        said.append(segmenter.segment(image.pixels, pixel_size_nm=image.pixel_size_nm).classes)
        true.append(read(place / "labels" / file.name).pixels)
    return class_scores(said, true, len(_CLASSES)).mean_iou


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = list(rows[0]["mean_iou"])
    head = ["network", "sees", "training", *(f"{nm} nm/px" for nm in sizes)]
    lines = [
        f"# {title}",
        "",
        f"Mean IoU; trained at {_TRAINED_NM:g} nm per pixel.",
        "",
        f"| {' | '.join(head)} |",
        "| --- | ---: | --- |" + " ---: |" * len(sizes),
    ]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["training"]), []).append(row)
    for (network, training), cells in groups.items():
        figures = [interval([cell["mean_iou"][nm] for cell in cells]) for nm in sizes]
        line = [network, f"{cells[0]['radius_px']} px", training, *figures]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join([*lines, ""])
