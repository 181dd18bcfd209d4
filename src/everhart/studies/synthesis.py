"""Synthesis from fifteen images: how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io import image_paths, read, write
from everhart.io.atomic import write_text
from everhart.micrograph import Micrograph
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import fitted_stacks, stack_images, valid_stacks
from everhart.studies.synthesis_runs import trained
from everhart.studies.synthesis_sizes import FinSizes

if TYPE_CHECKING:
    from everhart.synthesize.generator import Generator
    from everhart.synthesize.sizes import SizeSet

__all__ = ["FewImagesStudy", "train_few_images"]

Float32 = NDArray[np.float32]

_LEARNED: Final = 15
_SEED: Final = 7


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    `steps` are those of the whole curriculum; `made` images are drawn in `draw_steps` and judged by
    `held_out` real ones.
    """

    size_px: int
    widths: tuple[int, ...]
    steps: int
    made: int
    held_out: int
    draw_steps: int
    epoch: int


_SIZES: Final = {
    "smoke": _Size(32, (8, 16), 40, 6, 12, 10, 10),
    "cpu": _Size(128, (32, 64, 96, 128), 8000, 64, 128, 100, 400),
    "gpu": _Size(256, (64, 128, 192, 256), 60_000, 256, 512, 1000, 1000),
}


