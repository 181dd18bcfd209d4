"""What of a recipe makes a generator of fifteen images good: patches first, and augmentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from everhart.io.atomic import atomic_path, write_text
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import stack_images
from everhart.studies.synthesis_runs import trained

__all__ = [
    "RECIPE_STUDIES",
    "Recipe",
    "RecipeSize",
    "RecipeStudy",
    "draw_curves",
    "megapixels",
    "recipe_config",
]

_SEED: Final = 7


@dataclass(frozen=True)
class RecipeSize:
    """How large everything is at a scale.

    Parameters
    ----------
    size_px
        Edge of the images.
    widths
        Of the network.
    steps, batch
        Steps on whole images, and images in each: together the compute that is shared out.
    epoch
        Steps between two points of a curve.
    held_out, judged
        Images that judge, and how many noisy ones are made of them.
    precision
        Of the training: small networks are quicker in single precision on a processor.
    learning_rate
        Highest rate.
    learned
        Images that are learned from.
    """

    size_px: int
    widths: tuple[int, ...]
    steps: int
    batch: int
    epoch: int
    held_out: int
    judged: int
    precision: str = "auto"
    learning_rate: float = 1e-3
    learned: int = 15


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Parameters
    ----------
    name
        What it is called.
    stages
        ``"whole"`` images alone; the ``"curriculum"``, from patches of reduced images to whole
        ones; ``"mixed"``, the same stages in turn all along.
    compute
        Part of the compute that it may take; its learning rate ends there.
    settings
        Replaces settings of the config.
    learned
        Images that it learns from; None for as many as the others.
    """

    name: str
    stages: Literal["whole", "curriculum", "mixed"] = "whole"
    compute: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    learned: int | None = None


@dataclass(frozen=True)
class RecipeStudy:
    """Recipes by their compute and the loss on whole images that are not learned from.

    The first recipe is what the others are compared with. Compute is measured in pixels that the
    network sees.
    """

    name: str
    title: str
    recipes: tuple[Recipe, ...]
    sizes: Mapping[str, RecipeSize]

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train by each recipe; each seed has images and weights of its own."""
        size = self.sizes[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        record: dict[str, Any] = {}
        pool = max([size.learned, *(r.learned or 0 for r in self.recipes)])
        for seed in range(seeds or 1):
            images = stack_images(
                results / f"learned-{seed}",
                pool + size.held_out,
                size.size_px,
                _SEED + seed,
            )
            for recipe in self.recipes:
                progress(f"{self.name}: {recipe.name}, seed {seed}")
                run = results / f"{recipe.name.replace(',', '').replace(' ', '-')}-{seed}"
                config = recipe_config(recipe, size, images, seed, pool=pool)
                model = trained(config, run)
                rows.append(_curve(recipe.name, seed, config, run, model, size.size_px))
                record = self._record(scale, results, rows)
        return record

    def _record(self, scale: Scale, results: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Write what there is, after each training, and return it."""
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows), overwrite=True)
        draw_curves(
            [(row["recipe"], row["seed"], row["megapixels"], row["loss"]) for row in rows],
            "pixels that the network has seen (10^6)",
            results / "curves.png",
        )
        return record


