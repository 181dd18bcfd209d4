"""How like a generator's images are to real ones, by MS-SSIM: what each way of pairing can say."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io.atomic import write_text
from everhart.micrograph import Micrograph
from everhart.studies.study import Progress, Scale
from everhart.studies.synthesis_data import Specimen, labelled_stacks, specimen
from everhart.studies.synthesis_inpaint import mean_fill, smooth_fill, write_strips
from everhart.studies.synthesis_runs import trained

if TYPE_CHECKING:
    from everhart.restore.denoise import Denoiser
    from everhart.synthesize.generator import Generator
    from everhart.synthesize.samplers import SamplerName

__all__ = ["FidelityStudy"]

Pixels = NDArray[Any]
Float = NDArray[np.float64]

_LEARNED, _SEED, _FIRST = 15, 7, 5000
_DENOISERS: Final = ("sem-general", "nlm")
_OTHER_DOSES: Final = (50.0, 5000.0)
"""Electrons a pixel at which two acquisitions are compared, too: what no generator can pass."""


@dataclass(frozen=True)
class _Size:
    """How large everything is at a scale.

    `paired` held-out specimens are drawn from their masks; `others` of them are judged by the other
    protocols, which take longer.
    """

    size_px: int
    widths: tuple[int, ...]
    steps: int
    epoch: int
    dose_e_per_px: float
    paired: int
    others: int
    draw_steps: int
    repaint: tuple[int, int, int]
    levels: tuple[float, ...]


_LEVELS: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)

_SIZES: Final = {
    "smoke": _Size(32, (8, 16), 20, 10, 300.0, 2, 2, 5, (5, 2, 2), (0.2,)),
    "cpu": _Size(128, (32, 64, 96), 2000, 200, 300.0, 50, 10, 100, (50, 5, 4), _LEVELS),
    "gpu": _Size(256, (64, 128, 192, 256), 60_000, 1000, 300.0, 200, 64, 250, (250, 10, 10),
                 _LEVELS),
}  # fmt: skip


@dataclass(frozen=True)
class FidelityStudy:
    """MS-SSIM by five protocols, raw and after denoising, on held-out specimens.

    The materials have no texture of their own: a mask says nothing of it, and what the mask does
    not say cannot be paired. A row says what texture alone would cost.
    """

    name: str = "ddpm-fidelity"
    title: str = "MS-SSIM of synthetic images: which way of pairing reaches 0.98"

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Train, draw and compare; each seed has images, weights and samples of its own."""
        from everhart.synthesize.generator import Generator

        size = _SIZES[scale.name]
        results = folder / self.name
        rows: list[dict[str, Any]] = []
        for seed in range(seeds or 1):
            place = results / f"seed-{seed}"
            learned = labelled_stacks(
                place / "learned", range(_LEARNED), size.size_px, _SEED + seed,
                texture=0, dose_e_per_px=size.dose_e_per_px,
            )  # fmt: skip
            progress(f"{self.name}: training, seed {seed}")
            generator = Generator.load(_model(size, learned, seed, place / "run"))
            rows += _Protocols(generator, size, seed, place, progress).rows()
        record = {
            "study": self.name, "title": self.title, "scale": scale.name,
            "dose_e_per_px": size.dose_e_per_px, "rows": rows,
        }  # fmt: skip
        write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
        write_text(results / "table.md", _table(self.title, rows, size), overwrite=True)
        return record


