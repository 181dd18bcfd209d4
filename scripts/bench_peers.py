"""Everhart beside other programs, on the same images: time, memory, and quality against bm3d.

    python scripts/bench_peers.py --peers FOLDER [-o table.md] [--picture speed.png] [--repeats 3]

CAREamics, the `bm3d` wheel and the networks of DeepInverse are installed into environments of
their own in FOLDER, once; scikit-image and OpenCV are here. CPU seconds are without the start (a
small image's are taken off), peak memory is of a process of its own. The networks have random
weights, on which time and memory do not depend, and torchvision, which nothing that is run needs,
is replaced by empty modules. The wheel may not be used commercially, and is no dependency.

Quality: `sem-general` and our `bm3d` (within 0.13 dB of the wheel, docs/results/bm3d.md), each
from the image alone, on random scenes of the kinds that the model has learned from, of seeds that
it has not, at three doses.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from bench_speed import LARGE, spawn, twin
from evaluate_denoising import DOSES, expose

from everhart.metrics import psnr
from everhart.restore import make_denoiser
from everhart.simulate.random_scenes import random_scene

STUB = """
import sys, types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

class Module(types.ModuleType):
    __path__ = []
    __version__ = "0"
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

class Finder(MetaPathFinder, Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torchvision":
            return ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Module(spec.name)
    def exec_module(self, module):
        pass

import torchmetrics  # it looks for torchvision, and does without
sys.meta_path.insert(0, Finder())
import numpy as np, torch
torch.set_num_threads(1)
image = np.load(sys.argv[1]).astype(np.float32)
"""

CAREAMICS = (
    STUB
    + """
from careamics import CAREamist
from careamics.config import create_n2v_configuration
configuration = create_n2v_configuration(
    experiment_name="bench", data_type="array", axes="YX", patch_size=[64, 64], batch_size=1,
    num_epochs=1,
)
engine = CAREamist(source=configuration, work_dir=sys.argv[2])
engine.cfg.data_config.set_means_and_stds(image_means=[100.0], image_stds=[10.0])
engine.predict(image, batch_size=1, tile_size=(256, 256), tile_overlap=(48, 48), axes="YX",
               data_type="array")
"""
)

DEEPINVERSE = (
    STUB
    + """
from deepinv import models
network = getattr(models, sys.argv[3])(in_channels=1, out_channels=1, pretrained=None).eval()
with torch.inference_mode():
    network(torch.from_numpy(image)[None, None] / 255, 0.1)
"""
)

WHEEL = """
import sys
import numpy as np
if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid  # the wheel calls it; NumPy 2.4 took it away
from bm3d import bm3d
bm3d(np.load(sys.argv[1]).astype(np.float64), 10.0)
"""

HERE = """
import sys
import numpy as np
image = np.load(sys.argv[1])
if sys.argv[2] == "opencv":
    import cv2
    cv2.setNumThreads(1)
    cv2.fastNlMeansDenoising(image, None, 10, 7, 21)
elif sys.argv[2] == "skimage":
    from skimage.restoration import denoise_nl_means
    denoise_nl_means(image, patch_size=7, patch_distance=10, h=10, fast_mode=True)
else:
    import everhart as eh
    method = {"method": "bm3d"} if sys.argv[2] == "bm3d" else {
        "model": sys.argv[3], "precision": sys.argv[4], "engine": "openvino", "device": "cpu"}
    eh.denoise(image, **method)
"""

PACKAGES = {
    "careamics": ["careamics", "setuptools<80"],
    "bm3d": ["bm3d"],
    "deepinv": ["deepinv"],
}

Row = tuple[str, str, float, float]
"""Who, the size of the image, CPU seconds a megapixel, and peak MB."""


def environment(peers: Path, name: str) -> Path:
    """Return the interpreter of a peer's environment, which is made if it is not there."""
    python = peers / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
        subprocess.run(install, check=True)
    return python


def images(folder: Path) -> dict[str, Path]:
    """Write the images: a large one, a megapixel, a small part, and what only starts."""
    rng = np.random.default_rng(0)
    shapes = {"large": LARGE, "mpx": (1024, 1024), "part": (512, 512), "start": (256, 256)}
    files = {}
    for name, shape in shapes.items():
        files[name] = folder / f"{name}.npy"
        np.save(files[name], rng.poisson(100, shape).astype(np.uint8))
    return files


def measured(
    command: Sequence[str], files: dict[str, Path], size: str, repeats: int
) -> tuple[float, float]:
    """Run ``command[0] -c command[1] IMAGE rest`` on an image and on one that only starts."""
    python, program, *rest = command
    pixels = np.load(files[size], mmap_mode="r").size - np.load(files["start"]).size
    seconds, memory = [], []
    for _ in range(repeats):
        (whole, peak), (start, _) = (
            spawn([python, "-c", program, str(files[name]), *rest], 1) for name in (size, "start")
        )
        seconds.append((whole - start) / pixels * 1e6)
        memory.append(peak)
    return statistics.median(seconds), statistics.median(memory)


def peer_rows(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """Measure everybody: who, the image, CPU seconds a megapixel, peak MB."""
    files, peers, here = images(folder), arguments.peers, sys.executable
    same = str(twin(folder))
    contenders = (
        ("OpenCV, non-local means", "mpx", [here, HERE, "opencv"]),
        ("scikit-image, non-local means", "mpx", [here, HERE, "skimage"]),
        ("bm3d, Everhart's own", "mpx", [here, HERE, "bm3d"]),
        ("Everhart, `sem-general`, bf16", "large", [here, HERE, "model", "sem-general", "bf16"]),
        ("Everhart, `sem-general`, fp32", "large", [here, HERE, "model", "sem-general", "fp32"]),
        ("Everhart, U-Net as CAREamics', bf16", "large", [here, HERE, "model", same, "bf16"]),
        ("Everhart, U-Net as CAREamics', fp32", "large", [here, HERE, "model", same, "fp32"]),
        ("CAREamics, default U-Net", "large",
         [str(environment(peers, "careamics")), CAREAMICS, str(folder)]),
        ("DeepInverse, DnCNN", "part",
         [str(environment(peers, "deepinv")), DEEPINVERSE, str(folder), "DnCNN"]),
        ("DeepInverse, DRUNet", "part",
         [str(environment(peers, "deepinv")), DEEPINVERSE, str(folder), "DRUNet"]),
        ("bm3d wheel, white noise", "mpx", [str(environment(peers, "bm3d")), WHEEL]),
    )  # fmt: skip
    rows = known_rows(arguments.rows)
    for name, size, command in contenders:
        if name in {row[0] for row in rows}:
            continue
        slow = "wheel" in name or "CAREamics, def" in name or "DRU" in name
        seconds, memory = measured(command, files, size, 1 if slow else arguments.repeats)
        shape = " x ".join(map(str, np.load(files[size], mmap_mode="r").shape[::-1]))
        rows.append((name, shape, seconds, memory))
        print(rows[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
        if arguments.rows:
            arguments.rows.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def known_rows(path: Path | None) -> list[Row]:
    """Return the rows that an earlier run kept."""
    if path is None or not path.is_file():
        return []
    return [tuple(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def quality_rows(count: int) -> list[str]:
    """Compare the shipped model and bm3d on scenes of the kinds that it has learned from."""
    denoisers = {
        "sem-general": make_denoiser("sem-general", device="cpu"),
        "bm3d": make_denoiser("bm3d"),
    }
    rows, every = [], []
    for dose, arrivals in DOSES.items():
        rng = np.random.default_rng([2026, int(arrivals)])
        found: dict[str, list[float]] = {name: [] for name in denoisers}
        for _ in range(count):
            scene = random_scene(rng, (256, 256))
            noisy, truth = expose(np.asarray(scene.image), arrivals, rng)
            for name, denoiser in denoisers.items():
                restored = denoiser(noisy).astype(np.float64)
                found[name].append(psnr(restored, truth, data_range=255))
        gains = np.subtract(found["sem-general"], found["bm3d"])
        every.extend(gains)
        ours, theirs = (np.mean(found[name]) for name in denoisers)
        rows.append(
            f"| {dose} ({arrivals:g}) | {ours:.2f} | {theirs:.2f} | {gains.mean():+.2f} "
            f"| {np.min(gains):+.2f} to {np.max(gains):+.2f} | {np.sum(gains > 0)} of {count} |"
        )
        print(rows[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
    rows.append(f"| all | | | {np.mean(every):+.2f} | | {np.sum(np.array(every) > 0)} of "
                f"{len(every)} |")  # fmt: skip
    return rows


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the CPU seconds a megapixel of all, on a logarithmic scale."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: -row[2])
    figure = Figure(figsize=(8, 0.38 * len(rows) + 1), layout="constrained")
    axes = figure.add_subplot()
    names = [name.replace("`", "") for name, *_ in ordered]
    seconds = [row[2] for row in ordered]
    colours = ["#2f6f9f" if "Everhart" in name else "#b0b0b0" for name in names]
    bars = axes.barh(names, seconds, color=colours)
    axes.bar_label(bars, [f"{value:.2g}" for value in seconds], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / 1.6, max(seconds) * 2.5)
    axes.set_xlabel("CPU seconds a megapixel, one thread, without the start")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=12, help="of each dose")
    parser.add_argument("--rows", type=Path, help="keep each row here, for a run that goes on")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        rows = peer_rows(Path(name), arguments)
    if arguments.picture:
        draw(rows, arguments.picture)
    quality = quality_rows(arguments.scenes) if arguments.scenes else []
    text = "\n\n".join([
        f"Measured on {date.today()} with `python scripts/bench_peers.py --repeats "
        f"{arguments.repeats}` on {os.cpu_count()} cores ({platform.machine()}), load {load:.0f} "
        f"to {os.getloadavg()[0]:.0f}.",
        "| | image | CPU s a Mpx | peak MB |\n" + "| --- " * 4 + "|\n"
        + "\n".join(f"| {n} | {s} | {cpu:.3g} | {mb:.0f} |" for n, s, cpu, mb in rows),
        "| dose (arrivals a pixel at white) | sem-general, dB | bm3d, dB | difference | from, to "
        "| better in |\n" + "| --- " * 6 + "|\n" + "\n".join(quality),
    ]) + "\n"  # fmt: skip
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
