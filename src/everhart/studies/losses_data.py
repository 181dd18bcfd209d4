"""What the studies of losses train on, and how they judge: real tin balls, simulated wafers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.io import read, write
from everhart.io.atomic import write_text
from everhart.metrics import affine_psnr, edge_figure_of_merit, psnr, ssim
from everhart.metrics.defects import DefectScores, score_defects
from everhart.metrics.detection import found_defects
from everhart.simulate import Beam, Converter, Detector, Dose, Microscope, simulate
from everhart.simulate.presets import preset_parts
from everhart.studies.planting import Specimen, add_lump, make_specimen

__all__ = ["Bench", "TinBalls", "WaferPairs", "strong_noise_microscope", "tin_balls", "wafer_pairs"]

Image = NDArray[np.float32]
Denoiser = Callable[[Image], Image]
Figures = dict[str, dict[str, float]]

_DATA_RANGE: Final = 255.0
"""The images have 8 bits."""

_SMALL_PX: Final = 1.5
_LARGE_PX: Final = 3.0
_KINDS: Final = {_SMALL_PX: (0.4, 0.7, 1.0), _LARGE_PX: (0.2, 0.4, 0.8)}
"""Contrasts of the defects that are judged, by their radius in px."""

_SCENES: Final = {"lines": 0.8, "nand": 2.4}
"""The wafer's patterns and their pixel sizes in nm."""


class Bench(Protocol):
    """The data of one repetition."""

    @property
    def folder(self) -> Path:
        """Folder of the training pairs: ``noisy/NAME.tif`` and ``clean/NAME.tif``."""

    @property
    def name(self) -> str:
        """What names the data, wherever they lie."""

    def judge(self, denoise: Denoiser) -> Figures:
        """Return the figures of a denoiser by test image, each by its name."""


