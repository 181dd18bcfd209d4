"""From one process to another: five images and a trained generator, or fifteen from scratch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from everhart.io.atomic import write_text
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import stack_images
from everhart.studies.synthesis_recipes import draw_curves
from everhart.studies.synthesis_runs import trained

__all__ = ["TransferStudy"]

_SEED: Final = 24
"""Not 23, on whose images the settings below were chosen."""
_MANY, _FEW, _HELD_OUT = 15, 5, 8
_BEFORE: Final = {"smoke": 6, "cpu": 60, "gpu": 200}
"""Images of process A by scale: of a process that has been run for long there are more."""
_RATE: Final = 3e-4
"""Highest learning rate of a transfer: at 1e-3 it forgets what does not lie in five images."""


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    Process A, and B from 15 images, take `steps`; what begins with 5 images takes a quarter of
    them, with a learning rate that ends there, too: one for all the steps would still be high.
    """

    size_px: int
    widths: tuple[int, ...]
    steps: int
    batch: int
    epoch: int
    judged: int


_SIZES: Final = {
    "smoke": _Size(16, (8, 16), 40, 8, 10, 8),
    # A few CPU minutes a seed.
    "cpu": _Size(64, (16, 32, 64), 1200, 4, 30, 64),
    "gpu": _Size(256, (64, 128, 192, 256), 60_000, 8, 500, 128),
}
_QUARTER: Final = 4

_WAYS: Final[tuple[tuple[str, int, Mapping[str, Any] | None], ...]] = (
    ("15 images, from scratch", _MANY, None),
    ("5 images, from scratch", _FEW, None),
    ("5 images, from process A", _FEW, {}),
    ("5 images, from process A, frozen way down", _FEW, {"freeze": ["time", "first", "down"]}),
)
"""Name, images, and settings of a transfer; the first is what the others are compared with."""


@dataclass(frozen=True)
class TransferStudy:
    """The loss on held-out images of process B, step by step, however a training begins."""

    name: str = "ddpm-transfer"
    title: str = "from process A to process B with 5 images, against 15 from scratch"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train on process A, then on B in each way; the same images judge all of them."""
        size = _SIZES[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        for seed in range(seeds or 1):
            place = results / f"seed-{seed}"
            known = _BEFORE[scale.name] + 1
            before = stack_images(place / "a", known, size.size_px, _SEED + seed)
            # Image n has the same scatter and grain in either process: none is to be known of A.
            after = stack_images(
                place / "b",
                _MANY + _HELD_OUT,
                size.size_px,
                _SEED + seed,
                first=1000,
                other=True,
            )
            progress(f"{self.name}: process A, seed {seed}")
            start = trained(_config(size, before, seed, held_out=1), place / "run-a")
            for name, count, more in _WAYS:
                progress(f"{self.name}: {name}, seed {seed}")
                config = _config(size, after, seed, held_out=_HELD_OUT, limit=count)
                if count == _FEW:
                    steps = size.steps // _QUARTER
                    config["optimiser"] |= {"steps": steps, "warmup_steps": min(50, steps // 4)}
                if more is not None:
                    config["optimiser"] |= {"learning_rate": _RATE}
                    config |= {"start_from": str(start), **more}
                run = place / name.replace(",", "").replace(" ", "-")
                trained(config, run)
                rows.append(_curve(name, seed, run))
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows), overwrite=True)
        draw_curves(
            [(row["way"], row["seed"], row["steps"], row["loss"]) for row in rows],
            "steps",
            results / "curves.png",
        )
        return record


def _config(
    size: _Size, images: Path, seed: int, *, held_out: int, limit: int | None = None
) -> dict[str, Any]:
    return {
        "task": "diffusion",
        "seed": seed,
        "data": {"folder": str(images), "held_out": held_out, "limit": limit},
        "network": {"widths": list(size.widths), "stem": 2},
        "flips": ["horizontal"],
        "augmentation": {"unchanged": 0.1},
        "validation_samples": size.judged,
        "optimiser": {
            "steps": size.steps,
            "batch_size": size.batch,
            "learning_rate": 1e-3,
            "warmup_steps": min(50, size.steps // 4),
            "ema_decay": 0.98,
            "steps_per_epoch": size.epoch,
            "keep_best": True,
            "threads": 1,
        },
        "name": "stacks",
    }


def _curve(name: str, seed: int, run: Path) -> dict[str, Any]:
    import pandas as pd

    curve = pd.read_csv(run / "curves.csv")
    losses = [float(value) for value in curve["validation_loss"]]
    steps = [int(step) for step in curve["step"]]
    return {"way": name, "seed": seed, "steps": steps, "loss": losses, "best": min(losses)}


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"# {title}",
        "",
        "| training | seed | best held-out loss | against 15 images | steps "
        "| steps to the best of 15 images | part of its steps |",
        "| --- |" + " ---: |" * 6,
    ]
    for row in rows:
        goal = next(r for r in rows if r["seed"] == row["seed"])
        pairs = zip(row["steps"], row["loss"], strict=True)
        there = next((step for step, loss in pairs if loss <= goal["best"]), None)
        whole = goal["steps"][goal["loss"].index(goal["best"])]
        part = "-" if there is None else f"{100 * there / whole:.0f} %"
        lines.append(
            f"| {row['way']} | {row['seed']} | {row['best']:.4f} | "
            f"{100 * (row['best'] / goal['best'] - 1):+.1f} % | {row['steps'][-1]} | "
            f"{'not reached' if there is None else there} | {part} |"
        )
    return "\n".join([*lines, ""])