def _config(size: _Size, images: Path, seed: int) -> dict[str, Any]:
    """Return the config of a training by the curriculum."""
    edge = size.size_px
    return {
        "task": "diffusion",
        "seed": seed,
        "data": {"folder": str(images), "held_out": 2},
        "curriculum": [
            {"patch_px": edge // 2, "share": 1, "batch_size": 8},
            {"share": 7, "batch_size": 4},
        ],
        # The noise in which it is decided where fins are is 3 to 30 times the image: without these
        # two, hardly any of the training is there.
        "schedule": {"shift": edge / 32},
        "coarse_loss": True,
        "flips": ["horizontal"],
        "network": {
            "widths": list(size.widths),
            "stem": 2,
            "position": True,
            "attention": [False] * (len(size.widths) - 2) + [True, True],
        },
        "augmentation": {"unchanged": 0.3},
        "validation_samples": 8 if size.steps < 100 else 64,
        "optimiser": {
            "steps": size.steps,
            "learning_rate": 1e-3,
            "warmup_steps": min(100, size.steps // 4),
            "ema_decay": 0.998,
            "steps_per_epoch": size.epoch,
            "keep_best": True,
            "threads": 1,
        },
        "weights_dtype": "float16",
        "name": "stacks",
        "summary": "Gate stacks over two fins, simulated, learned from 15 images.",
    }


def _refined(size: _Size, images: Path, seed: int, start: Path) -> dict[str, Any]:
    """Return the config of a second training, in the noise in which grain is drawn.

    The first is hardly ever there, and leaves a part of the finest noise in what it sees.
    """
    config = _config(size, images, seed)
    steps = 3 * size.steps // 16
    config["optimiser"] |= {
        "steps": steps,
        "learning_rate": 5e-4,
        "warmup_steps": min(50, steps // 4),
        "ema_decay": 0.995,
        "steps_per_epoch": max(1, steps // 10),
    }
    del config["coarse_loss"]
    return config | {
        "start_from": str(start), "curriculum": [{"batch_size": 4, "noise": "plain"}]
    }  # fmt: skip


def _trained(size: _Size, images: Path, seed: int, place: Path) -> Path:
    """Return the model, after both trainings: what there is is not trained again."""
    start = trained(_config(size, images, seed), place / "shapes")
    return trained(_refined(size, images, seed, start), place / "run")


def train_few_images(scale: str, folder: Path, seed: int) -> Path:
    """Return the model of :class:`FewImagesStudy`, trained where there is none.

    Parameters
    ----------
    scale
        Name of the scale.
    folder
        Folder of that study.
    seed
        Its repetition.
    """
    size, place = _SIZES[scale], folder / f"seed-{seed}"
    learned = stack_images(place / "learned", _LEARNED, size.size_px, _SEED + seed)
    made = place / "run" / "model.safetensors"
    return made if made.is_file() else _trained(size, learned, seed, place)


@dataclass(frozen=True)
class FewImagesStudy:
    """Samples of a model of fifteen images, beside real ones, copies and classical augmentation."""

    name: str = "ddpm-15"
    title: str = "synthesis from 15 images: the audit, beside real images and augmentation"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train, draw and audit; each seed has images, weights and samples of its own."""
        from everhart.synthesize.generator import Generator
        from everhart.training.model_file import read_header

        size = _SIZES[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        for seed in range(seeds or 1):
            place = results / f"seed-{seed}"
            progress(f"{self.name}: images, seed {seed}")
            learned = stack_images(place / "learned", _LEARNED, size.size_px, _SEED + seed)
            others = stack_images(
                place / "real", size.held_out + size.made, size.size_px, _SEED + seed, first=1000
            )
            progress(f"{self.name}: training, seed {seed}")
            generator = Generator.load(_trained(size, learned, seed, place))
            progress(f"{self.name}: {size.made} images, seed {seed}")
            made = _draw(generator, size, place / "made")
            # Of the model's card: a run of before may have trained it.
            minutes = [
                read_header(place / run / "model.safetensors").card.metrics["cpu_minutes"]
                for run in ("shapes", "run")
            ]
            said = {"training_cpu_minutes": sum(minutes)}
            progress(f"{self.name}: audits, seed {seed}")
            rows += _audited(generator, made, learned, others, size, place, seed, said)
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _audit_table(self.title, rows), overwrite=True)
        return record


def _draw(generator: Generator, size: _Size, folder: Path) -> Path:
    """Draw what is not there yet, of this very model."""
    folder = folder / generator.sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, size.made, 8):
        paths = [folder / f"made_{n:04d}.tif" for n in range(first, min(first + 8, size.made))]
        if all(path.is_file() for path in paths):
            continue
        images = generator.synthesize(len(paths), seed=first, steps=size.draw_steps)
        for image, path in zip(images, paths, strict=True):
            write(image, path, overwrite=True)
    return folder


def _audited(
    generator: Generator, made: Path, learned: Path, others: Path, size: _Size, place: Path,
    seed: int, said: Mapping[str, float],
) -> list[dict[str, Any]]:  # fmt: skip
    """Audit the samples, and what there is to compare them with."""
    from everhart.report import provenance
    from everhart.report.audit import write_audit_html
    from everhart.restore.features import pooled_features
    from everhart.synthesize.audit import audit
    from everhart.synthesize.grey_scale import grey_range
    from everhart.synthesize.sizes import compare_sizes, measure_sizes

    read_in = [[read(p) for p in image_paths([str(folder)])] for folder in (learned, others, made)]
    raw = [[np.asarray(image.pixels) for image in images] for images in read_in]
    pixel_size_nm = read_in[0][0].pixel_size_nm
    # One linear scale for all, whatever the generator's own is.
    scale = grey_range([*raw[0], *raw[1]], "linear")
    assert scale is not None
    known, real, drawn = ([scale.normalise(image) for image in images] for images in raw)
    held_out, fresh = real[: size.held_out], real[size.held_out :]
    fitted = fitted_stacks(size.made, size.size_px, _SEED + seed, _LEARNED)
    rng = np.random.default_rng(seed)
    sets = {
        "diffusion": drawn,
        "other real images": fresh,
        "the process, fitted to the 15": [scale.normalise(image) for image in fitted],
        "classical augmentation": [_augmented(known, rng) for _ in range(size.made)],
        "the 15 images again": [known[int(rng.integers(_LEARNED))] for _ in range(size.made)],
    }
    # In smaller images the layer is no wider than the grain.
    is_seen = size.size_px >= 128

    def measured(images: Sequence[Float32]) -> SizeSet:
        return measure_sizes([Micrograph(i, pixel_size_nm) for i in images], FinSizes(known))

    real_sizes = measured(held_out) if is_seen else None
    rows = []
    for name, images in sets.items():
        sizes = None
        if real_sizes is not None:
            sizes = compare_sizes("fins", measured(images), real_sizes, seed)
        found = audit(images, known, held_out, seed=seed, features=pooled_features, sizes=sizes)
        row = {"set": name, "seed": seed, **found.to_dict()}
        valid = valid_stacks(images, known) if is_seen else []
        row["valid_percent"] = 100 * float(np.mean(valid)) if valid else None
        if name == "diffusion":
            row |= said
            facts = {**provenance(), "model": generator.sha256, "seed": str(seed)}
            write_audit_html(
                found, images, known, held_out, place / "audit.html",
                name=generator.header.card.name, facts=facts, overwrite=True,
            )  # fmt: skip
        rows.append(row)
    return rows


def _augmented(images: Sequence[Float32], rng: np.random.Generator) -> Float32:
    """Flip, move and brighten, as is done everywhere."""
    image = images[int(rng.integers(len(images)))]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    moved = np.roll(image, int(rng.integers(-3, 4)), axis=1)
    return np.asarray(moved * rng.uniform(0.95, 1.05), np.float32)


def _audit_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    distances = list(rows[0]["ratios"])
    head = ["", "seed", "geometric mean", *distances, "AUC", "AUC by shapes", "precision",
            "recall", "noise", "valid %", "copies %", "diversity"]  # fmt: skip
    lines = [f"# {title}", "", f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    for row in rows:
        ratios = [f"{v:.2f} ({low:.2f}-{high:.2f})" for v, low, high in row["ratios"].values()]
        cells = [row["set"], str(row["seed"]), f"{row['geometric_mean']:.2f}", *ratios,
                 f"{row['auc']:.2f}", f"{row['auc_features']:.2f}", _share(row["precision"]),
                 _share(row["recall"]), f"{row['noise_ratio']:.3f}",
                 _percent(row["valid_percent"]), f"{row['copies_percent']:.1f}",
                 f"{row['diversity']:.2f}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_sizes_table(rows)])


def _sizes_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the measured sizes: mean and standard deviation, and the ratio of the distances."""
    rows = [row for row in rows if row["measured"] is not None]
    if not rows:
        return []
    names = list(rows[0]["measured"]["sizes"])
    lines = [
        f"| measured sizes | seed | images | {' | '.join(names)} |",
        "| --- |" + " ---: |" * (len(names) + 2),
        _sizes_line("real", rows[0], "real", names),
    ]
    lines += [_sizes_line(row["set"], row, "made", names) for row in rows]
    return [*lines, ""]


def _sizes_line(title: str, row: Mapping[str, Any], which: str, names: Sequence[str]) -> str:
    done, of = row["measured"]["measured_images"][which]
    cells = [title, str(row["seed"]), f"{done} of {of}"]
    for name in names:
        size = row["measured"]["sizes"].get(name)
        if size is None or size[which]["mean"] is None:
            cells.append("-")
            continue
        words = f"{size[which]['mean']:.2f} +- {size[which]['sd']:.2f}"
        if which == "made" and size["ratio"] is not None:
            words += ": {:.2f} ({:.2f}-{:.2f})".format(*size["ratio"])
        cells.append(words)
    return f"| {' | '.join(cells)} |"


def _share(share: Mapping[str, float]) -> str:
    return f"{share['value']:.2f} (real {share['real']:.2f})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
