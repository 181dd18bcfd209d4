"""The studies `losses-tin-balls` and `losses-wafers`: what the loss decides, and what the network.

One U-Net, the same data and the same steps for every row; the loss is what differs, or, for the
ideas that the source dropped, the network. The source's wafers are not public and its weights of
the losses are not known here; what can be compared are differences between rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from everhart.io.atomic import write_text
from everhart.studies.kept import kept_figures, kept_model, merge, training_cpu_s
from everhart.studies.losses_data import Bench, tin_balls, wafer_pairs
from everhart.studies.losses_table import markdown
from everhart.studies.study import Ordering, Progress, Row, Scale

__all__ = ["LOSS_STUDIES", "LossStudy", "training_config"]


@dataclass(frozen=True)
class _Size:
    """How much data there is: real pairs, and simulated ones, by their number and edge."""

    real_pairs: tuple[int, int]
    pairs: int
    side_px: int
    test_px: int
    placements: int
    optimiser: Mapping[str, Any]


_SIZES: Final = {
    "smoke": _Size((4, 2), 6, 96, 192, 5, {"steps": 40, "warmup_steps": 5}),
    "cpu": _Size((28, 30), 120, 256, 384, 4, {"steps": 500, "batch_size": 4, "ema_decay": 0.99}),
    "gpu": _Size((28, 30), 1000, 512, 768, 4, {"steps": 20_000, "batch_size": 16}),
}
"""By the name of the scale, which says the rest of the training."""


@dataclass(frozen=True)
class LossStudy:
    """Rows that differ by their loss or their network, judged on one bench.

    Parameters
    ----------
    name, title
        Name on the command line, and what it shows.
    rows
        The rows; in a recipe, ``more_levels`` is by how many the U-Net is deeper.
    orderings
        What the source concludes.
    columns
        What is tabulated.
    open_bench
        Returns the data of a repetition: called with the folder of all data, the size and the seed.
    """

    name: str
    title: str
    rows: Sequence[Row]
    orderings: Sequence[Ordering]
    columns: Sequence[str]
    open_bench: Callable[[Path, _Size, int], Bench]

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Run it, or go on where it was stopped."""
        size = _SIZES[scale.name]
        results = folder / self.name

        @lru_cache(maxsize=1)
        def bench(seed: int) -> Bench:
            return self.open_bench(folder / "data" / f"{self.name}-{scale.name}", size, seed)

        def cell(row: Row, seed: int) -> dict[str, Any]:
            return _cell(row, scale, bench(seed), folder / "models", seed)

        figures = []
        for seed in range(seeds if seeds is not None else scale.seeds):
            figures += kept_figures(self.rows, seed, results, partial(cell, seed=seed), progress)
        record = {
            "study": self.name,
            "title": self.title,
            "scale": scale.name,
            "figures": figures,
        }
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", markdown(self, record), overwrite=True)
        return record


def training_config(row: Row, scale: Scale, folder: Path, seed: int) -> dict[str, Any]:
    """Return the config that a row is trained by, on the pairs of a folder."""
    assert row.recipe is not None
    source = {
        "kind": "pairs",
        "folder": str(folder),
        "noisy": "noisy/*.tif",
        "clean": "clean/*.tif",
        "registration": "none",
    }
    config: dict[str, Any] = {"task": "denoise", "seed": seed, "data": [source]}
    merge(config, scale.unet)
    merge(config, {"optimiser": _SIZES[scale.name].optimiser})
    recipe = dict(row.recipe)
    widths = config["network"]["widths"]
    for _ in range(recipe.pop("more_levels", 0)):
        widths.append(2 * widths[-1])
    merge(config, recipe)
    return config


def _cell(row: Row, scale: Scale, bench: Bench, models: Path, seed: int) -> dict[str, Any]:
    seconds = 0.0
    denoise: Callable[[Any], Any] = lambda image: image  # noqa: E731
    if row.recipe is not None:
        from everhart.restore.network import LearnedDenoiser

        model = kept_model(training_config(row, scale, bench.folder, seed), models, bench.name)
        denoise, seconds = LearnedDenoiser.load(model).denoise, training_cpu_s(model)
    figures = bench.judge(denoise)
    return {"row": row.key, "seed": seed, "training_cpu_s": seconds, "figures": figures}


def _losses(**weights: float) -> dict[str, Any]:
    return {"recipe": "supervised", "loss": weights}


