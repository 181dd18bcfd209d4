"""What synthetic images are good for: a segmentation trained with few labels, and with samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io import read, write
from everhart.io.atomic import write_text
from everhart.micrograph import Micrograph
from everhart.simulate.stack import STACK_CLASSES
from everhart.studies.segment import trained_segmentation
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import Specimen, labelled_stacks, specimen, stack_images
from everhart.studies.synthesis_runs import trained

if TYPE_CHECKING:
    from everhart.segment.few_shot import FeatureClassifier
    from everhart.synthesize.generator import Generator

__all__ = ["DownstreamStudy", "downstream_summary"]

Pixels = NDArray[Any]
Pair = tuple[Pixels, Pixels]
"""An image and the classes of its pixels."""

_SEED, _LEARNED, _FEW, _FIRST = 7, 15, 3, 2000
_EACH: Final = 4
"""Images of each new mask: several at once are quicker."""

_SHARES: Final = (0.005, 0.02, 0.06)
"""Steps of the schedule whose features are looked at, as parts of it."""


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    A generator of 15 images without labels takes `steps`, and to learn masks `mask_steps` more. Of
    each kind `made` samples are drawn; `judged` images judge every segmentation.
    """

    size_px: int
    widths: tuple[int, ...]
    steps: int
    epoch: int
    mask_steps: int
    made: int
    draw_steps: int
    splits: int
    judged: int
    network: tuple[int, ...]
    segment_steps: int


_SIZES: Final = {
    "smoke": _Size(32, (8, 16), 20, 10, 5, 4, 5, 1, 2, (8, 16), 4),
    "cpu": _Size(64, (32, 64, 96), 1000, 100, 150, 200, 30, 5, 20, (16, 32, 64), 150),
    "gpu": _Size(256, (64, 128, 192, 256), 60_000, 1000, 5000, 1000, 250, 5, 200,
                 (32, 64, 128, 256), 8000),
}  # fmt: skip

# Not upside down: a stack has a below.
_OPERATIONS: Final = (
    "flip_x", "rotate", "shear", "stretch", "gain", "offset", "gamma", "shading", "drift",
    "jitter", "defocus", "dose", "contamination", "charging",
)  # fmt: skip
_TRIVIAL: Final[Mapping[str, Any]] = {"flips": False, "operations": list(_OPERATIONS)}

_CLASSICAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "mirrored": {"flips": False, "operations": ["flip_x"], "unchanged": 0.5},
    "EM-TrivialAugment": _TRIVIAL,
    "EM-TrivialAugment twice, magnified to 1.25": {**_TRIVIAL, "count": 2, "zoom": [1.0, 1.25]},
}
"""Config of the augmentation by name, of which the best is what synthetic images must beat."""


@dataclass(frozen=True)
class DownstreamStudy:
    """Three and fifteen labelled images, with classical augmentation and with samples.

    The generator has seen all fifteen images, twelve of them without labels, in every split. So a
    row trains with these twelve as they are, labelled in the same way as the samples are.
    """

    name: str = "ddpm-downstream"
    title: str = "segmentation with few labels: samples against classical augmentation"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train and judge; a repetition is another choice of the three labelled images."""
        from everhart.synthesize.generator import Generator

        size = _SIZES[scale.name]
        results = folder / self.name
        learned = stack_images(results / "learned", _LEARNED, size.size_px, _SEED)
        progress(f"{self.name}: generator")
        config = _generator_config(size, learned)
        generator = Generator.load(_taken_or_trained(config, results / "generator"))
        images = _drawn(generator, size, results / "made")
        rows: list[dict[str, Any]] = []
        for count in (_FEW, _LEARNED):
            for number in range(seeds or size.splits):
                few = tuple((number + 5 * n) % _LEARNED for n in range(_FEW))
                labelled = few if count == _FEW else tuple(range(_LEARNED))
                split = _Split(number, labelled, generator, images, size, results, progress)
                rows += split.rows()
                # What is there is shown, should the rest never come.
                record = {
                    "study": self.name, "title": self.title, "scale": scale.name, "rows": rows,
                    "summary": downstream_summary(rows),
                }  # fmt: skip
                text = json.dumps(record, indent=2) + "\n"
                write_text(results / "results.json", text, overwrite=True)
                write_text(results / "table.md", _table(self.title, record), overwrite=True)
        return record


def _generator_config(size: _Size, learned: Path) -> dict[str, Any]:
    return {
        "task": "diffusion",
        "seed": 0,
        "data": {"folder": str(learned), "held_out": 2},
        "curriculum": [
            {"patch_px": size.size_px // 2, "batch_size": 16},
            {"share": 3, "batch_size": 8},
        ],
        "network": {"widths": list(size.widths), "stem": 2, "position": True},
        "augmentation": {"unchanged": 0.4, "operations": list(_OPERATIONS)},
        "validation_samples": 8 if size.steps < 100 else 64,
        "optimiser": {
            "steps": size.steps, "learning_rate": 1e-3, "warmup_steps": min(100, size.steps // 4),
            "ema_decay": 0.998, "steps_per_epoch": size.epoch, "keep_best": True, "threads": 1,
        },
        "weights_dtype": "float16",
        "name": "stacks",
    }  # fmt: skip


def _taken_or_trained(config: Mapping[str, Any], run: Path) -> Path:
    made = run / "model.safetensors"
    return made if made.is_file() else trained(config, run)


def _drawn(generator: Generator, size: _Size, folder: Path) -> list[Pixels]:
    """Return samples without masks, drawn where this very model's are not there yet."""
    folder = folder / generator.sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"made_{n:04d}.tif" for n in range(size.made)]
    for first in range(0, size.made, 8):
        some = paths[first : first + 8]
        if not all(path.is_file() for path in some):
            made = generator.synthesize(len(some), seed=first, steps=size.draw_steps)
            for image, path in zip(made, some, strict=True):
                write(image, path, overwrite=True)
    return [np.asarray(read(path).pixels) for path in paths]


