"""A model that was trained too long, before the finder of copies, and one that stopped before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io import image_paths, read
from everhart.io.atomic import write_text
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import stack_images
from everhart.studies.synthesis_runs import trained

if TYPE_CHECKING:
    from everhart.synthesize.generator import Generator

__all__ = ["MemoryStudy", "area_under_curve"]

Float32 = NDArray[np.float32]

_SEED: Final = 11


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale; both trainings may take `steps`, one of them does."""

    size_px: int
    widths: tuple[int, ...]
    learned: int
    held_out: int
    steps: int
    epoch: int
    made: int
    draw_steps: int


_SIZES: Final = {
    "smoke": _Size(16, (8, 16), 2, 2, 30, 10, 6, 8),
    "cpu": _Size(32, (32, 64), 4, 8, 2500, 100, 32, 50),
    "gpu": _Size(128, (64, 128, 192), 15, 16, 60_000, 500, 128, 250),
}


@dataclass(frozen=True)
class MemoryStudy:
    """One training without an end, and the same one that stops by held-out images.

    Neither has augmentation: it is what keeps a model from learning a few images by heart.
    """

    name: str = "ddpm-memory"
    title: str = "a model that was trained too long, as the finder of copies sees it"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train both, draw from both, and compare what their images share with the training's."""
        from everhart.synthesize.generator import Generator

        size = _SIZES[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        for seed in range(seeds or 1):
            place = results / f"seed-{seed}"
            count = size.learned + size.held_out
            images = stack_images(place / "images", count, size.size_px, _SEED + seed)
            real = stack_images(place / "real", size.made, size.size_px, _SEED + seed, first=1000)
            made: dict[str, Generator] = {}
            for name, stops in (("stopped", True), ("overtrained", False)):
                progress(f"{self.name}: {name}, seed {seed}")
                made[name] = Generator.load(
                    trained(_config(size, images, seed, stops=stops), place / name)
                )
            rows += _compared(made, images, real, size, place, seed)
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows), overwrite=True)
        return record


def _config(size: _Size, images: Path, seed: int, *, stops: bool) -> dict[str, Any]:
    optimiser = {
        "steps": size.steps,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "warmup_steps": min(50, size.steps // 4),
        "ema_decay": 0.99,
        "steps_per_epoch": size.epoch,
        "threads": 1,
    }
    if stops:
        optimiser |= {"keep_best": True, "patience": 5}
    return {
        "task": "diffusion",
        "seed": seed,
        # Both learn from the same images: those that judge are held out from either.
        "data": {"folder": str(images), "held_out": size.held_out},
        "network": {"widths": list(size.widths), "stem": 2},
        "optimiser": optimiser,
        "name": "stopped" if stops else "overtrained",
    }


def _compared(
    models: Mapping[str, Generator], images: Path, real: Path, size: _Size, place: Path, seed: int
) -> list[dict[str, Any]]:
    import pandas as pd

    from everhart.synthesize.copies import find_copies, likeness
    from everhart.synthesize.training_images import hash_of

    grey = models["stopped"].grey
    known = set((models["stopped"].header.card.model_extra or {})["learned_sha256"])
    raw = [np.asarray(read(path).pixels) for path in image_paths([str(images)])]
    learned = [grey.normalise(image) for image in raw if hash_of(image) in known]
    others = [grey.normalise(np.asarray(read(p).pixels)) for p in image_paths([str(real)])]
    sets = {
        name: [grey.normalise(i.pixels) for i in model.synthesize(size.made, steps=size.draw_steps)]
        for name, model in models.items()
    }
    sets["real"] = others
    scores = {name: likeness(made, learned)[0].max(axis=1) for name, made in sets.items()}
    rows = []
    for name, model in models.items():
        metrics = model.header.card.metrics
        curve = pd.read_csv(place / name / "curves.csv")
        others_of = {other: of for other, of in scores.items() if other != name}
        rows.append(
            {
                "model": name,
                "seed": seed,
                "steps": int(curve["step"].iloc[-1]),
                "kept_step": int(metrics.get("best_step", curve["step"].iloc[-1])),
                "held_out_loss": float(metrics["validation_loss"]),
                "likeness": float(np.median(scores[name])),
                "copies_percent": 100 * find_copies(sets[name], learned, others).share,
                "auroc": {o: area_under_curve(scores[name], of) for o, of in others_of.items()},
            }
        )
    return rows


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return how often a value of the first is above one of the second.

    Examples
    --------
    >>> area_under_curve([2, 3], [1, 2])
    0.875
    """
    above, below = np.asarray(positive)[:, None], np.asarray(negative)[None]
    return float(np.mean((above > below) + 0.5 * (above == below)))


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"# {title}", "",
        "| model | seed | steps | weights of step | held-out loss | likeness | copies % "
        "| AUROC against real | AUROC against the other |",
        "| --- |" + " ---: |" * 8,
    ]  # fmt: skip
    for row in rows:
        other = next(value for name, value in row["auroc"].items() if name != "real")
        lines.append(
            f"| {row['model']} | {row['seed']} | {row['steps']} | {row['kept_step']} | "
            f"{row['held_out_loss']:.4f} | {row['likeness']:.3f} | {row['copies_percent']:.0f} | "
            f"{row['auroc']['real']:.3f} | {other:.3f} |"
        )
    return "\n".join([*lines, ""])