def _open_tin_balls(data: Path, size: _Size, seed: int) -> Bench:
    del seed  # the images are the same; weights and crops differ
    training, test = size.real_pairs
    return tin_balls(data, training_pairs=training, test_pairs=test)


def _open_wafers(data: Path, size: _Size, seed: int) -> Bench:
    return wafer_pairs(
        data / f"seed_{seed}",
        seed,
        pairs=size.pairs,
        side_px=size.side_px,
        test_px=size.test_px,
        placements=size.placements,
    )


_SSIM: Final = 0.3
"""Weight of SSIM and MS-SSIM beside a pointwise loss, that of ``examples/tin-balls.yaml``."""
_EDGE: Final = 2.0
"""So that the edge term is about as large as that of MS-SSIM."""

_TIN_BALLS = LossStudy(
    "losses-tin-balls",
    "MSE + SSIM against Charbonnier + SSIM on real pairs of tin balls",
    rows=[
        Row("noisy", "noisy"),
        Row("mse", "MSE", recipe=_losses(mse=1.0)),
        Row("charbonnier", "Charbonnier", recipe=_losses(charbonnier=1.0)),
        Row(
            "mse-ssim",
            "MSE + SSIM",
            recipe=_losses(mse=1.0, ssim=_SSIM),
            paper={"PSNR": 27.4, "SSIM": 0.83},
        ),
        Row(
            "charbonnier-ssim",
            "Charbonnier + SSIM",
            recipe=_losses(charbonnier=1.0, ssim=_SSIM),
            paper={"PSNR": 30.7, "SSIM": 0.88},
        ),
    ],
    orderings=[
        Ordering("charbonnier-ssim", "mse-ssim", "psnr_db", paper=3.3),
        Ordering("charbonnier-ssim", "mse-ssim", "ssim", paper=0.05),
        Ordering("charbonnier-ssim", "mse-ssim", "affine_psnr_db"),
        Ordering("charbonnier-ssim", "mse-ssim", "edge_merit"),
        Ordering("charbonnier", "mse", "psnr_db"),
        Ordering("charbonnier", "mse", "ssim"),
        Ordering("mse-ssim", "mse", "ssim"),
        Ordering("charbonnier-ssim", "charbonnier", "ssim"),
    ],
    columns=("psnr_db", "affine_psnr_db", "ssim", "edge_merit"),
    open_bench=_open_tin_balls,
)

_ALL_THREE = _losses(charbonnier=1.0, ms_ssim=_SSIM, edge=_EDGE)
_DROPPED = (
    ("residual", "residual output", {"network": {"output": "residual"}}),
    ("deeper", "deeper U-Net", {"more_levels": 1}),
    ("edge-map", "edge map as second channel", {"network": {"edge_plane": True}}),
)

_WAFERS = LossStudy(
    "losses-wafers",
    "Charbonnier against + MS-SSIM against + edge on simulated wafers with defects",
    rows=[
        Row("noisy", "noisy"),
        Row("mse", "MSE", recipe=_losses(mse=1.0)),
        Row("charbonnier", "Charbonnier", recipe=_losses(charbonnier=1.0)),
        Row("ms-ssim", "Charbonnier + MS-SSIM", recipe=_losses(charbonnier=1.0, ms_ssim=_SSIM)),
        Row("edge", "Charbonnier + edge", recipe=_losses(charbonnier=1.0, edge=_EDGE)),
        Row("all", "Charbonnier + MS-SSIM + edge", recipe=_ALL_THREE),
        *(Row(key, f"the same, {title}", recipe={**_ALL_THREE, **m}) for key, title, m in _DROPPED),
    ],
    orderings=[
        *(
            Ordering(better, worse, column)
            for better, worse in (
                ("charbonnier", "mse"),
                ("ms-ssim", "charbonnier"),
                ("edge", "charbonnier"),
                ("all", "charbonnier"),
            )
            for column in ("psnr_db", "ssim", "edge_merit", "kept_small_percent", "found_percent")
        ),
        # The source dropped them: they brought nothing.
        *(
            Ordering("all", key, column, within=within)
            for key, _, _ in _DROPPED
            for column, within in (("psnr_db", 0.1), ("kept_small_percent", 1.0))
        ),
    ],
    columns=(
        "psnr_db",
        "ssim",
        "edge_merit",
        "kept_small_percent",
        "kept_large_percent",
        "found_percent",
    ),
    open_bench=_open_wafers,
)

LOSS_STUDIES = (_TIN_BALLS, _WAFERS)
"""The studies of losses."""