class _Split:
    """One choice of the labelled images."""

    def __init__(
        self, number: int, labelled: tuple[int, ...], generator: Generator,
        images: Sequence[Pixels], size: _Size, results: Path, progress: Progress,
    ) -> None:  # fmt: skip
        self.number, self.labelled, self.size = number, labelled, size
        self.generator, self.images = generator, images
        self.results, self.progress = results, progress
        self.place = results / f"split-{number}-{len(labelled)}"
        known = [specimen(n, size.size_px, _SEED) for n in range(_LEARNED)]
        self.real = [(known[n].first, known[n].mask) for n in labelled]
        self.others = [s.first for n, s in enumerate(known) if n not in labelled]
        numbers = range(_FIRST, _FIRST + size.judged)
        self.judged: list[Specimen] = [specimen(n, size.size_px, _SEED) for n in numbers]

    def rows(self) -> list[dict[str, Any]]:
        """Return what each way of training has, kept from one run to the next."""
        found = []
        for name, augmentation in _CLASSICAL.items():
            found.append(self._cell(f"classical: {name}", list, augmentation))
        trivial = _CLASSICAL["EM-TrivialAugment"]
        found.append(self._cell("samples labelled by features", self._by_features, trivial))
        if self.others:
            found.append(self._cell("samples drawn from masks", self._by_masks, trivial))
            found.append(self._cell("real images labelled by features", self._real, trivial))
        found.append(self._kept("the classifier on features alone", self._classifier_score))
        return found

    def _cell(
        self, method: str, make: Callable[[], list[Pair]], augmentation: Mapping[str, Any]
    ) -> dict[str, Any]:
        def score() -> dict[str, Any]:
            return self._trained(method, make(), augmentation)

        return self._kept(method, score)

    def _kept(self, method: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.place / f"{_slug(method)}.json"
        if not path.is_file():
            self.progress(
                f"ddpm-downstream: {method}, split {self.number}, {len(self.labelled)} labels"
            )
            row = {
                "method": method, "labels": len(self.labelled), "split": self.number, **compute()
            }  # fmt: skip
            self.place.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(row, indent=2) + "\n", overwrite=True)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _trained(
        self, method: str, made: Sequence[Pair], augmentation: Mapping[str, Any]
    ) -> dict[str, Any]:
        from everhart.segment.segmenter import Segmenter

        size, folder = self.size, self.place / _slug(method)
        # As many crops of real images as of others.
        copies = max(1, round(len(made) / len(self.real)))
        _write_pairs([pair for pair in self.real for _ in range(copies)] + list(made), folder)
        config = {
            "task": "segment",
            "seed": self.number,
            "data": {
                "folder": str(folder.resolve()), "images": "images/*.tif", "labels": "masks/*.png",
            },
            "classes": {name: value for value, name in STACK_CLASSES.items()},
            "crop_px": size.size_px,
            "network": {"widths": list(size.network), "stem": 1},
            "augmentation": augmentation,
            "optimiser": {
                "steps": size.segment_steps, "batch_size": 8, "ema_decay": 0.98, "threads": 1,
                "steps_per_epoch": size.segment_steps,
                "warmup_steps": min(20, size.segment_steps // 4),
            },
        }  # fmt: skip
        started = time.process_time()
        model = trained_segmentation(config, self.results / "models")
        segmenter = Segmenter.load(model)
        said = [segmenter.segment(s.first).classes for s in self.judged]
        return {**self._scored(said), "cpu_s": time.process_time() - started}

    def _scored(self, said: Sequence[Pixels]) -> dict[str, Any]:
        from everhart.metrics import class_scores

        scores = class_scores(said, [s.mask for s in self.judged], len(STACK_CLASSES))
        return {"mean_iou": scores.mean_iou, "iou": scores.iou.tolist()}

    @cached_property
    def _classifier(self) -> FeatureClassifier:
        """Return what tells classes by the generator's features, from the labelled images."""
        from everhart.segment.choice import fine_blocks
        from everhart.segment.features import DiffusionFeatures
        from everhart.segment.few_shot import fit_classifier

        features = DiffusionFeatures(
            self.generator,
            fine_blocks(self.generator),
            self.generator.schedule.at_shares(_SHARES),
        )
        images, labels = zip(*self.real, strict=True)
        return fit_classifier(features, images, labels, len(STACK_CLASSES), seed=self.number)

    def _classifier_score(self) -> dict[str, Any]:
        classifier = self._classifier
        return self._scored([classifier.segment(s.first) for s in self.judged])

    def _by_features(self) -> list[Pair]:
        classifier = self._classifier
        return [(image, classifier.segment(image)) for image in self.images]

    def _real(self) -> list[Pair]:
        classifier = self._classifier
        return [(image, classifier.segment(image)) for image in self.others]

    def _by_masks(self) -> list[Pair]:
        """Draw from new masks like the labelled ones, by a generator that learned these."""
        from everhart.synthesize.generator import Generator
        from everhart.synthesize.masks import new_masks

        size, run = self.size, self.place / "generator"
        shown = labelled_stacks(self.place / "shown", self.labelled, size.size_px, _SEED)
        config = _generator_config(size, shown / "images")
        config |= {
            "seed": self.number,
            "data": {"folder": str(shown / "images"), "masks": str(shown / "masks")},
            "start_from": str(self.results / "generator" / "model.safetensors"),
            "curriculum": [{"batch_size": 8}],
            "mask_dropout": 0.05,
        }
        config["optimiser"] = {
            **config["optimiser"], "steps": size.mask_steps, "learning_rate": 5e-4,
            "ema_decay": 0.98, "keep_best": False, "steps_per_epoch": size.mask_steps,
            "warmup_steps": min(20, size.mask_steps // 4),
        }  # fmt: skip
        generator = Generator.load(_taken_or_trained(config, run))
        rng = np.random.default_rng([_SEED, self.number])
        known = [mask for _, mask in self.real]
        made: list[Pair] = []
        for mask in new_masks(known, -(-size.made // _EACH), rng):
            drawn = generator.synthesize(
                _EACH, seed=len(made), mask=mask, steps=size.draw_steps, batch_size=_EACH
            )
            made += [(image.pixels, mask) for image in drawn]
        return made[: size.made]


def _slug(method: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in method)


def _write_pairs(pairs: Sequence[Pair], folder: Path) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for n, (image, mask) in enumerate(pairs):
        write(Micrograph(image), folder / "images" / f"{n:04d}.tif", overwrite=True)
        labels = Micrograph(np.asarray(mask, np.uint8))
        write(labels, folder / "masks" / f"{n:04d}.png", overwrite=True)


def downstream_summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare every method with the classical one that is best on the mean of the splits.

    Parameters
    ----------
    rows
        A method, number of labels, split and mean IoU each.

    Returns
    -------
    list of dict
        For each number of labels and method the mean, and the difference to the best classical one
        of the same splits with its 95 % interval (Student's t), None with one split.

    Examples
    --------
    >>> rows = [
    ...     {"method": m, "labels": 3, "split": s, "mean_iou": v + 0.01 * s}
    ...     for m, v in (("classical: a", 0.7), ("classical: b", 0.8), ("samples", 0.85))
    ...     for s in range(2)
    ... ]
    >>> [(r["method"], round(r["difference"], 3)) for r in downstream_summary(rows)]
    [('classical: a', -0.1), ('classical: b', 0.0), ('samples', 0.05)]
    """
    from scipy.stats import t as student

    found = []
    for labels in sorted({row["labels"] for row in rows}):
        scores: dict[str, dict[int, float]] = {}
        for row in rows:
            if row["labels"] == labels:
                scores.setdefault(row["method"], {})[row["split"]] = row["mean_iou"]
        classical = [name for name in scores if name.startswith("classical")]
        best = scores[max(classical, key=lambda name: float(np.mean([*scores[name].values()])))]
        for method, own in scores.items():
            away = np.array([own[split] - best[split] for split in own])
            half = None
            if len(away) > 1:
                wide = float(student.ppf(0.975, len(away) - 1))
                half = wide * float(np.std(away, ddof=1)) / len(away) ** 0.5
            found.append(
                {"labels": labels, "method": method, "splits": len(own),
                 "mean_iou": float(np.mean([*own.values()])),
                 "sd": float(np.std([*own.values()])), "difference": float(away.mean()),
                 "half_interval": half, "least_difference": float(away.min())}
            )  # fmt: skip
    return found


def _table(title: str, record: Mapping[str, Any]) -> str:
    head = ["labelled", "trained with", "splits", "mIoU", "to the best classical, points",
            "worst split"]  # fmt: skip
    lines = [f"# {title}", "", f"| {' | '.join(head)} |", "| ---: | --- |" + " ---: |" * 4]
    for row in record["summary"]:
        half = row["half_interval"]
        between = "" if half is None else f" ± {100 * half:.1f}"
        cells = [str(row["labels"]), row["method"], str(row["splits"]),
                 f"{row['mean_iou']:.3f} ± {row['sd']:.3f}",
                 f"{100 * row['difference']:+.1f}{between}",
                 f"{100 * row['least_difference']:+.1f}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
