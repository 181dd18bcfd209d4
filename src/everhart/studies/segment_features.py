"""Segmentation by features of a generator: without labels, and with a few labelled images."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io import read
from everhart.io.atomic import write_text
from everhart.metrics.partitions import adjusted_rand_index, matched_clusters
from everhart.metrics.segmentation import class_scores
from everhart.studies.segment_table import interval
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis import train_few_images
from everhart.studies.synthesis_data import stack_images, stack_scene

if TYPE_CHECKING:
    from everhart.segment.features import PixelFeatures
    from everhart.synthesize.generator import Generator

__all__ = ["FeatureStudy", "clustered_scores", "features_table"]

Labels = NDArray[Any]

_SEED: Final = 7
_CLUSTERS: Final = 6
_CHOSEN: Final = "chosen without labels"


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    Blocks are tried at `shares` of the schedule's steps on `judged` images, which neither the
    generator nor the classifiers have seen; classifiers get `few` labelled images. All is done
    in `groups`, each with images of its own to be labelled and to judge.
    """

    groups: int
    judged: int
    shares: tuple[float, ...]
    few: tuple[int, ...]


_SIZES: Final = {
    "smoke": _Size(2, 2, (0.02,), (1,)),
    "cpu": _Size(3, 4, (0.005, 0.02, 0.06), (1, 3)),
    "gpu": _Size(5, 20, (0.005, 0.02, 0.06, 0.12, 0.25, 0.4), (1, 3)),
}


@dataclass(frozen=True)
class FeatureStudy:
    """Blocks and steps of a generator by their clusters, and classifiers on their features."""

    name: str = "segment-features"
    title: str = "segmentation by features of a diffusion model: clusters, and few labels"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Judge all blocks and steps; the generator is that of the study ``ddpm-15``."""
        from everhart.synthesize.generator import Generator

        size = _SIZES[scale.name]
        results = folder / self.name
        cells = results / "cells"
        cells.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        record: dict[str, Any] = {}
        for seed in range(seeds or 1):
            progress(f"{self.name}: generator, seed {seed}")
            generator = Generator.load(train_few_images(scale.name, folder / "ddpm-15", seed))
            edge = generator.shape[0]
            for group in range(size.groups):
                path = cells / f"{seed}_{group}.json"
                if not path.is_file():
                    progress(f"{self.name}: seed {seed}, images {group + 1} of {size.groups}")
                    found = _group_rows(generator, results, size, edge, seed, group)
                    write_text(path, json.dumps(found, indent=2) + "\n", overwrite=True)
                rows += json.loads(path.read_text(encoding="utf-8"))
                # What is there is shown, should the rest never come.
                record = self._write(results, scale.name, rows)
        return record

    def _write(
        self, results: Path, scale: str, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        record = {"study": self.name, "title": self.title, "scale": scale, "rows": list(rows)}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", features_table(self.title, rows), overwrite=True)
        return record


def clustered_scores(clusters: Sequence[Labels], truths: Sequence[Labels]) -> dict[str, float]:
    """Return ARI, and mean IoU of clusters that are named by the best match, of all pixels.

    Examples
    --------
    >>> truth = np.array([[0, 0, 1, 1]])
    >>> clustered_scores([1 - truth], [truth])
    {'ari': 1.0, 'mean_iou': 1.0}
    """
    said, true = np.stack(clusters), np.stack(truths)
    names = matched_clusters(said, true)
    classes = int(true.max()) + 1
    # Clusters without a class are wrong everywhere.
    table = np.full(int(said.max()) + 1, classes)
    for cluster, name in names.items():
        table[cluster] = name
    scores = class_scores([table[said]], [true], classes + 1)
    iou = scores.iou[:classes]
    return {"ari": adjusted_rand_index(said, true), "mean_iou": float(np.nan_to_num(iou).mean())}


def _group_rows(
    generator: Generator, results: Path, size: _Size, edge: int, seed: int, group: int
) -> list[dict[str, Any]]:
    """Return what one group of images has found."""
    first = 2000 + group * size.judged
    judged, truths = _labelled(results / "judged", range(first, first + size.judged), edge, seed)
    first = 3000 + group * max(size.few)
    shown, labels = _labelled(results / "shown", range(first, first + max(size.few)), edge, seed)
    rows = _cluster_rows(generator, judged, truths, size, seed)
    for count in size.few:
        rows += _few_rows(generator, shown[:count], labels[:count], judged, truths, size, seed)
    return [{**row, "group": group} for row in rows]


def _labelled(
    folder: Path, numbers: range, edge: int, seed: int
) -> tuple[list[NDArray[Any]], list[Labels]]:
    """Return images of the generator's kind, and the classes of their pixels."""
    stack_images(folder, len(numbers), edge, _SEED + seed, first=numbers.start)
    images = [read(folder / f"stack_{number:04d}.tif").pixels for number in numbers]
    truths = [stack_scene(n, edge, _SEED + seed)[0].truth.labels for n in numbers]
    return images, truths


