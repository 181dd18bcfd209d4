"""Segmentation with few labels: what pretraining is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from everhart.io import read
from everhart.io.atomic import write_text
from everhart.metrics.segmentation import BoundaryMatch, boundary_match, class_scores
from everhart.studies.segment_sets import LabelledSet, Split, labelled_set
from everhart.studies.segment_table import pretraining_table
from everhart.studies.study import Progress, Scale

__all__ = ["PretrainingStudy", "digest_of", "scores_of", "trained_segmentation"]

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    `labels` are numbers of labelled images, None for all; `scale` enlarges the real images; the
    start `small` has `small_widths` and the others `widths`. A step of `pix2pix`, with its
    discriminator, takes four times the work of one of `poisson`.
    """

    sets: tuple[str, ...]
    splits: int
    labels: tuple[int | None, ...]
    starts: tuple[str, ...]
    widths: tuple[int, ...]
    small_widths: tuple[int, ...]
    steps: int
    poisson_steps: int
    pix2pix_steps: int
    batch: int
    crop_px: int
    image_px: int
    images: int
    scale: float
    epoch: int


_STARTS: Final = ("random", "denoiser", "poisson", "pix2pix", "small")
"""``small`` is a smaller network, pretrained as ``poisson`` is."""

_SIZES: Final = {
    "smoke": _Size(
        ("stack",), 1, (1,), ("random", "poisson", "small"), (8, 16), (8,), 8, 4, 4, 2, 32, 64,
        4, 1.0, 4,
    ),
    "cpu": _Size(
        ("alpt", "particles"), 3, (1, 3), _STARTS, (32, 64, 128, 256), (16, 32, 64, 128), 300,
        600, 200, 4, 96, 256, 12, 1.0, 30,
    ),
    "gpu": _Size(
        ("alpt", "isbi", "emps", "vnc", "stack", "particles"), 3, (1, 3, 10, None), _STARTS,
        (32, 64, 128, 256), (16, 32, 64, 128), 4000, 20_000, 20_000, 16, 128, 512, 40, 1.0, 100,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PretrainingStudy:
    """Starts of a segmentation, with few labels: random, denoisers, a conditional GAN."""

    name: str = "segment-pretraining"
    title: str = "segmentation with few labels: what pretraining by denoising is worth"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Pretrain, fine-tune and judge; a split is a repetition."""
        size = _SIZES[scale.name]
        results = folder / self.name
        (results / "cells").mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        sets = []
        for name in size.sets:
            known = labelled_set(name, results / "data", size.image_px, size.images)
            if known is None:
                progress(f"{self.name}: {name} is left out, EVERHART_DATA is not set")
                continue
            sets.append((known, [known.split(number) for number in range(seeds or size.splits)]))
        for known, splits in sets:
            for number, split in enumerate(splits):
                rows += _copied_rows(known, split, size, number)
        # All splits of a start come before the next one: an interval is what is wanted first. The
        # small network, a question of its own, comes last.
        parts = [(count, start) for count in size.labels for start in size.starts]
        for count, start in sorted(parts, key=lambda part: part[1] == "small"):
            for number in range(seeds or size.splits):
                for known, splits in sets:
                    rows.append(
                        self._row(known, splits[number], count, start, size, results, number,
                                  progress)
                    )  # fmt: skip
            # What is there is shown, should the rest never come.
            self._write(results, scale.name, rows)
        return self._write(results, scale.name, rows)

    def _row(
        self,
        known: LabelledSet,
        split: Split,
        count: int | None,
        start: str,
        size: _Size,
        results: Path,
        number: int,
        progress: Progress,
    ) -> dict[str, Any]:
        """Return what one training has found, from its file where the very same was done before."""
        if start == "small":
            size = replace(size, widths=size.small_widths)
        config = _config(known, split, split.labelled(count), size, number)
        before = _pretraining(start, known, split, size, number)
        key = f"{known.name}_{number}_{count or 'all'}_{start}"
        path = results / "cells" / f"{key}_{digest_of(config, before)}.json"
        if not path.is_file():
            progress(f"{self.name}: {key}")
            row = {
                "set": known.name, "split": number, "labels": str(count or "all"), "start": start,
                **_cell(known, split, config, start, before, results),
            }  # fmt: skip
            write_text(path, json.dumps(row, indent=2) + "\n", overwrite=True)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _write(
        self, results: Path, scale: str, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        record = {"study": self.name, "title": self.title, "scale": scale, "rows": list(rows)}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", pretraining_table(self.title, rows), overwrite=True)
        return record


def scores_of(
    predictions: Sequence[Labels], truths: Sequence[Labels], classes: Sequence[str]
) -> dict[str, Any]:
    """Return overlap and borders of label images."""
    scores = class_scores(predictions, truths, len(classes))
    found = scores.to_dict(classes)
    for tolerance in (1, 2):
        total = BoundaryMatch(0, 0, 0, 0)
        for said, true in zip(predictions, truths, strict=True):
            total += boundary_match(said, true, tolerance_px=tolerance)
        found[f"boundary_f1_{tolerance}_px"] = round(total.f1, 6)
    return found


def _copied_rows(
    known: LabelledSet, split: Split, size: _Size, number: int
) -> list[dict[str, Any]]:
    """Score copies of the nearest field's labels: what must be beaten to have seen anything.

    For each number of labels as the split allows it; and with every other field of the set as a
    source, which is what a split without a gap would have to be compared with.
    """
    if not known.gap:
        return []
    truths = known.truths()
    sources = {str(count or "all"): split.labelled(count) for count in size.labels}
    sources |= {"all": split.learned, "neighbours": tuple(range(len(truths)))}
    rows = []
    for count, labelled in sources.items():
        copied = [known.nearest(labelled, place) for place in split.tested]
        found = scores_of(
            [truths[place] for place in copied],
            [truths[place] for place in split.tested],
            tuple(known.classes),
        )
        rows.append(
            {"set": known.name, "split": number, "labels": count, "start": "copied", **found,
             "rare_dice": found["dice"][known.rare]}
        )  # fmt: skip
    return rows


def _cell(
    known: LabelledSet,
    split: Split,
    config: dict[str, Any],
    start: str,
    before: dict[str, Any] | None,
    results: Path,
) -> dict[str, Any]:
    from everhart.segment.segmenter import Segmenter

    if before is not None:
        config = config | {"start_from": str(_trained(before, results / "models", "pretrain"))}
    elif start == "denoiser":
        config = config | {"start_from": "sem-general"}
    model = trained_segmentation(config, results / "models")
    segmenter = Segmenter.load(model)
    images, every = known.images(), known.truths()
    predictions, truths = [], []
    for place in split.tested:
        image = read(images[place])
        found = segmenter.segment(image.pixels, pixel_size_nm=image.pixel_size_nm)
        predictions.append(found.classes)
        truths.append(every[place])
    curve = pd.read_csv(model.parent / "curves.csv")
    scores = scores_of(predictions, truths, tuple(known.classes))
    return {
        **scores,
        "rare_dice": scores["dice"][known.rare],
        "curve": [round(1 - float(error), 5) for error in curve["validation_error"]],
        "training_cpu_minutes": float(segmenter.header.card.metrics["cpu_minutes"]),
    }


def _config(
    known: LabelledSet, split: Split, labelled: Sequence[int], size: _Size, seed: int
) -> dict[str, Any]:
    """Return the config of a training on some labels; the tested fields give its curve alone."""
    return {
        "task": "segment",
        "seed": seed,
        "data": dict(known.data),
        "classes": dict(known.classes),
        "scale": 1.0 if known.simulated else size.scale,
        "normalisation": known.normalisation,
        "train": {"blocks": [[place, place] for place in labelled]},
        "validation": {"blocks": [[place, place] for place in split.tested]},
        "gap": 0,  # the split has kept it
        "validation_samples": 4 * size.batch,
        "crop_px": size.crop_px,
        "network": {"widths": list(size.widths)},
        "augmentation": {"turns": known.turns, **known.augmentation},
        "optimiser": _optimiser(size, size.steps),
    }


def _optimiser(size: _Size, steps: int) -> dict[str, Any]:
    return {
        "steps": steps,
        "batch_size": size.batch,
        "steps_per_epoch": size.epoch,
        "warmup_steps": min(20, steps // 4),
        "ema_decay": 0.98,
        "threads": 1,
    }


def _pretraining(
    start: str, known: LabelledSet, split: Split, size: _Size, seed: int
) -> dict[str, Any] | None:
    """Return the config of what is trained before, on images that do not judge, or None."""
    if start in ("random", "denoiser"):
        return None
    data = {name: known.data[name] for name in ("folder", "images")}
    adversarial = start == "pix2pix"
    return {
        "task": "pix2pix" if adversarial else "poisson-denoise",
        "seed": seed,
        "data": data,
        "train": {"blocks": [[place, place] for place in split.learned]},
        "crop_px": size.crop_px,
        "network": {"widths": list(size.widths)},
        "optimiser": _optimiser(size, size.pix2pix_steps if adversarial else size.poisson_steps),
    }


def digest_of(*configs: Mapping[str, Any] | None) -> str:
    """Return what tells settings of trainings apart, wherever their data lie.

    Parameters
    ----------
    configs
        Configs of trainings, or None.
    """
    said = [{k: v for k, v in (config or {}).items() if k != "data"} for config in configs]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]


def trained_segmentation(config: dict[str, Any], models: Path) -> Path:
    """Return the model of a config of ``task: segment``, trained where there is none."""
    return _trained(config, models, "segment")


def _trained(config: dict[str, Any], models: Path, kind: str) -> Path:
    """Return the model of a config, trained, or trained to its end, where there is none."""
    from everhart.segment.pretraining import train as pretrain
    from everhart.segment.train import train

    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    path, run = models / f"{kind}-{digest}.yaml", models / f"{kind}-{digest}"
    models.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(config, sort_keys=False), overwrite=True)
    resume = (run / "checkpoints" / "last.ckpt").is_file()
    return (train if kind == "segment" else pretrain)(path, run, resume=resume)
