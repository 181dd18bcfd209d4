"""How near Everhart is to what the machine can do: engines, start-up, size, folders, peers.

    python scripts/bench_speed.py [-o table.md] [--threads 1] [--repeats 3] [--peers FOLDER]

Everything is measured in one run: what convolutions reach on this machine (the limit), the
network of the shipped model by each engine and number format as a share of that limit, the
whole command from file to file, its start, its cost from 1 to 100 megapixels, and a folder of
small images against the bare network. CPU seconds and peak memory are of processes of their
own, as the operating system reports them; medians of the repeats.

With `--peers FOLDER`, CAREamics is installed into an environment of its own in that folder (once),
and predicts the same image with its default U-Net and random weights: time and memory do not
depend on the weights. Beside it stands a U-Net of the same maps in Everhart. CAREamics needs
torchvision only for networks that are not run here, so empty modules stand in for it where it
cannot be imported.
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
import time
from datetime import date
from pathlib import Path

import numpy as np

import everhart as eh
from everhart.restore.engine_openvino import OpenVINOEngine
from everhart.restore.engine_torch import TorchEngine
from everhart.restore.models import find_model
from everhart.training.model_header import read_model_bytes

LARGE = (2048, 3072)

PEER = """
import sys, types
import torchmetrics, pytorch_lightning  # they look for torchvision, and do without
try:
    import torchvision
except Exception:
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[0]].transforms = sys.modules[names[1]]
    sys.modules[names[1]].functional = sys.modules[names[2]]
    sys.modules[names[0]].__version__ = "0"
import numpy as np, torch
torch.set_num_threads(int(sys.argv[2]))
from careamics import CAREamist
from careamics.config import create_n2v_configuration
configuration = create_n2v_configuration(
    experiment_name="bench", data_type="array", axes="YX", patch_size=[64, 64], batch_size=1,
    num_epochs=1,
)
engine = CAREamist(source=configuration, work_dir=sys.argv[3])
small = np.random.default_rng(0).poisson(100, (128, 128)).astype(np.float32)
engine.cfg.data_config.set_means_and_stds(image_means=[100.0], image_stds=[10.0])
image = np.load(sys.argv[1])
out = engine.predict(image, batch_size=1, tile_size=(256, 256), tile_overlap=(48, 48), axes="YX",
                     data_type="array")
print(np.asarray(out[0] if isinstance(out, list) else out).shape,
      sum(p.numel() for p in engine.model.parameters()))
"""

SINGLE = """
import sys
import everhart as eh
eh.denoise(eh.read(sys.argv[1]), model=sys.argv[2], precision=sys.argv[3], device="cpu",
           engine="openvino")
"""


WATCH = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def spawn(command: list[str], threads: int) -> tuple[float, float]:
    """Run a command and return its CPU seconds and peak memory in MB.

    A small process stands between: the system counts to a process what the one that started it
    had in memory.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    watched = [sys.executable, "-c", WATCH, *command]
    done = subprocess.run(watched, env=environment, capture_output=True, text=True, check=True)
    status, seconds, memory = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return float(seconds), float(memory)


def median_of(command: list[str], arguments: argparse.Namespace) -> tuple[float, float]:
    """Run a command several times and return the medians of CPU seconds and memory."""
    runs = [spawn(command, arguments.threads) for _ in range(arguments.repeats)]
    seconds, memory = (statistics.median(column) for column in zip(*runs, strict=True))
    return seconds, memory


def denoise(image: Path, out: Path, *words: str) -> list[str]:
    """Return the command that denoises a file."""
    call = [sys.executable, "-m", "everhart", "denoise", str(image), "-o", str(out)]
    return [*call, "--overwrite", "--device", "cpu", *words]


def timed(function: object, repeats: int) -> float:
    """Return the least CPU seconds of a call: what others do on the machine only adds."""
    assert callable(function)
    function()
    found = []
    for _ in range(max(3, repeats)):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found)