@dataclass(frozen=True)
class TinBalls:
    """Real pairs on disk, registered: ``train/`` from ``time*`` and ``test/`` from ``line*``."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """Folder of the training pairs."""
        return self.root / "train"

    def judge(self, denoise: Denoiser) -> Figures:
        """Return PSNR, SSIM and edge figures for each test pair."""
        return {name: _fidelity(denoise(noisy), clean) for name, noisy, clean in self._tests}

    @cached_property
    def _tests(self) -> list[tuple[str, Image, Image]]:
        test = self.root / "test"
        files = sorted((test / "noisy").glob("*.tif"))
        return [(f.stem, _pixels(f), _pixels(test / "clean" / f.name)) for f in files]


def tin_balls(root: Path, *, training_pairs: int, test_pairs: int) -> TinBalls:
    """Register the real pairs, or find them registered.

    A slow scan drifts, so that a clean image is laid on its noisy partner by an affine map.

    Parameters
    ----------
    root
        Where the registered pairs go.
    training_pairs, test_pairs
        How many of the pairs are taken at most, the first ones.

    Raises
    ------
    UsageError
        If ``EVERHART_DATA`` names no folder with the pairs.
    """
    from everhart.align import register_pair

    bench = TinBalls(root, root.name)
    wanted = {"training_pairs": training_pairs, "test_pairs": test_pairs}
    if _is_done(root, wanted):
        return bench
    source = Path(os.environ.get("EVERHART_DATA", "")) / "sem-pairs"
    for part, pattern, count in (
        ("train", "time*_noisy.png", training_pairs),
        ("test", "line*_noisy.png", test_pairs),
    ):
        files = sorted(source.glob(pattern))
        if not files:
            raise UsageError(
                f"There are no pairs {pattern} in {source}: name the folder that holds sem-pairs "
                "in the environment variable EVERHART_DATA (docs/data.md says where it is from)."
            )
        for file in files[:count]:
            clean = read(file.with_name(file.name.replace("noisy", "clean")))
            fixed, moved, _ = register_pair(read(file), clean, model="affine")
            _write_pair(root / part, file.name.split("_")[0], fixed, moved)
    _mark_done(root, wanted)
    return bench


def strong_noise_microscope() -> Microscope:
    """Return the microscope of the simulated wafers.

    Four arrivals a pixel at white, each of random height and smeared along the scan line as in
    the preset fitted to real pairs (`tin-balls`), noise of the electronics, and rows of uneven
    brightness. What differs from shot to shot otherwise (drift, charging) is left out: defects
    are judged against one expectation.
    """
    parts = preset_parts("tin-balls")
    return Microscope(
        beam=Beam(0.8),
        dose=Dose(4.0),
        detector=Detector(parts["detector"].taps, readout_sigma=3.0, row_offset_sigma=1.5),
        converter=Converter(8, black=30, white=150),
        name="strong noise",
    )


@dataclass(frozen=True)
class WaferPairs:
    """Simulated wafer pairs on disk, and specimens with planted defects to judge on."""

    root: Path
    name: str
    specimens: Mapping[str, Specimen]
    seed: int

    @property
    def folder(self) -> Path:
        """Folder of the training pairs."""
        return self.root

    def judge(self, denoise: Denoiser) -> Figures:
        """Return PSNR, SSIM, edge and defect figures for each pattern."""
        found = {}
        for number, (scene, specimen) in enumerate(self.specimens.items()):
            # The same noise for all: what is judged are methods.
            rng = np.random.default_rng([self.seed, 2, number])
            images, blanks = (list(map(denoise, part)) for part in specimen.expose(rng, 1))
            truth = specimen.trial.marked
            each = [_fidelity(a, b) for a, b in zip(images, truth, strict=True)]
            found[scene] = {key: float(np.mean([f[key] for f in each])) for key in each[0]}
            found[scene] |= _defect_figures(score_defects(specimen.trial, images, blanks))
        return found


def wafer_pairs(
    root: Path, seed: int, *, pairs: int, side_px: int, test_px: int, placements: int
) -> WaferPairs:
    """Simulate the training pairs, or find them, and make the specimens to judge on.

    Parameters
    ----------
    root
        Where the pairs go.
    seed
        Seed of scenes, defects and noise.
    pairs, side_px
        Number of pairs and edge of each in pixels.
    test_px, placements
        Edge of the test images, and how many with and without defects there are of each pattern.
    """
    microscope = strong_noise_microscope()
    wanted = {"pairs": pairs, "side_px": side_px, "seed": seed, "microscope": microscope.to_dict()}
    if not _is_done(root, wanted):
        for number in range(pairs):
            rng = np.random.default_rng([seed, 0, number])
            scene = list(_SCENES)[number % len(_SCENES)]
            size = (side_px, side_px)
            brightness = simulate(scene, shape=size, pixel_size_nm=_SCENES[scene], rng=rng).image
            for _ in range(rng.poisson(4 * side_px**2 / 256**2)):
                radius, contrast = (np.exp(rng.uniform(*np.log(r))) for r in ((1, 4), (0.1, 1)))
                add_lump(brightness, rng, float(radius), float(contrast))
            noisy, clean = microscope.expose(brightness, rng, return_clean=True)
            _write_pair(root, f"{number:04d}", noisy.pixels, clean.pixels)
        _mark_done(root, wanted)
    specimens = {
        scene: make_specimen(
            scene,
            (test_px, test_px),
            np.random.default_rng([seed, 1, number]),
            placements=placements,
            kinds=_KINDS,
            microscope=microscope,
            pixel_size_nm=pixel_nm,
        )
        for number, (scene, pixel_nm) in enumerate(_SCENES.items())
    }
    return WaferPairs(root, f"{root.parent.name}/{root.name}", specimens, seed)


def _fidelity(restored: Image, clean: Image) -> dict[str, float]:
    out = np.asarray(restored, np.float64)
    return {
        "psnr_db": psnr(out, clean, data_range=_DATA_RANGE),
        "affine_psnr_db": affine_psnr(out, clean, data_range=_DATA_RANGE),
        "ssim": ssim(out, clean, data_range=_DATA_RANGE),
        "edge_merit": edge_figure_of_merit(out, clean),
    }


def _defect_figures(scores: DefectScores) -> dict[str, float]:
    """Return what is kept of the defects' contrast, and what an inspection finds, in percent."""
    table = scores.defects

    def kept(radius: float) -> float:
        own = table[table["radius_px"] == radius]
        # The error of a share falls with the contrast: weigh by its square.
        return 100 * float(np.average(own["kept"], weights=own["contrast"] ** 2))

    return {
        "kept_small_percent": kept(_SMALL_PX),
        "kept_large_percent": kept(_LARGE_PX),
        "found_percent": 100 * float(found_defects([scores])["window"].mean()),
    }


def _pixels(file: Path) -> Image:
    return np.asarray(read(file).pixels, np.float32)


def _write_pair(folder: Path, name: str, noisy: Any, clean: Any) -> None:
    for part, pixels, dtype in (("noisy", noisy, np.uint8), ("clean", clean, np.float32)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        write(np.asarray(pixels, dtype), folder / part / f"{name}.tif", overwrite=True)


def _is_done(root: Path, wanted: Mapping[str, Any]) -> bool:
    mark = root / "pairs.json"
    plain = json.loads(json.dumps(wanted))
    return mark.is_file() and bool(json.loads(mark.read_text(encoding="utf-8")) == plain)


def _mark_done(root: Path, wanted: Mapping[str, Any]) -> None:
    write_text(root / "pairs.json", json.dumps(wanted, indent=2) + "\n", overwrite=True)
