"""Our BM3D beside the `bm3d` wheel of its inventors; prints Markdown.

    python scripts/compare_bm3d.py [--wheel-python PATH] [--results FOLDER] [--full] \
        [--shape ROWS COLUMNS] [--part white correlated real] [-o tables.md]

That wheel may not be used commercially, and is no dependency: `--wheel-python` names the
interpreter of a throw-away environment that has it, which is run as a process of its own and
handed arrays in files. Without it our figures are printed alone. `--results` keeps what the wheel
gave, for a later run. EVERHART_DATA adds a real image, and is needed for the real pairs. `--full`
measures CPU time and peak memory of both on 3072 x 2048 pixels or those of `--shape`, correlated
and white noise, which takes the wheel ten minutes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from evaluate_denoising import line_pairs
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.restoration import estimate_sigma

import everhart as eh
from everhart.metrics import affine_psnr, psnr
from everhart.noise import estimate_noise
from everhart.restore.bm3d import bm3d
from everhart.restore.classical import denoise_classical
from everhart.simulate import Microscope

Array = NDArray[np.float64]

SIGMAS = (10, 25, 50)
SIGMA = 25.0  # of the correlated noise

_WHEEL = """
import sys
import numpy as np
if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid  # the wheel calls it; NumPy 2.4 took it away
from bm3d import bm3d
image, noise = np.load(sys.argv[1]), np.load(sys.argv[2])
np.save(sys.argv[3], bm3d(image.astype(np.float64), noise if noise.ndim else float(noise)))
"""

_OURS = """
import sys
import numpy as np
from everhart.restore.bm3d import bm3d
image, sigma = np.load(sys.argv[1]), float(np.load(sys.argv[2]))
np.save(sys.argv[3], bm3d((image / sigma).astype(np.float32)) * np.float32(sigma))
"""


@dataclass(frozen=True)
class Wheel:
    """The `bm3d` wheel in another interpreter."""

    python: str | None
    folder: Path

    def __call__(self, name: str, noisy: NDArray[np.floating], noise: Array) -> Array | None:
        """Denoise, or read what was found before; None where there is no wheel."""
        files = [self.folder / f"{name}-{part}.npy" for part in ("noisy", "noise", "wheel")]
        given = (noisy, noise)
        known = files[2].exists() and all(
            np.allclose(np.load(file), array) for file, array in zip(files, given, strict=False)
        )
        if not known:
            if self.python is None:
                return None
            self.measured(files, given)
        return np.asarray(np.load(files[2]), np.float64)

    def measured(
        self, files: list[Path], given: tuple[NDArray[np.floating], ...]
    ) -> tuple[float, float]:
        """Run it, and return its CPU seconds and peak memory in MB."""
        assert self.python is not None
        for file, array in zip(files, given, strict=False):
            np.save(file, array)
        return measured([self.python, "-c", _WHEEL, *map(str, files)])


def measured(command: list[str]) -> tuple[float, float]:
    """Run a command and return its CPU seconds and peak memory in MB."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def pictures(size: int) -> Iterator[tuple[str, Array]]:
    """Yield images without noise, of 0 to 255."""
    yield "camera", data.camera()[:size, :size].astype(float)
    if "EVERHART_DATA" in os.environ:
        folder = Path(os.environ["EVERHART_DATA"]) / "sem-clean"
        file = sorted(folder.glob("sem2surface*"))[0]
        pixels = np.asarray(eh.read(file).field_of_view, float)
        rows, columns = (n // 4 for n in pixels.shape)  # binned: its own noise is not the truth
        pixels = pixels[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4).mean((1, 3))
        pixels = pixels[:size, :size]
        yield "sem2", (pixels - pixels.min()) / np.ptp(pixels) * 255
    for scene in ("nand", "stack"):
        image = eh.simulate(scene, shape=(384, 384), seed=1).image  # type: ignore[operator]
        yield scene, 255 * np.asarray(image, float)[:size, :size]


def kernels() -> Iterator[tuple[str, Array]]:
    """Yield impulse responses of unit energy, ``(15, 15)``."""
    impulse = np.zeros((15, 15))
    impulse[7, 7] = 1
    line = np.zeros((15, 15))
    taps = Microscope.preset("tin-balls").detector.taps
    line[7, 7 : 7 + len(taps)] = taps
    for name, kernel in (("scan line", line), ("isotropic", gaussian_filter(impulse, 0.7))):
        yield name, kernel / np.linalg.norm(kernel)


def lags(kernel: Array, reach: int = 7) -> Array:
    """Return the autocovariance of white noise that a kernel has filtered."""
    power = np.abs(np.fft.fft2(kernel, (64, 64))) ** 2
    full = np.fft.fftshift(np.fft.ifft2(power).real)
    return full[32 - reach : 33 + reach, 32 - reach : 33 + reach]


def density(correlation: Array, sigma: float, shape: tuple[int, int]) -> Array:
    """Return the power spectrum that the wheel wants: of the unscaled Fourier transform."""
    field = np.zeros(shape)
    reach = [n // 2 for n in correlation.shape]
    for (row, column), value in np.ndenumerate(correlation):
        field[row - reach[0], column - reach[1]] += value
    power = np.maximum(np.fft.fft2(field).real, 0.0)  # no noise has less than none
    return power * sigma**2 * field.size


def ours(noisy: Array, sigma: float, correlation: Array | None = None) -> Array:
    """Run our BM3D for noise that is known."""
    restored = bm3d((noisy / sigma).astype(np.float32), correlation)
    return np.asarray(restored, np.float64) * sigma


def white(wheel: Wheel) -> str:
    """Tabulate both on white noise of a known standard deviation."""
    text = "| image | sigma | noisy | wheel | ours | ours - wheel |\n" + "| --- " * 6 + "|\n"
    for name, clean in pictures(384):
        for sigma in SIGMAS:
            noisy = clean + np.random.default_rng(0).normal(0, sigma, clean.shape)
            found = wheel(f"{name}-{sigma}", noisy, np.asarray(float(sigma)))
            figures = [decibels(image, clean) for image in (noisy, found, ours(noisy, sigma))]
            row = [*figures, figures[2] - figures[1]]
            text += f"| {name} | {sigma} | " + " | ".join(f"{v:.2f}" for v in row) + " |\n"
    return text


def correlated(wheel: Wheel) -> str:
    """Tabulate both on correlated noise: its spectrum known, measured, and not heeded."""
    text = (
        "| image | noise | noisy | wheel, sigma alone | wheel, true PSD | ours, true PSD "
        "| ours - wheel | wheel, our PSD | ours, our PSD | ours - wheel | ours, image alone |\n"
    )
    text += "| --- " * 11 + "|\n"
    for name, clean in pictures(256):
        if name == "stack":
            continue
        for label, kernel in kernels():
            rng = np.random.default_rng(0)
            sheet = np.fft.fft2(rng.normal(0, SIGMA, clean.shape))
            noisy = clean + np.fft.ifft2(sheet * np.fft.fft2(kernel, clean.shape)).real
            estimate = estimate_noise(noisy)
            known = f"{name}-{label.replace(' ', '-')}"
            row = [decibels(noisy, clean)]
            row += [decibels(wheel(f"{known}-sigma", noisy, np.asarray(SIGMA)), clean)]
            for kind, sigma, correlation in (
                ("true", SIGMA, lags(kernel)),
                ("measured", estimate.sigma, estimate.correlation),
            ):
                psd = density(correlation, sigma, clean.shape)
                pair = (wheel(f"{known}-{kind}", noisy, psd), ours(noisy, sigma, correlation))
                figures = [decibels(image, clean) for image in pair]
                row += [*figures, figures[1] - figures[0]]
            row += [decibels(denoise_classical(noisy, "bm3d"), clean)]
            text += f"| {name} | {label} | " + " | ".join(f"{v:.2f}" for v in row) + " |\n"
            print(name, label, flush=True)
    return text


def real(wheel: Wheel) -> str:
    """Tabulate both on real pairs, by the PSNR after an affine match of grey levels."""
    text = (
        "| pair | noisy | wheel, estimate_sigma | wheel, 1.6 x that | wheel, our PSD "
        "| ours, image alone |\n" + "| --- " * 6 + "|\n"
    )
    rows = []
    for _, name, noisy, clean in itertools.islice(
        line_pairs(Path(os.environ["EVERHART_DATA"])), 0, 30, 6
    ):
        pixels, truth = noisy.astype(float), clean.astype(float)
        estimate = estimate_noise(pixels)
        naive = float(estimate_sigma(pixels))
        found = [pixels]
        for kind, noise in (
            ("naive", np.asarray(naive)),
            ("more", np.asarray(1.6 * naive)),
            ("psd", density(estimate.correlation, estimate.sigma, pixels.shape)),
        ):
            found.append(wheel(f"{name}-{kind}", pixels, noise))  # type: ignore[arg-type]
        found.append(np.asarray(denoise_classical(pixels, "bm3d"), float))
        rows.append(
            [math.nan if f is None else affine_psnr(f, truth, data_range=255) for f in found]
        )
        text += f"| {name} | " + " | ".join(f"{v:.2f}" for v in rows[-1]) + " |\n"
        print(name, flush=True)
    return text + "| mean | " + " | ".join(f"{v:.2f}" for v in np.mean(rows, axis=0)) + " |\n"


def full(wheel: Wheel, shape: tuple[int, int]) -> str:
    """Tabulate CPU time, memory and quality on a large image."""
    scene = eh.simulate("nand", shape=shape, seed=0)  # type: ignore[operator]
    noisy, clean = Microscope.preset("tin-balls").expose(
        scene, np.random.default_rng(0), return_clean=True
    )
    image = np.asarray(noisy, float)
    files = [wheel.folder / f"full-{part}.npy" for part in ("noisy", "noise", "wheel")]
    out = wheel.folder / "full.tif"
    eh.write(noisy, wheel.folder / "noisy.tif", overwrite=True)
    command = [sys.executable, "-m", "everhart", "denoise", str(wheel.folder / "noisy.tif")]
    cost = measured([*command, "-o", str(out), "--method", "bm3d", "--overwrite"])
    given = f"correlated, {decibels(image, clean):.2f} dB"
    rows = [
        (given, "ours, file to file, from the image alone", *cost, decibels(eh.read(out), clean))
    ]
    if wheel.python is not None:
        estimate = estimate_noise(image)
        psd = density(estimate.correlation, estimate.sigma, shape)
        cost = wheel.measured(files, (image, psd))
        rows.append((given, "wheel, our PSD", *cost, decibels(np.load(files[2]), clean)))
    image = clean + np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    sigma = np.asarray(SIGMA)
    given = f"white, {decibels(image, clean):.2f} dB"
    for file, array in zip(files, (image, sigma), strict=False):
        np.save(file, array)
    cost = measured([sys.executable, "-c", _OURS, *map(str, files)])
    rows.append((given, "ours, sigma known", *cost, decibels(np.load(files[2]), clean)))
    if wheel.python is not None:
        cost = wheel.measured(files, (image, sigma))
        rows.append((given, "wheel, sigma known", *cost, decibels(np.load(files[2]), clean)))
    text = "| noise | | CPU s | peak MB | PSNR, dB |\n" + "| --- " * 5 + "|\n"
    return text + "".join(
        f"| {g} | {n} | {c:.1f} | {m:.0f} | {q:.2f} |\n" for g, n, c, m, q in rows
    )


def decibels(image: object, clean: NDArray[np.floating]) -> float:
    """Return the PSNR for the range 255; NaN where there is no image."""
    if image is None:
        return float("nan")
    return psnr(np.asarray(image, np.float64), clean, data_range=255)


def main() -> None:
    """Parse the call, run the parts and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel-python", metavar="PATH")
    parser.add_argument("--results", type=Path, metavar="FOLDER")
    parser.add_argument("--part", nargs="*", default=["white", "correlated"])
    parser.add_argument("--full", action="store_true")
    parser.add_argument(
        "--shape", type=int, nargs=2, default=(2048, 3072), metavar=("ROWS", "COLUMNS")
    )
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    text = f"Measured on {date.today()}; PSNR in dB for a range of 255, noise of seed 0.\n"
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.results or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        wheel = Wheel(arguments.wheel_python, folder)
        if "white" in arguments.part:
            text += f"\n## White noise\n\n{white(wheel)}"
        if "correlated" in arguments.part:
            text += f"\n## Correlated noise, sigma {SIGMA:g}\n\n{correlated(wheel)}"
        if "real" in arguments.part:
            text += f"\n## Real pairs, grey levels matched\n\n{real(wheel)}"
        if arguments.full:
            rows, columns = arguments.shape
            text += f"\n## {columns} x {rows} pixels\n\n{full(wheel, (rows, columns))}"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