def conv_peak(precision: str, threads: int) -> float:
    """Return what a stack of large convolutions reaches, in GFLOP/s of one CPU second."""
    from openvino import Core, Model
    from openvino import opset13 as ops

    channels, size, layers = 128, 256, 8
    rng = np.random.default_rng(0)
    node = given = ops.parameter([1, channels, size, size], np.float32)
    for _ in range(layers):
        kernel = rng.normal(0, 0.03, (channels, channels, 3, 3)).astype(np.float32)
        node = ops.relu(ops.convolution(node, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    request = (
        Core().compile_model(Model([node], [given], "peak"), "CPU", settings).create_infer_request()
    )
    image = rng.normal(size=(1, channels, size, size)).astype(np.float32)
    work = 2 * 9 * channels**2 * size**2 * layers
    return work / timed(lambda: request.infer([image], share_inputs=True), 5) / 1e9


def flops_per_pixel(engine: TorchEngine) -> float:
    """Count the multiplications and additions of the network for one pixel."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        engine.network(torch.zeros(1, 1, 256, 256))
    return float(counter.get_total_flops()) / 256**2


def network_rows(arguments: argparse.Namespace) -> list[str]:
    """Measure the network alone, by engine and number format."""
    import torch

    torch.set_num_threads(arguments.threads)
    header, data = read_model_bytes(find_model("sem-general"), "denoiser")
    window = np.random.default_rng(0).normal(size=(1, 1536, 1536)).astype(np.float32)
    rows, work = [], 0.0
    for precision in ("bf16", "fp32"):
        peak = conv_peak("bf16" if precision == "bf16" else "f32", arguments.threads)
        by_torch = TorchEngine.from_file(header, data, device="cpu", precision=precision)
        work = work or flops_per_pixel(by_torch)
        by_openvino = OpenVINOEngine.from_file(header, data, precision=precision)
        for name, engine in (("torch", by_torch), ("openvino", by_openvino)):
            function = engine.on(window[0])
            seconds = timed(lambda function=function: function(window), arguments.repeats)
            reached = work * window.size / seconds / 1e9
            per_mpx = seconds / window.size * 1e6
            share = 100 * reached / peak
            rows.append(f"| {name} {precision} | {per_mpx:.3f} | {reached:.0f} | {share:.0f} % |")
            print(rows[-1], flush=True)
        rows.append(f"| limit {precision}: convolutions of 128 maps | | {peak:.0f} | |")
    return rows


def file_rows(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Measure the command from file to file: large, small, and growing."""
    rng = np.random.default_rng(0)
    images = {
        "512 x 512": (512, 512),
        "1 Mpx": (1000, 1000),
        "3072 x 2048": LARGE,
        "10 Mpx": (2500, 4000),
        "100 Mpx": (10_000, 10_000),
    }
    rows = []
    for name, shape in images.items():
        source = eh.write(rng.poisson(100, shape).astype(np.uint8), folder / "in.tif")
        for engine in ("openvino", "torch") if min(shape) < 4000 else ("openvino",):
            few = argparse.Namespace(**{**vars(arguments), "repeats": 1})
            chosen = arguments if min(shape) < 2500 else few
            seconds, memory = median_of(
                denoise(source, folder / "out.tif", "--engine", engine), chosen
            )
            per_mpx = seconds / (shape[0] * shape[1]) * 1e6
            rows.append(f"| {name} | {engine} | {seconds:.2f} | {per_mpx:.3f} | {memory:.0f} |")
            print(rows[-1], flush=True)
        source.unlink()
    return rows


def folder_row(folder: Path, arguments: argparse.Namespace, count: int = 100) -> str:
    """Measure a folder of small images against the bare network on the same pixels."""
    rng = np.random.default_rng(0)
    scans = folder / "scans"
    scans.mkdir()
    for number in range(count):
        pixels = rng.poisson(100, (1024, 1024)).astype(np.uint8)
        eh.write(pixels, scans / f"{number:04d}.tif")
    start = median_of(denoise(scans / "0000.tif", folder / "one.tif"), arguments)[0]
    whole = spawn(denoise(scans, folder / "clean"), arguments.threads)[0]
    each = (whole - start) / (count - 1)
    denoiser = eh.restore.make_denoiser(device="cpu")
    network = denoiser.network
    assert network is not None
    window = rng.normal(size=(1, 1056, 1056)).astype(np.float32)
    function = network.engine.on(window[0])
    bare = timed(lambda: function(window), arguments.repeats)
    share = 100 * bare / each
    return (
        f"{count} images of 1024 x 1024: {each:.3f} CPU seconds each, from file to file; the bare "
        f"network takes {bare:.3f} for the same padded pixels: {share:.0f} %."
    )


def peer_row(folder: Path, peers: Path, arguments: argparse.Namespace) -> str:
    """Measure CAREamics in an environment of its own."""
    python = peers / "careamics" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        wanted = ["careamics", "setuptools<80"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    rng = np.random.default_rng(0)
    np.save(folder / "image.npy", rng.poisson(100, LARGE).astype(np.float32))
    np.save(folder / "small.npy", rng.poisson(100, (256, 256)).astype(np.float32))
    threads = str(arguments.threads)
    start, large = (
        spawn([str(python), "-c", PEER, str(folder / name), threads, str(folder)], int(threads))
        for name in ("small.npy", "image.npy")
    )
    rows = [f"| CAREamics, default U-Net | {large[0] - start[0]:.1f} | {large[1]:.0f} |"]
    model, image, small = twin(folder), folder / "large.tif", folder / "small.tif"
    eh.write(rng.poisson(100, LARGE).astype(np.uint8), image)
    eh.write(rng.poisson(100, (64, 64)).astype(np.uint8), small)
    for precision in ("bf16", "fp32"):
        start, large = (
            spawn([sys.executable, "-c", SINGLE, str(file), str(model), precision], int(threads))
            for file in (small, image)
        )
        rows.append(
            f"| Everhart, a U-Net of the same maps, {precision} | {large[0] - start[0]:.1f} "
            f"| {large[1]:.0f} |"
        )
    return "\n".join(rows)


def twin(folder: Path) -> Path:
    """Write a model of the shape of CAREamics' default: 32, 64 and 128 maps, no stem."""
    from everhart.restore.architectures import RestorationUNet, config_for_header
    from everhart.restore.unet_config import RestorationUNetConfig
    from everhart.training.model_file import ModelCard, ModelHeader, save_model

    network = RestorationUNet(RestorationUNetConfig(widths=(32, 64, 128), stem=1))
    architecture, config = config_for_header(network)
    card = ModelCard(name="twin")
    header = ModelHeader(kind="denoiser", architecture=architecture, config=config, card=card)
    return save_model(folder / "twin.safetensors", header, network.state_dict())


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    parts = [
        f"Measured on {date.today()} with `python scripts/bench_speed.py --threads "
        f"{arguments.threads} --repeats {arguments.repeats}` on {os.cpu_count()} cores "
        f"({platform.machine()}), load {json.dumps(os.getloadavg())}.",
        "| network of `sem-general` | CPU s a Mpx | GFLOP/s | of the limit |\n"
        + "| --- " * 4 + "|\n" + "\n".join(network_rows(arguments)),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts.append(
            "| image | engine | file to file, CPU s | CPU s a Mpx | peak MB |\n"
            + "| --- " * 5 + "|\n" + "\n".join(file_rows(folder, arguments))
        )  # fmt: skip
        parts.append(folder_row(folder, arguments))
        if arguments.peers:
            parts.append(
                "| 3072 x 2048 | CPU s without the start | peak MB |\n" + "| --- " * 3 + "|\n"
                + peer_row(folder, arguments.peers, arguments)
            )  # fmt: skip
    text = "\n\n".join(parts) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
