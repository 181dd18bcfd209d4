"""Figure 11 of the ReNIn paper on real frames: the noise of an SEM is correlated.

Blind-spot methods take a pixel's noise to be independent of its neighbours'. The map says
whether it is, and the figures of N2V and of the FBI-denoiser say what it costs when it is not.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from everhart.align import register_pair
from everhart.errors import UsageError
from everhart.io import read
from everhart.io.atomic import atomic_path, write_text
from everhart.metrics import affine_psnr, psnr, ssim
from everhart.noise.correlation import autocorrelation
from everhart.studies.study import Progress, Scale

__all__ = ["CorrelationStudy"]

_MAX_LAG_PX = 5
_BLIND = ("n2v", "fbi")

Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class CorrelationStudy:
    """Correlation map of the real pairs, and what blind-spot training makes of them."""

    name: str = "renin-fig11"
    title: str = "correlation of real noise, and blind-spot training on it (Figure 11)"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Measure the map, train the blind-spot methods, compare with the shipped model.

        The pairs are those of ``$EVERHART_DATA/sem-pairs``: trained on the noisy ``time*``
        frames, judged on the ``line*`` pairs.

        Raises
        ------
        UsageError
            If ``EVERHART_DATA`` does not lead to the pairs.
        """
        source = _pairs_folder()
        results = folder / self.name
        results.mkdir(parents=True, exist_ok=True)
        progress(f"{self.name}: correlation map")
        pairs = _line_pairs(source)
        correlation = _correlation(pairs)
        _draw(correlation, results / "correlation.png")
        cells = []
        for seed in range(seeds if seeds is not None else scale.seeds):
            for method in ("noisy", "median", "bm3d", "sem-general", *_BLIND):
                path = results / f"{method}_{seed}.json"
                if not path.is_file():
                    progress(f"{self.name}: {method}, seed {seed}")
                    cell = _cell(method, scale, source, pairs, folder / "models", seed)
                    write_text(path, json.dumps(cell, indent=2) + "\n", overwrite=True)
                cells.append(json.loads(path.read_text(encoding="utf-8")))
        record = {
            "study": self.name,
            "title": self.title,
            "scale": scale.name,
            "correlation": correlation.tolist(),
            "figures": cells,
        }
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _markdown(self, record, correlation), overwrite=True)
        return record


def _pairs_folder() -> Path:
    root = os.environ.get("EVERHART_DATA", "")
    folder = Path(root) / "sem-pairs"
    if not root or not any(folder.glob("line*_noisy.png")):
        raise UsageError(
            "This study needs the real pairs in $EVERHART_DATA/sem-pairs and they are not there: "
            "set EVERHART_DATA as docs/data.md says."
        )
    return folder


def _line_pairs(source: Path) -> list[Pair]:
    pairs = []
    for file in sorted(source.glob("line*_noisy.png")):
        clean = read(file.with_name(file.name.replace("noisy", "clean")))
        noisy, moved, _ = register_pair(read(file), clean, model="shift")
        pairs.append((np.asarray(noisy).astype(np.uint8), np.asarray(moved)))
    return pairs


def _correlation(pairs: list[Pair]) -> NDArray[np.float64]:
    """Average the correlation maps of the residuals of the pairs."""
    maps = []
    for noisy, clean in pairs:
        slope, offset = np.polyfit(clean.ravel().astype(np.float64), noisy.ravel(), 1)
        maps.append(autocorrelation(noisy - (slope * clean + offset), _MAX_LAG_PX))
    return np.asarray(np.mean(maps, axis=0), np.float64)


def _cell(
    method: str, scale: Scale, source: Path, pairs: list[Pair], models: Path, seed: int
) -> dict[str, Any]:
    from everhart.restore import make_denoiser

    start = time.process_time()
    if method == "noisy":
        denoise: Any = lambda image: image  # noqa: E731
    elif method in _BLIND:
        denoise = make_denoiser(model=_trained(method, scale, source, models, seed))
    else:
        denoise = make_denoiser(method)
    trained = time.process_time() - start
    rows = []
    for noisy, clean in pairs:
        restored = np.asarray(denoise(noisy), np.float64)
        rows.append(
            {
                "psnr_db": psnr(restored, clean, data_range=255),
                "affine_psnr_db": affine_psnr(restored, clean, data_range=255),
                "ssim": ssim(restored, clean, data_range=255),
            }
        )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {"method": method, "seed": seed, "training_cpu_s": round(trained, 1), **means}


def _trained(method: str, scale: Scale, source: Path, models: Path, seed: int) -> Path:
    from everhart.restore.train import train

    config: dict[str, Any] = {
        "task": "denoise",
        "recipe": method,
        "seed": seed,
        "data": [
            {
                "kind": "frames",
                "folder": str(source),
                "names": "plain",
                "registration": "none",
                "exclude": ["*_clean.png", "line*", "*.csv"],
            }
        ],
        **(scale.fbi_net if method == "fbi" else scale.unet),
    }
    run = models / f"fig11_{method}_{seed}"
    models.mkdir(parents=True, exist_ok=True)
    path = run.with_suffix(".yaml")
    write_text(path, yaml.safe_dump(config, sort_keys=False), overwrite=True)
    return train(path, run, resume=(run / "checkpoints" / "last.ckpt").is_file())


def _draw(correlation: NDArray[np.float64], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.6), layout="constrained", dpi=120)
    axes = figure.add_subplot()
    lag = _MAX_LAG_PX + 0.5
    image = axes.imshow(
        correlation, vmin=-0.5, vmax=0.5, cmap="RdBu_r", extent=(-lag, lag, lag, -lag)
    )
    axes.set(xlabel="lag along the scan line (px)", ylabel="lag across (px)")
    figure.colorbar(image, label="Pearson correlation")
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png")


def _markdown(
    study: CorrelationStudy, record: dict[str, Any], correlation: NDArray[np.float64]
) -> str:
    import pandas as pd

    middle = _MAX_LAG_PX
    along = ", ".join(f"{correlation[middle, middle + lag]:.2f}" for lag in (1, 2, 3))
    across = ", ".join(f"{correlation[middle + lag, middle]:.2f}" for lag in (1, 2, 3))
    text = f"# {study.name}: {study.title}\n\n"
    text += f"Scale `{record['scale']}`. Correlation of the noise of the `line*` frames at lags "
    text += f"1, 2, 3 px: {along} along the scan line, {across} across.\n\n"
    table = pd.DataFrame(record["figures"]).drop(columns="seed").groupby("method", sort=False)
    means = table.mean()
    lines = [["method", "PSNR (dB)", "affine-matched PSNR (dB)", "SSIM", "training (CPU s)"]]
    lines.append(["---"] * 5)
    for method, row in means.iterrows():
        figures = [f"{row['psnr_db']:.2f}", f"{row['affine_psnr_db']:.2f}", f"{row['ssim']:.3f}"]
        lines.append([str(method), *figures, f"{row['training_cpu_s']:.0f}"])
    text += "".join("| " + " | ".join(line) + " |\n" for line in lines)
    affine = means["affine_psnr_db"].to_dict()
    gaps = [
        f"{method} stays {affine['sem-general'] - affine[method]:.2f} dB below `sem-general`"
        for method in _BLIND
    ]
    return text + "\nAffine-matched, " + " and ".join(gaps) + ".\n"
