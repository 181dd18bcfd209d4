"""Discs with labels, and configs of trainings on them that take a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml


def discs(rng: np.random.Generator, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A noisy 8-bit image and its objects, one number each."""
    y, x = np.mgrid[:size, :size]
    objects = np.zeros((size, size), np.uint8)
    for number in range(1, 5):
        cy, cx, r = rng.uniform(8, size - 8), rng.uniform(8, size - 8), rng.uniform(5, 9)
        objects[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = number
    clean = np.where(objects > 0, 150.0, 70.0)
    return np.clip(rng.normal(clean, 12), 0, 255).astype(np.uint8), objects


def settings(folder: Path, **more: object) -> dict[str, object]:
    optimiser = {
        "steps": 8, "steps_per_epoch": 4, "batch_size": 2, "threads": 1, "warmup_steps": 2,
        "ema_decay": 0.5, "precision": "fp32", "device": "cpu",
    }  # fmt: skip
    return {
        "task": "segment",
        "data": {"folder": str(folder)},
        "classes": {"background": 0, "disc": "rest"},
        "crop_px": 32,
        "network": {"widths": [8, 16]},
        "optimiser": optimiser,
        **more,
    }


def written(config: dict[str, object], path: Path) -> Path:
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