def recipe_config(
    recipe: Recipe, size: RecipeSize, images: Path, seed: int, *, pool: int | None = None
) -> dict[str, Any]:
    """Return the config of a training, with as many steps as its compute is good for.

    `pool` images could be learned from; None for as many as `size` says.
    """
    edge, learned = size.size_px, recipe.learned or size.learned
    stages = [
        {"patch_px": edge // 4, "reduction": 2, "share": 1, "batch_size": 4 * size.batch},
        {"patch_px": edge // 2, "share": 2, "batch_size": 2 * size.batch},
        {"share": 5, "batch_size": size.batch},
    ]
    config: dict[str, Any] = {
        "task": "diffusion",
        "seed": seed,
        "data": {
            "folder": str(images),
            "held_out": size.held_out,
            **({} if learned == (pool or learned) else {"limit": learned}),
        },
        "curriculum": stages[-1:] if recipe.stages == "whole" else stages,
        "network": {"widths": list(size.widths), "stem": 2, "position": True},
        "augmentation": {"unchanged": 0.3},
        "validation_samples": size.judged,
        "name": "stacks",
        **recipe.settings,
    }
    if recipe.stages == "mixed":
        # A stage lasts an epoch or more, and the shortest one is an eighth of a cycle.
        config["cycles"] = max(1, size.steps // (8 * size.epoch))
    compute = recipe.compute * size.steps * size.batch * edge**2 / 1e6

    def beside(epochs: int) -> float:
        steps = epochs * size.epoch
        config["optimiser"] = {
            "steps": steps,
            "batch_size": size.batch,
            "learning_rate": size.learning_rate,
            "warmup_steps": min(50, steps // 4),
            "ema_decay": 0.99,
            "steps_per_epoch": size.epoch,
            "keep_best": True,
            "precision": size.precision,
            "threads": 1,
        }
        return abs(megapixels(config, edge)[-1] - compute)

    beside(min(range(1, 4 * size.steps // size.epoch), key=beside))
    return config


def megapixels(config: Mapping[str, Any], edge: int) -> list[float]:
    """Return the pixels that the network has seen after each epoch, in 10^6."""
    import numpy as np

    from everhart.synthesize.patches import StageConfig, stage_at

    stages = [StageConfig(**stage) for stage in config["curriculum"]] * config.get("cycles", 1)
    optimiser = config["optimiser"]
    steps, epoch = optimiser["steps"], optimiser["steps_per_epoch"]
    seen = []
    for first in range(0, steps, epoch):
        stage = stage_at(stages, first / steps)
        batch = stage.batch_size or optimiser["batch_size"]
        seen.append(min(epoch, steps - first) * (stage.patch_px or edge) ** 2 * batch / 1e6)
    return [float(total) for total in np.cumsum(seen)]


def _curve(
    name: str, seed: int, config: Mapping[str, Any], run: Path, model: Path, edge: int
) -> dict[str, Any]:
    """Return the loss on held-out images against the pixels that were seen."""
    import pandas as pd

    from everhart.training.model_file import read_header

    losses = [float(v) for v in pd.read_csv(run / "curves.csv")["validation_loss"]]
    return {
        "recipe": name,
        "seed": seed,
        "megapixels": megapixels(config, edge),
        "loss": losses,
        "best": min(losses),
        "cpu_minutes": float(read_header(model).card.metrics["cpu_minutes"]),
    }


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"# {title}",
        "",
        "| recipe | seed | best held-out loss | against the first recipe | loss at the end "
        "| pixels (10^6) | CPU minutes | pixels to the first recipe's best | part of its pixels |",
        "| --- |" + " ---: |" * 8,
    ]
    for row in rows:
        goal = next(r for r in rows if r["seed"] == row["seed"])
        pairs = zip(row["megapixels"], row["loss"], strict=True)
        there = next((seen for seen, loss in pairs if loss <= goal["best"]), None)
        whole = goal["megapixels"][goal["loss"].index(goal["best"])]
        reached = ["not reached", "-"]
        if there is not None:
            reached = [f"{there:.1f}", f"{100 * there / whole:.0f} %"]
        cells = [
            row["recipe"],
            str(row["seed"]),
            f"{row['best']:.4f}",
            f"{100 * (row['best'] / goal['best'] - 1):+.1f} %",
            f"{row['loss'][-1]:.4f}",
            f"{row['megapixels'][-1]:.1f}",
            f"{row['cpu_minutes']:.1f}",
            *reached,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def draw_curves(
    curves: Sequence[tuple[str, int, Sequence[float], Sequence[float]]], along: str, path: Path
) -> None:
    """Draw held-out losses, a panel a seed.

    Parameters
    ----------
    curves
        Name, seed, and the points of each.
    along
        What the horizontal axis says.
    path
        The picture; one that is there is replaced.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, *_ in curves))
    seeds = sorted({seed for _, seed, *_ in curves})
    figure = Figure(figsize=(4.4 * len(seeds), 3.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(seeds), squeeze=False, sharey=True)[0]
    for name, seed, x, loss in curves:
        panel = panels[seeds.index(seed)]
        panel.plot(x, loss, label=name, color=f"C{names.index(name)}", lw=1.4)
    # The first steps fall from 1 and would leave no room for what matters.
    lowest = min(min(loss) for *_, loss in curves)
    for panel, seed in zip(panels, seeds, strict=True):
        panel.set(title=f"seed {seed}", xlabel=along, ylim=(0.97 * lowest, 1.7 * lowest))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("loss on held-out whole images")
    panels[0].legend(fontsize=8)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png")


_FLIPPED: Final = {"flips": ["horizontal"]}

RECIPE_STUDIES: Final = (
    RecipeStudy(
        "ddpm-curriculum",
        "small patches first, against whole images and all sizes in turn",
        (
            Recipe("whole images"),
            Recipe("curriculum, half the compute", "curriculum", 0.5),
            Recipe("whole images, half the compute", "whole", 0.5),
            Recipe("curriculum", "curriculum"),
            Recipe("all sizes in turn", "mixed"),
        ),
        {
            "smoke": RecipeSize(32, (8, 16), 40, 4, 10, 4, 8),
            # Until whole images no longer gain: before, whatever takes longer is better.
            "cpu": RecipeSize(64, (16, 32, 64), 2000, 4, 100, 8, 64, "fp32"),
            "gpu": RecipeSize(256, (64, 128, 192, 256), 40_000, 4, 1000, 16, 128),
        },
    ),
    RecipeStudy(
        "ddpm-augment",
        "one change of a microscope a sample, against flips alone",
        (
            Recipe("flips", settings={"augmentation": None, **_FLIPPED}),
            Recipe("flips and EM-TrivialAugment", settings=_FLIPPED),
            Recipe("EM-TrivialAugment"),
            # What no augmentation can take away: the grain of a new image cannot be foreseen.
            Recipe("flips, 200 images", settings={"augmentation": None, **_FLIPPED}, learned=200),
        ),
        {
            "smoke": RecipeSize(16, (8, 16), 40, 4, 10, 4, 8),
            # Small images and few, so that a training of minutes learns them by heart: a shorter
            # one cannot gain by augmentation.
            "cpu": RecipeSize(32, (16, 32, 32), 700, 8, 35, 16, 128, "fp32", 2e-3, learned=5),
            "gpu": RecipeSize(256, (64, 128, 192, 256), 60_000, 8, 1000, 16, 128),
        },
    ),
)
