"""How near Everhart is to what the machine can do: engines, start-up, size, folders, peers.

    python scripts/bench_speed.py [-o table.md] [--threads 1] [--repeats 3]

Everything is measured in one run: what convolutions reach on this machine (the limit), the
network of the shipped model by each engine and number format as a share of that limit, the
whole command from file to file, its start, its cost from 1 to 100 megapixels, and a folder of
small images against the bare network. CPU seconds and peak memory are of processes of their
own, as the operating system reports them; medians of the repeats.

Others' programs stand beside it in `bench_peers.py`.
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
from everhart.restore.engine import Engine
from everhart.restore.engine_onnx import OnnxEngine
from everhart.restore.engine_openvino import OpenVINOEngine
from everhart.restore.engine_torch import TorchEngine
from everhart.restore.models import find_model
from everhart.training.model_header import read_model_bytes

LARGE = (2048, 3072)

_EVERHART = [sys.executable, "-m", "everhart"]

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
    call = [*_EVERHART, "denoise", str(image), "-o", str(out)]
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
        engines: list[tuple[str, Engine]] = [("torch", by_torch), ("openvino", by_openvino)]
        if precision == "fp32":
            engines.append(("onnx", OnnxEngine(header, data)))
        for name, engine in engines:
            function = engine.on(window[0])
            seconds = timed(lambda function=function: function(window), arguments.repeats)
            reached = work * window.size / seconds / 1e9
            per_mpx = seconds / window.size * 1e6
            share = 100 * reached / peak
            rows.append(f"| {name} {precision} | {per_mpx:.3f} | {reached:.0f} | {share:.0f} % |")
            print(rows[-1], flush=True)
        rows.append(f"| limit {precision}: convolutions of 128 maps | | {peak:.0f} | |")
    return rows + int8_rows(window, arguments)


def int8_rows(window: np.ndarray, arguments: argparse.Namespace) -> list[str]:
    """Measure the graph that `everhart export --int8` writes, by both runtimes that take it."""
    import onnxruntime
    from openvino import Core

    from everhart.restore.onnx_export import export_denoiser

    with tempfile.TemporaryDirectory() as folder:
        done = export_denoiser("sem-general", Path(folder) / "int8.onnx", int8=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = onnxruntime.InferenceSession(
            done.path, options, providers=["CPUExecutionProvider"]
        )
        core = Core()
        graph = core.read_model(done.path)
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": arguments.threads}
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    image = window[None]
    rows = [f"| loss in int8, dB: {done.metadata['int8_loss_db']} | | | |"]
    for name, function in (
        ("onnx", lambda: session.run(None, {"image": image})),
        ("openvino", lambda: request.infer([image])),
    ):
        per_mpx = timed(function, arguments.repeats) / window.size * 1e6
        rows.append(f"| {name} int8 | {per_mpx:.3f} | | |")
        print(rows[-1], flush=True)
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


def folder_row(
    folder: Path, arguments: argparse.Namespace, count: int = 300, edge: int = 512
) -> str:
    """Measure a folder of small images against the bare network on the same pixels."""
    rng = np.random.default_rng(0)
    scans = folder / "scans"
    scans.mkdir()
    for number in range(count):
        pixels = rng.poisson(100, (edge, edge)).astype(np.uint8)
        eh.write(pixels, scans / f"{number:04d}.tif")
    start = median_of(denoise(scans / "0000.tif", folder / "one.tif"), arguments)[0]
    whole = spawn(denoise(scans, folder / "clean"), arguments.threads)[0]
    each = (whole - start) / (count - 1)
    denoiser = eh.restore.make_denoiser(device="cpu")
    network = denoiser.network
    assert network is not None
    window = rng.normal(size=(1, edge + 32, edge + 32)).astype(np.float32)
    function = network.engine.on(window[0])
    bare = timed(lambda: function(window), arguments.repeats)
    share = 100 * bare / each
    return (
        f"{count} images of {edge} x {edge}: {each:.3f} CPU seconds each, from file to file; the "
        f"bare network takes {bare:.3f} for the same padded pixels: {share:.0f} %."
    )


def cluster_rows(folder: Path, count: int = 24) -> list[str]:
    """Measure a folder in this process, and spread over one and two processes of one core each."""
    scans = folder / "some"
    scans.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        eh.write(rng.poisson(100, (1024, 1024)).astype(np.uint8), scans / f"{number:04d}.tif")
    model = twin(folder, widths=(16, 32), kind="segment")
    cores = sorted(os.sched_getaffinity(0))
    rows = []
    for name, words in (
        ("denoise", denoise(scans, folder / "spread")),
        ("segment", [*_EVERHART, "segment", str(scans), "-o", str(folder / "labels"), "--model",
                     str(model), "--overwrite"]),
    ):  # fmt: skip
        for workers in (0, 1, 2):
            if workers > len(cores):
                continue
            os.sched_setaffinity(0, cores[: max(1, workers)])
            spread = ["--cluster", "local"] if workers else []
            start = time.perf_counter()
            seconds, memory = spawn([*words, *spread], 1)
            wall = time.perf_counter() - start
            said = f"{workers} process{'es' * (workers > 1)}" if workers else "alone, one core"
            rows.append(f"| {name}, {said} | {seconds / count:.3f} | {wall:.1f} | {memory:.0f} |")
            print(rows[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
        os.sched_setaffinity(0, cores)
    return rows


def step_rows(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Measure what a day's work consists of, on an image of holes of a megapixel."""
    from everhart.segment import make_segmentation

    scene = eh.simulate("nand", shape=(1024, 1024), seed=1)
    rng = np.random.default_rng(0)
    noisy = np.clip(rng.normal(40 + 150 * np.asarray(scene.image), 15), 0, 255).astype(np.uint8)
    image = eh.Micrograph(noisy, pixel_size_nm=1.0)
    file = eh.write(image, folder / "holes.tif", overwrite=True)
    denoiser = eh.restore.make_denoiser(device="cpu")
    clean = denoiser(image)
    model = twin(folder, widths=(32, 64, 128, 256), kind="segment")
    segmentation = make_segmentation(model, device="cpu")
    steps = {
        "read, write": lambda: eh.write(eh.read(file), folder / "again.tif", overwrite=True),
        "denoise": lambda: denoiser(image),
        "segment": lambda: segmentation([image]),
        "measure holes": lambda: eh.measure.holes(clean),
        "measure particles": lambda: eh.measure.particles(clean),
    }
    return [f"| {name} | {timed(step, arguments.repeats):.3f} |" for name, step in steps.items()]


