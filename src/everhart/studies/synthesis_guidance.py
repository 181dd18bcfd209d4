"""Guidance: whether samples show what was asked for, as an independent classifier says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io import image_paths, read
from everhart.io.atomic import atomic_path, write_text
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import stack_images
from everhart.studies.synthesis_runs import trained

if TYPE_CHECKING:
    from everhart.studies.synthesis_judge import Judge
    from everhart.synthesize.generator import Generator

__all__ = ["LABELS", "GuidanceStudy", "sliced_distance"]

Float32 = NDArray[np.float32]

_SEED: Final = 41
_JUDGE_SEED: Final = 1041
"""Seed of the images that the judge learns from: no other network sees them."""

LABELS: Final[Mapping[str, Mapping[str, Any]]] = {
    "a-two-fins": {},
    "a-three-fins": {"fins": 3},
    "b-two-fins": {"other": True},
}
"""What the labels stand for: two processes, and two layouts of the first."""

_STRENGTHS: Final = {
    "without a classifier": (1.0, 2.0, 4.0),
    "by a classifier": (1.0, 4.0, 12.0, 30.0),
}
"""A trained classifier is less sure of noisy images than a perfect one, and has to be weighted."""


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale; images are those of one label.

    `learned` of them train generator and guide, `held_out` of all labels together say which weights
    are best, `judging` train the judge, and `made` are drawn for each strength.
    """

    size_px: int
    widths: tuple[int, ...]
    learned: int
    held_out: int
    steps: int
    guide_steps: int
    judging: int
    judge_steps: int
    made: int
    draw_steps: int


_SIZES: Final = {
    "smoke": _Size(16, (8, 16), 4, 3, 30, 20, 12, 40, 4, 6),
    "cpu": _Size(32, (16, 32, 32), 15, 9, 1000, 800, 80, 200, 32, 40),
    "gpu": _Size(128, (64, 128, 192), 15, 9, 40_000, 5000, 400, 2000, 256, 100),
}


@dataclass(frozen=True)
class GuidanceStudy:
    """One generator that knows labels, guided by itself and by a classifier of noisy images."""

    name: str = "ddpm-guidance"
    title: str = "samples of a label, without a classifier and with one, as an independent one sees"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train generator, guide and judge, draw each label at each strength, and judge."""
        from everhart.studies.synthesis_judge import Judge
        from everhart.synthesize.classifier_training import train as train_guide
        from everhart.synthesize.generator import Generator
        from everhart.synthesize.guidance import Guide

        size = _SIZES[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        for seed in range(seeds or 1):
            place = results / f"seed-{seed}"
            count = size.learned + size.held_out // len(LABELS)
            learned = _images(place / "learned", count, size.size_px, _SEED + seed)
            real = _images(place / "real", 2 * size.made, size.size_px, _SEED + seed, first=1000)
            for_judge = _images(place / "judge", size.judging, size.size_px, _JUDGE_SEED + seed)
            progress(f"{self.name}: generator, seed {seed}")
            model = trained(_generator_config(size, learned, seed), place / "generator")
            progress(f"{self.name}: classifier that guides, seed {seed}")
            config = _guide_config(size, learned, model, seed)
            guide = Guide.load(trained(config, place / "guide", train_guide))
            generator = Generator.load(model)
            progress(f"{self.name}: judge, seed {seed}")
            judge = Judge.trained(
                _by_label(generator, for_judge), steps=size.judge_steps, seed=_JUDGE_SEED + seed
            )
            kept = _by_label(generator, real)
            judged = {label: images[: size.made] for label, images in kept.items()}
            others = [images[size.made :] for images in kept.values()]
            progress(f"{self.name}: samples, seed {seed}")
            # Half as many again as are needed: chance does not share them out evenly.
            loose = _drawn(generator, size, size.made * len(LABELS) * 3 // 2, None)
            sets: list[tuple[str, float | None, list[list[Float32]]]] = [
                ("real images", None, others),
                ("no guidance, sorted by the judge", None, _sorted(judge, loose)),
            ]
            for way, by in (("without a classifier", None), ("by a classifier", guide)):
                for strength in _STRENGTHS[way]:
                    made = [
                        _drawn(generator, size, size.made, label, guidance=strength, classifier=by)
                        for label in LABELS
                    ]
                    sets.append((way, strength, made))
                    progress(f"{self.name}: {way}, strength {strength:g}, seed {seed}")
            rows += _rows(sets, list(judged.values()), judge, seed)
            _picture(sets, list(judged.values()), place / "samples.png")
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows), overwrite=True)
        return record


def _images(folder: Path, count: int, size_px: int, seed: int, first: int = 0) -> Path:
    """Write images of each label into a folder of its name."""
    for number, (label, what) in enumerate(LABELS.items()):
        # Scatter of its own, so that nothing but the label tells the labels apart.
        stack_images(folder / label, count, size_px, 100 * seed + number, first=first, **what)
    return folder


def _by_label(generator: Generator, folder: Path) -> dict[str, list[Float32]]:
    return {
        label: [
            generator.grey.normalise(np.asarray(read(path).pixels))
            for path in image_paths([str(folder / label)])
        ]
        for label in LABELS
    }


def _optimiser(steps: int, batch: int) -> dict[str, Any]:
    return {
        "steps": steps,
        "batch_size": batch,
        "learning_rate": 1e-3,
        "warmup_steps": min(50, steps // 4),
        "ema_decay": 0.99,
        "steps_per_epoch": max(10, steps // 20),
        "keep_best": True,
        "threads": 1,
        "precision": "fp32",
    }


def _generator_config(size: _Size, images: Path, seed: int) -> dict[str, Any]:
    return {
        "task": "diffusion",
        "seed": seed,
        "data": {"folder": str(images), "labels": "folders", "held_out": size.held_out},
        "network": {"widths": list(size.widths), "stem": 2},
        "flips": ["horizontal"],
        "augmentation": {"unchanged": 0.3},
        # The same network draws what is left open, and is pushed by a classifier: it is to be
        # good at that, too.
        "label_dropout": 0.3,
        "validation_samples": 8 if size.steps < 100 else 128,
        "optimiser": _optimiser(size.steps, 8),
        "name": "stacks",
    }


def _guide_config(size: _Size, images: Path, generator: Path, seed: int) -> dict[str, Any]:
    return {
        "task": "noisy-classifier",
        "seed": seed + 1,
        "generator": str(generator),
        "data": {"folder": str(images), "labels": "folders", "held_out": size.held_out},
        "network": {"widths": list(size.widths)},
        "augmentation": {"unchanged": 0.3},
        "validation_samples": 8 if size.steps < 100 else 256,
        "optimiser": {**_optimiser(size.guide_steps, 16), "weight_decay": 0.05},
    }


def _drawn(
    generator: Generator, size: _Size, count: int, label: str | None, **how: Any
) -> list[Float32]:
    """Draw images on the generator's scale; the same seeds, so the same noise, however guided."""
    first = 100_000 * (list(LABELS).index(label) + 1 if label else 0)
    made = generator.synthesize(
        count, seed=first, label=label, steps=size.draw_steps, batch_size=32, **how
    )
    return [generator.grey.normalise(np.asarray(image.pixels)) for image in made]