def _cluster_rows(
    generator: Generator,
    images: Sequence[NDArray[Any]],
    truths: Sequence[Labels],
    size: _Size,
    seed: int,
) -> list[dict[str, Any]]:
    from everhart.segment.choice import chosen_features
    from everhart.segment.clusters import fit_clusters
    from everhart.segment.features import DiffusionFeatures, HandMadeFeatures

    def scored(what: str, features: PixelFeatures) -> dict[str, Any]:
        found = fit_clusters(features, images, _CLUSTERS)
        clusters = [found.segment(image) for image in images]
        return {"what": what, "labels": 0, "seed": seed, **clustered_scores(clusters, truths)}

    rows = [
        scored("smoothed grey levels", HandMadeFeatures((1.0,))),
        scored("hand-made features", HandMadeFeatures()),
    ]
    for step in generator.schedule.at_shares(size.shares):
        for block in generator.network.block_names:
            features = DiffusionFeatures(generator, [block], [step])
            rows.append({**scored(f"{block} at step {step}", features), "tried": True})
    chosen = chosen_features(generator, images, _CLUSTERS)
    rows.append(scored(_CHOSEN, chosen))
    return rows


def _few_rows(
    generator: Generator,
    shown: Sequence[NDArray[Any]],
    labels: Sequence[Labels],
    judged: Sequence[NDArray[Any]],
    truths: Sequence[Labels],
    size: _Size,
    seed: int,
) -> list[dict[str, Any]]:
    from everhart.segment.choice import fine_blocks
    from everhart.segment.features import DiffusionFeatures, HandMadeFeatures
    from everhart.segment.few_shot import fit_classifier

    steps = generator.schedule.at_shares(size.shares[:3])
    blocks = fine_blocks(generator)
    rows = []
    for what, features in (
        ("classifier on hand-made features", HandMadeFeatures()),
        ("classifier on the generator's", DiffusionFeatures(generator, blocks, steps)),
    ):
        started = time.process_time()
        classifier = fit_classifier(features, shown, labels, _CLUSTERS, seed=seed)
        seconds = time.process_time() - started
        scores = class_scores([classifier.segment(image) for image in judged], truths, _CLUSTERS)
        rows.append(
            {"what": what, "labels": len(shown), "seed": seed, "mean_iou": scores.mean_iou,
             "iou": scores.iou.tolist(), "cpu_s": round(seconds, 1)}
        )  # fmt: skip
    return rows


def features_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the study ``segment-features``: means over groups of images."""
    head = ["", "labelled images", "ARI", "mIoU", "groups of images"]
    lines = [f"# {title}", "", f"| {' | '.join(head)} |", "| --- |" + " ---: |" * 4]
    kinds: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["what"], row["labels"]), []).append(row)
    for (what, labels), cells in kinds.items():
        ari = interval([c["ari"] for c in cells]) if "ari" in cells[0] else "-"
        iou = interval([c["mean_iou"] for c in cells])
        lines.append(f"| {what} | {labels} | {ari} | {iou} | {len(cells)} |")
    lines += ["", *_below_best(rows), ""]
    return "\n".join(lines)


def _below_best(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say by how much what was chosen without labels is below the best single block and step."""
    below: dict[str, list[float]] = {"ari": [], "mean_iou": []}
    places = {(row["seed"], row["group"]) for row in rows}
    for place in sorted(places):
        own = [row for row in rows if (row["seed"], row["group"]) == place]
        (chosen,) = [row for row in own if row["what"] == _CHOSEN]
        for name, found in below.items():
            found.append(max(row[name] for row in own if row.get("tried")) - chosen[name])
    return [
        f"Chosen without labels, below the best single place of its group: {interval(below['ari'])}"
        f" in ARI, {interval(below['mean_iou'])} in mIoU."
    ]