def scheduler_row(tasks: int = 3000) -> str:
    """Measure what a task on a Dask cluster costs beside the work."""
    from distributed import LocalCluster

    from everhart.cli.cluster import on_cluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        for _ in on_cluster(abs, range(100), address):
            pass
        start = time.process_time()
        done = sum(1 for _ in on_cluster(abs, range(tasks), address))
        each = (time.process_time() - start) / done
    return f"A task costs scheduler and client {1000 * each:.1f} ms of CPU ({tasks} tasks)."


def twin(folder: Path, widths: tuple[int, ...] = (32, 64, 128), kind: str = "denoiser") -> Path:
    """Write a model of random weights; by default of the maps of CAREamics' U-Net, no stem."""
    from everhart.nn.unet import UNetConfig
    from everhart.restore.architectures import RestorationUNet, config_for_header
    from everhart.restore.unet_config import RestorationUNetConfig
    from everhart.segment.network import ARCHITECTURE, SegmentationUNet
    from everhart.training.model_file import ModelCard, ModelHeader, save_model

    card, said = ModelCard(name="twin"), {}
    if kind == "denoiser":
        network = RestorationUNet(RestorationUNetConfig(widths=widths, stem=1))
        architecture, config = config_for_header(network)
    else:
        network = SegmentationUNet(UNetConfig(widths=widths, out_channels=2))
        architecture, config = ARCHITECTURE, network.config.model_dump(mode="json")
        said = {
            "classes": ["one", "other"], "rims": False, "pixel_size_nm": None, "scale": 1.0,
            "smallest_px": None,
        }  # fmt: skip
    header = ModelHeader(
        kind=kind, architecture=architecture, config=config, inference=said, card=card
    )
    return save_model(folder / f"{kind}.safetensors", header, network.state_dict())


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
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
        parts.append(
            "| 24 images of 1024 x 1024 | CPU s an image | wall s | peak MB of a process |\n"
            + "| --- " * 4 + "|\n" + "\n".join(cluster_rows(folder))
        )  # fmt: skip
        parts.append(
            "| an image of 1024 x 1024 | CPU s |\n| --- | --- |\n"
            + "\n".join(step_rows(folder, arguments))
        )
    parts.append(scheduler_row())
    text = "\n\n".join(parts) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
