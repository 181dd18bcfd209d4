"""Hidden parts drawn anew: judged in the hole alone, beside fills that know nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.io.atomic import write_text
from everhart.micrograph import Micrograph
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis import train_few_images
from everhart.studies.synthesis_data import Specimen, specimen

if TYPE_CHECKING:
    from everhart.restore.denoise import Denoiser
    from everhart.synthesize.generator import Generator

__all__ = ["HOLES", "InpaintStudy", "grainy_fill", "mean_fill", "smooth_fill", "write_strips"]

Pixels = NDArray[Any]
Float = NDArray[np.float64]
Hole = NDArray[np.bool_]

_SEED, _FIRST = 7, 6000
_DENOISER: Final = "nlm"


@dataclass(frozen=True)
class _Size:
    """How many held-out images of the generator's size are judged, and how holes are drawn."""

    images: int
    steps: int
    jump: int
    repeats: int


_SIZES: Final = {
    "smoke": _Size(2, 5, 2, 2),
    "cpu": _Size(8, 50, 5, 4),
    "gpu": _Size(64, 250, 10, 10),
}


def _square(edge: int) -> Hole:
    hidden = np.zeros((edge, edge), bool)
    hidden[edge // 4 : edge // 4 + edge // 4, edge * 3 // 8 : edge * 3 // 8 + edge // 4] = True
    return hidden


def _band(edge: int) -> Hole:
    """Lines that were not recorded, over the whole width."""
    hidden = np.zeros((edge, edge), bool)
    hidden[edge // 2 : edge // 2 + edge // 8] = True
    return hidden


def _scratch(edge: int) -> Hole:
    hidden = np.zeros((edge, edge), np.uint8)
    ends = (edge // 10, edge * 9 // 10), (edge * 9 // 10, edge // 10)
    cv2.line(hidden, *ends, 1, max(3, edge // 20))
    return hidden.astype(bool)


def _specks(edge: int) -> Hole:
    """Dirt in many places."""
    hidden = np.zeros((edge, edge), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(12):
        place = [int(p) for p in rng.integers(edge // 8, edge * 7 // 8, 2)]
        cv2.circle(hidden, place, max(2, edge // 24), 1, -1)
    return hidden.astype(bool)


HOLES: Final[Mapping[str, Callable[[int], Hole]]] = {
    "square": _square,
    "band": _band,
    "scratch": _scratch,
    "specks": _specks,
}
"""Holes by name: true where an image of an edge is hidden."""


def mean_fill(image: Pixels, hidden: Hole) -> Pixels:
    """Fill with the mean of what is not hidden."""
    return np.where(hidden, image[~hidden].mean().round().astype(image.dtype), image)


def smooth_fill(image: Pixels, hidden: Hole) -> Pixels:
    """Fill smoothly from the border, as OpenCV does (Navier-Stokes).

    Examples
    --------
    >>> image = np.full((32, 32), 500, np.uint16)
    >>> hidden = np.zeros((32, 32), bool)
    >>> hidden[8:20, 8:20] = True
    >>> bool((smooth_fill(np.where(hidden, 0, image).astype(np.uint16), hidden) == 500).all())
    True
    """
    # It takes the border as it is: without grain it does not smear single pixels inwards.
    known = np.asarray(np.where(hidden, 0, image), np.float32)
    weight = cv2.GaussianBlur((~hidden).astype(np.float32), (0, 0), 1.5)
    blurred = cv2.GaussianBlur(known, (0, 0), 1.5) / np.maximum(weight, 1e-3)
    given = np.asarray(np.where(hidden, 0, blurred), np.float32)
    filled = cv2.inpaint(given, hidden.astype(np.uint8), 5, cv2.INPAINT_NS)
    return np.where(hidden, np.round(filled), image).astype(image.dtype)


def grainy_fill(image: Pixels, hidden: Hole, rng: np.random.Generator) -> Pixels:
    """Fill smoothly, and add the grain of other places of the image."""
    smooth = smooth_fill(image, hidden)
    grain = np.asarray(image, np.float64) - cv2.GaussianBlur(
        np.asarray(image, np.float64), (0, 0), 1.5
    )
    moved = np.roll(grain, tuple(rng.integers(1, n) for n in image.shape), axis=(0, 1))
    limits = np.iinfo(image.dtype)
    drawn = np.clip(np.round(smooth + moved), limits.min, limits.max)
    return np.where(hidden, drawn, image).astype(image.dtype)


@dataclass(frozen=True)
class InpaintStudy:
    """RePaint beside fills that know nothing, and a second acquisition, in holes of some shapes."""

    name: str = "ddpm-inpaint"
    title: str = "hidden parts drawn anew: the hole alone, beside trivial fills"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Fill and judge; the generator is that of the study ``ddpm-15``."""
        from everhart.synthesize.generator import Generator

        size = _SIZES[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        for seed in range(seeds or 1):
            progress(f"{self.name}: generator, seed {seed}")
            generator = Generator.load(train_few_images(scale.name, folder / "ddpm-15", seed))
            results.mkdir(parents=True, exist_ok=True)
            for hole, shape in HOLES.items():
                progress(f"{self.name}: {hole}, seed {seed}")
                hidden = shape(generator.shape[0])
                picture = results / f"{hole}-{seed}.png"
                rows += _filled(generator, hidden, size, seed, hole, picture)
        record = {"study": self.name, "title": self.title, "scale": scale.name, "rows": rows}
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows), overwrite=True)
        return record


def _filled(
    generator: Generator, hidden: Hole, size: _Size, seed: int, hole: str, picture: Path
) -> list[dict[str, Any]]:
    """Fill one hole in every image, in every way."""
    from everhart.restore.denoise import make_denoiser

    denoise = make_denoiser(_DENOISER)
    found: dict[str, list[dict[str, float]]] = {}
    shown: list[Pixels] = []
    seconds = 0.0
    for number in range(_FIRST, _FIRST + size.images):
        known = specimen(number, hidden.shape[0], _SEED + seed)
        real = known.first
        started = time.process_time()
        drawn = generator.inpaint(
            Micrograph(real), hidden, seed=number,
            steps=size.steps, jump=size.jump, repeats=size.repeats,
        ).pixels  # fmt: skip
        seconds += time.process_time() - started
        fills = {
            "generator": drawn,
            "mean": mean_fill(real, hidden),
            "smooth": smooth_fill(real, hidden),
            "smooth with grain": grainy_fill(real, hidden, np.random.default_rng(number)),
            "acquired again": np.where(hidden, known.second, real),
        }
        for what, filled in fills.items():
            found.setdefault(what, []).append(_judged(filled, known, hidden, denoise))
        if not shown:
            shown = [np.where(hidden, 0, real), real, *fills.values()]
    write_strips([shown], picture)
    rows = []
    for what, each in found.items():
        means = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        spread = {f"{name}_sd": float(np.std([one[name] for one in each])) for name in each[0]}
        row = {"hole": hole, "hidden_percent": 100 * float(hidden.mean()), "fill": what,
               "seed": seed, "images": len(each), **means, **spread}  # fmt: skip
        rows.append(row | ({"cpu_s": seconds / len(each)} if what == "generator" else {}))
    return rows


def _judged(filled: Pixels, known: Specimen, hidden: Hole, denoise: Denoiser) -> dict[str, float]:
    """Judge a fill: the hole alone, but for what it does to the whole image's MS-SSIM."""
    from everhart.metrics import ms_ssim

    span, clean = known.span, known.clean
    given, true = np.asarray(filled, np.float64), np.asarray(known.first, np.float64)
    smooth = np.asarray(denoise(np.asarray(filled, np.float32)), np.float64)
    box = _box(hidden)
    found = {
        "psnr": _psnr(given[hidden], true[hidden], span),
        "psnr_denoised": _psnr(smooth[hidden], clean[hidden], span),
        "whole_ms_ssim": ms_ssim(given, true, data_range=span),
        "noise": _grain(given, hidden) / _grain(true, hidden),
        "border": _steps_over(given, hidden) / _steps_over(true, hidden),
    }
    if min(given[box].shape) >= 11 and hidden[box].all():
        # Of other shapes there is no image that is all hole.
        found["ms_ssim"] = ms_ssim(given[box], true[box], data_range=span)
        found["ms_ssim_denoised"] = ms_ssim(smooth[box], clean[box], data_range=span)
    return found


def _psnr(values: Float, reference: Float, span: float) -> float:
    return 10 * float(np.log10(span**2 / max(float(np.mean((values - reference) ** 2)), 1e-12)))


def _box(hidden: Hole) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(hidden.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _grain(image: Float, hidden: Hole) -> float:
    """Return the standard deviation of the finest detail, of pixels with all neighbours hidden."""
    inside = cv2.erode(hidden.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    # Along a diagonal, and second differences both ways: edges along rows or columns cancel.
    detail = cv2.filter2D(image, -1, np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]))
    return float(np.std(detail[inside])) + 1e-9


def _steps_over(image: Float, hidden: Hole) -> float:
    """Return the mean step between neighbours of which one is hidden and the other is not."""
    steps = []
    for axis in (0, 1):
        over = np.diff(hidden.astype(np.int8), axis=axis) != 0
        steps.append(np.abs(np.diff(image, axis=axis))[over])
    return float(np.mean(np.concatenate(steps)))


def write_strips(strips: Sequence[Sequence[Pixels]], path: Path) -> None:
    """Write rows of images side by side, all in the grey levels of the second of a row."""
    from everhart.io import write

    rows = []
    for images in strips:
        low, high = np.percentile(images[1], (0.5, 99.5))
        parts = [np.clip((np.asarray(i, np.float64) - low) / (high - low), 0, 1) for i in images]
        gap = np.ones((parts[0].shape[0], 2))
        row = np.hstack([part for image in parts for part in (image, gap)][:-1])
        rows += [row, np.ones((2, row.shape[1]))]
    drawn = np.vstack(rows[:-1])
    write(Micrograph(np.round(255 * drawn).astype(np.uint8)), path, overwrite=True)


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    head = ["hole", "%", "fill", "seed", "PSNR, dB", f"PSNR after `{_DENOISER}`, dB", "MS-SSIM",
            f"MS-SSIM after `{_DENOISER}`", "noise", "border", "whole image's MS-SSIM"]  # fmt: skip
    lines = [
        f"# {title}", "",
        "All of the hole alone but the last column. As they are: against the image that was "
        "hidden; denoised: against the clean one. Noise and border: standard deviation of the "
        "finest detail, and mean step over the border, each over that of the hidden image.",
        "", f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1),
    ]  # fmt: skip
    for row in rows:
        cells = [row["hole"], f"{row['hidden_percent']:.1f}", row["fill"], str(row["seed"])]
        for name, digits in (("psnr", 1), ("psnr_denoised", 1), ("ms_ssim", 3),
                             ("ms_ssim_denoised", 3), ("noise", 3), ("border", 3),
                             ("whole_ms_ssim", 3)):  # fmt: skip
            if name in row:
                cells.append(f"{row[name]:.{digits}f} ± {row[f'{name}_sd']:.{digits}f}")
            else:
                cells.append("-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