def _model(size: _Size, learned: Path, seed: int, run: Path) -> Path:
    """Return the generator that knows masks, trained where there is none."""
    made = run / "model.safetensors"
    if made.is_file():
        return made
    config = {
        "task": "diffusion",
        "seed": seed,
        "data": {
            "folder": str(learned / "images"), "masks": str(learned / "masks"), "held_out": 2,
        },
        "curriculum": [
            {"patch_px": size.size_px // 2, "share": 3, "batch_size": 8},
            {"share": 2, "batch_size": 4},
        ],
        "network": {"widths": list(size.widths), "stem": 2, "position": True},
        "augmentation": {"unchanged": 0.5},
        # Without a mask it draws for the protocols that give none.
        "mask_dropout": 0.2,
        "validation_samples": 8 if size.steps < 100 else 64,
        "optimiser": {
            "steps": size.steps, "learning_rate": 1e-3,
            "warmup_steps": min(100, size.steps // 4), "ema_decay": 0.998,
            "steps_per_epoch": size.epoch, "keep_best": True, "threads": 1,
        },
        "weights_dtype": "float16",
        "name": "stacks",
    }  # fmt: skip
    return trained(config, run)


def _specimen(
    number: int, size: _Size, seed: int, *, texture: float = 0.0, dose: float | None = None
) -> Specimen:
    return specimen(
        number,
        size.size_px,
        _SEED + seed,
        texture=texture,
        dose_e_per_px=dose or size.dose_e_per_px,
    )


class _Protocols:
    """The protocols with one generator."""

    def __init__(
        self, generator: Generator, size: _Size, seed: int, place: Path, progress: Progress
    ) -> None:
        from everhart.restore.denoise import make_denoiser
        from everhart.synthesize.training_images import hash_of

        self.generator, self.size, self.seed = generator, size, seed
        self.place, self.progress = place, progress
        self.denoisers: dict[str, Denoiser] = {m: make_denoiser(m) for m in _DENOISERS}
        numbers = range(_FIRST, _FIRST + max(size.paired, size.others))
        self.specimens = [_specimen(number, size, seed) for number in numbers]
        learned = set((generator.header.card.model_extra or {})["learned_sha256"])
        images = [_specimen(number, size, seed) for number in range(_LEARNED)]
        self.known = [s for s in images if hash_of(s.first) in learned]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table, in its order."""
        some = self.specimens[: self.size.others]
        rows = [
            self._row("two acquisitions of a specimen", [(s.second, s) for s in self.specimens])
        ]
        for dose in _OTHER_DOSES:
            lit = [_specimen(_FIRST + n, self.size, self.seed, dose=dose) for n in range(len(some))]
            name = f"two acquisitions at {dose:g} e/px"
            rows.append(self._row(name, [(s.second, s) for s in lit]))
        rows.append(self._textures(some))
        self.progress(f"ddpm-fidelity: {self.size.paired} images from masks, seed {self.seed}")
        started = time.process_time()
        drawn = self._by_masks("ddpm", self.size.draw_steps)
        minutes = (time.process_time() - started) / 60
        pairs = list(zip(drawn, self.specimens, strict=False))
        levels = [float(np.mean(image) - s.clean.mean()) / s.span for image, s in pairs]
        rows.append(
            {**self._row("drawn from the held-out mask", pairs), "cpu_minutes": minutes,
             "brightness_percent": 100 * float(np.mean(levels)),
             "brightness_sd_percent": 100 * float(np.std(levels))}
        )  # fmt: skip
        quick = self._by_masks("dpm", max(5, self.size.draw_steps // 4))
        name = f"the same by `dpm` in {max(5, self.size.draw_steps // 4)} steps"
        rows.append(self._row(name, list(zip(quick, self.specimens, strict=False))))
        self._picture(drawn)
        wrong = [(drawn[n - 1], s) for n, s in enumerate(self.specimens[: self.size.paired])]
        rows.append(self._row("drawn from the mask of another specimen", wrong))
        self.progress(f"ddpm-fidelity: holes, seed {self.seed}")
        rows += self._holes(some)
        self.progress(f"ddpm-fidelity: noised and drawn back, seed {self.seed}")
        rows += self._back(some)
        self.progress(f"ddpm-fidelity: nearest neighbours, seed {self.seed}")
        rows += self._nearest(some)
        return [{"seed": self.seed, **row} for row in rows]

    def _by_masks(self, sampler: SamplerName, steps: int) -> list[Pixels]:
        return [
            self.generator.synthesize(
                1, seed=_FIRST + n, mask=s.mask, sampler=sampler, steps=steps
            )[0].pixels
            for n, s in enumerate(self.specimens[: self.size.paired])
        ]  # fmt: skip

    def _picture(self, drawn: Sequence[Pixels]) -> None:
        """Write mask, acquisition, drawn image, both denoised, and the clean render."""
        strips = []
        for image, s in list(zip(drawn, self.specimens, strict=False))[:3]:
            low, high = float(s.clean.min()), float(s.clean.max())
            denoise = self.denoisers["nlm"]
            smooth = [denoise(np.asarray(i, np.float32)) for i in (s.first, image)]
            mask = low + (high - low) * s.mask / max(1, s.mask.max())
            strips.append([mask, s.first, image, *smooth, s.clean])
        write_strips(strips, self.place / "drawn.png")

    def _row(
        self, protocol: str, pairs: Sequence[tuple[Pixels, Specimen]],
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> dict[str, Any]:  # fmt: skip
        """Compare images with an acquisition as they are, and denoised with the clean render."""
        raw: list[float] = []
        denoised: dict[str, list[float]] = {name: [] for name in self.denoisers}
        for image, s in pairs:
            raw.append(_likeness(image[window], s.first[window], s))
            for name, denoise in self.denoisers.items():
                smooth = denoise(np.asarray(image, np.float32))
                denoised[name].append(_likeness(smooth[window], s.clean[window], s))
        row: dict[str, Any] = {"protocol": protocol, "n": len(pairs), "raw": _interval(raw)}
        return {**row, "denoised": {name: _interval(found) for name, found in denoised.items()}}

    def _textures(self, some: Sequence[Specimen]) -> dict[str, Any]:
        """Return what the usual texture costs where everything else is perfect."""
        pairs = []
        for n, s in enumerate(some):
            other = _specimen(_FIRST + n, self.size, self.seed, texture=0.02)
            pairs.append((other.second, s))
        return self._row("another acquisition, of materials with texture", pairs)

    def _holes(self, some: Sequence[Specimen]) -> list[dict[str, Any]]:
        edge = self.size.size_px
        window = (slice(edge // 4, edge // 4 + 3 * edge // 8),) * 2
        hidden = np.zeros((edge, edge), bool)
        hidden[window] = True
        steps, jump, repeats = self.size.repaint
        told = {"generator": False, "generator that is told the mask": True}
        fills: dict[str, list[Pixels]] = {name: [] for name in (*told, "smooth", "mean")}
        for n, s in enumerate(some):
            for name, is_told in told.items():
                filled = self.generator.inpaint(
                    Micrograph(s.first), hidden, seed=_FIRST + n, steps=steps, jump=jump,
                    repeats=repeats, mask=s.mask if is_told else None,
                )  # fmt: skip
                fills[name].append(filled.pixels)
            fills["smooth"].append(smooth_fill(s.first, hidden))
            fills["mean"].append(mean_fill(s.first, hidden))
        rows = []
        share = f"a hole of {100 * hidden.mean():.0f} %"
        for what, images in fills.items():
            pairs = list(zip(images, some, strict=True))
            rows.append(self._row(f"{share}, {what}: the hole alone", pairs, window))
            rows.append(self._row(f"{share}, {what}: the whole image", pairs))
        again = [(np.where(hidden, s.second, s.first), s) for s in some]
        rows.append(self._row(f"{share}, acquired again: the hole alone", again, window))
        return rows

    def _back(self, some: Sequence[Specimen]) -> list[dict[str, Any]]:
        from everhart.synthesize.reconstruction import reconstruct

        rows = []
        for level in self.size.levels:
            images = reconstruct(
                self.generator, [s.first for s in some], level,
                steps=self.size.draw_steps, seed=self.seed,
            )  # fmt: skip
            pairs = list(zip(images, some, strict=True))
            rows.append(self._row(f"noised to {level:g} and drawn back", pairs))
        return rows

    def _nearest(self, some: Sequence[Specimen]) -> list[dict[str, Any]]:
        """Compare with the training image that is most alike: the source's figure, perhaps."""
        drawn = [
            image.pixels
            for image in self.generator.synthesize(
                len(some), seed=_FIRST, steps=self.size.draw_steps
            )
        ]
        rows = []
        for what, images in (("drawn from nothing", drawn), ("held-out", [s.first for s in some])):
            pairs = [(image, max(self.known, key=partial(_to_first, image))) for image in images]
            rows.append(self._row(f"{what}: nearest training image", pairs))
        return rows


def _to_first(image: Pixels, s: Specimen) -> float:
    return _likeness(image, s.first, s)


def _likeness(image: Pixels, reference: Pixels, s: Specimen) -> float:
    """Return MS-SSIM by the range of the specimen's own clean image, the strictest usual one."""
    from everhart.metrics import ms_ssim

    given = (np.asarray(part, np.float64) for part in (image, reference))
    return ms_ssim(*given, data_range=s.span)


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean with the 95 % interval of the bootstrap over images."""
    rng = np.random.default_rng(0)
    drawn = np.asarray(values)[rng.integers(len(values), size=(1000, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)


def _table(title: str, rows: Sequence[Mapping[str, Any]], size: _Size) -> str:
    from everhart.metrics import ms_ssim_scales

    head = ["protocol", "seed", "images", "raw, to an acquisition",
            *(f"after `{name}`, to the clean render" for name in _DENOISERS)]  # fmt: skip
    lines = [
        f"# {title}", "",
        f"{size.size_px} x {size.size_px} pixels, {size.dose_e_per_px:g} e/px; data range: that of "
        f"the clean image; {ms_ssim_scales((size.size_px, size.size_px))} scales (the hole alone: "
        f"{ms_ssim_scales((3 * size.size_px // 8,) * 2)}); mean and 95 % interval over images.",
        "", f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1),
    ]  # fmt: skip
    for row in rows:
        figures = [row["raw"], *row["denoised"].values()]
        cells = [f"{mean:.4f} ({low:.4f}-{high:.4f})" for mean, low, high in figures]
        lines.append(
            f"| {row['protocol']} | {row['seed']} | {row['n']} | {' | '.join(cells)} |"
        )  # fmt: skip
    return "\n".join([*lines, ""])