def _sorted(judge: Judge, images: Sequence[Float32]) -> list[list[Float32]]:
    said = judge.labels(images)
    return [[i for i, number in zip(images, said, strict=True) if number == n]
            for n in range(len(LABELS))]  # fmt: skip


def _rows(
    sets: Sequence[tuple[str, float | None, list[list[Float32]]]],
    real: Sequence[Sequence[Float32]],
    judge: Judge,
    seed: int,
) -> list[dict[str, Any]]:
    """Judge each set; as many images of a label in all of them, as distances depend on it.

    A label of which nothing was drawn without guidance cannot be compared with that.
    """
    counts = [min(len(made[n]) for _, _, made in sets) for n in range(len(LABELS))]
    rows = []
    for way, strength, made in sets:
        right = np.concatenate([judge.labels(made[n]) == n for n in range(len(LABELS))])
        distances = {
            label: sliced_distance(made[n][: counts[n]], real[n][: counts[n]])
            for n, label in enumerate(LABELS)
            if counts[n]
        }
        rows.append(
            {
                "way": way,
                "strength": strength,
                "seed": seed,
                "images": [len(images) for images in made],
                "compared": counts,
                "agreed_percent": 100 * float(right.mean()),
                "distance": float(np.mean([*distances.values()])) if distances else None,
                "distances": distances,
            }
        )
    return rows


def sliced_distance(made: Sequence[Float32], real: Sequence[Float32]) -> float:
    """Return the sliced Wasserstein distance of the patches of two sets of images."""
    from everhart.synthesize.distances import DISTANCES, Summary

    parts = [Summary(images).parts["patches"] for images in (made, real)]
    return float(DISTANCES["patches"](*parts))


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"# {title}",
        "",
        "| samples | strength | seed | images | the judge agrees % | sliced Wasserstein "
        "| against no guidance |",
        "| --- |" + " ---: |" * 6,
    ]
    for row in rows:
        plain = next(
            r for r in rows if r["seed"] == row["seed"] and r["way"].startswith("no guidance")
        )
        distances = ["-", "-"]
        if row["distance"] is not None:
            loss = 100 * (row["distance"] / plain["distance"] - 1)
            distances = [f"{row['distance']:.4f}", f"{loss:+.0f} %"]
        agreed = "-" if row is plain else f"{row['agreed_percent']:.1f}"
        strength = "-" if row["strength"] is None else f"{row['strength']:g}"
        lines.append(
            f"| {row['way']} | {strength} | {row['seed']} | {sum(row['images'])} | {agreed} "
            f"| {' | '.join(distances)} |"
        )
    return "\n".join([*lines, ""])


def _picture(
    sets: Sequence[tuple[str, float | None, list[list[Float32]]]],
    real: Sequence[Sequence[Float32]],
    path: Path,
    columns: int = 4,
) -> None:
    """Draw some images of each label, a row a set."""
    from matplotlib.figure import Figure

    shown = [("real images", None, [list(images) for images in real]), *sets[1:]]
    figure = Figure(figsize=(9, 0.92 * len(shown)), layout="constrained", dpi=110)
    panels = figure.subplots(len(shown), len(LABELS), squeeze=False)
    gap = np.full((real[0][0].shape[0], 1), np.nan, np.float32)
    for row, (way, strength, made) in enumerate(shown):
        for column, label in enumerate(LABELS):
            panel = panels[row, column]
            images = made[column][:columns]
            if images:
                strip = np.concatenate([part for i in images for part in (i, gap)], axis=1)
                panel.imshow(strip, cmap="gray", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
            if not row:
                panel.set_title(label, fontsize=9)
            if not column:
                said = way.replace(", ", ",\n") + (f"\n{strength:g}" if strength else "")
                panel.set_ylabel(said, fontsize=6, rotation=0, ha="right", va="center")
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png")
