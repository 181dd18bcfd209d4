"""Training speed beside a plain PyTorch loop and CAREamics; sampling speed beside diffusers.

    python scripts/bench_training.py [-o table.md] [--repeats 3] [--peers FOLDER]

Training: CPU seconds a step, from the difference of a long and a short run, so that the start does
not count. The plain loop has the same network, optimiser and loss on batches that lie ready in
memory: what it takes is the least that a step can take, and its share of `everhart train` is the
time that the network has. With `--peers FOLDER` CAREamics, in the environment of its own that
`bench_speed.py` makes there, trains on the same image, crops and batches, and is held against a
plain loop with its own network.

Sampling: `everhart.synthesize` and the DDIM pipeline of diffusers, the same weights, noise, and
number of steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SHORT, LONG = 4, 24

N2V = {
    "recipe": "n2v",
    "data": [{"kind": "frames", "folder": "scans", "registration": "none"}],
    "crop_px": 64,
    "network": {"kind": "unet", "widths": [32, 64, 128], "stem": 1},
    "optimiser": {"batch_size": 16, "precision": "fp32", "threads": 1},
}
SIMULATED = {
    "recipe": "supervised",
    "data": [{"kind": "simulated", "scenes": 16, "scene_px": 256}],
    "crop_px": 128,
    "network": {"kind": "unet", "widths": [32, 64, 128, 256], "output": "blend"},
    "optimiser": {"batch_size": 8, "precision": "auto", "threads": 1},
}
CASES = {
    "U-Net of 32, 64, 128 maps, 16 crops of 64 px, fp32 (n2v)": N2V,
    "network of `sem-general`, 8 crops of 128 px, bf16 (simulated scenes)": SIMULATED,
}

CAREAMICS = """
import json, sys, time, types
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
torch.set_num_threads(1)
from careamics import CAREamist
from careamics.config import create_n2v_configuration
image, short, long = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def trained(steps):
    configuration = create_n2v_configuration(
        experiment_name="bench", data_type="array", axes="SYX", patch_size=[64, 64], batch_size=16,
        num_epochs=1)
    engine = CAREamist(source=configuration, work_dir=sys.argv[4])
    crops = np.tile(image, (4, 4))[: 64 * steps, : 64 * 16]
    crops = crops.reshape(-1, 64, 64 * 16)  # each a row of 16 patches: one step
    start = time.process_time()
    engine.train(train_source=crops, val_source=crops[:1])
    return time.process_time() - start, engine.model

trained(2)
seconds = trained(long)
step = (seconds[0] - trained(short)[0]) / (long - short)
network = seconds[1].model.train()
optimiser = torch.optim.Adam(network.parameters())
batch = torch.randn(16, 1, 64, 64)

def plain(count):
    start = time.process_time()
    for _ in range(count):
        loss = ((network(batch) - batch) ** 2).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return time.process_time() - start

plain(2)
print(json.dumps([step, plain(8) / 8]))
"""


def steps_of(config: dict[str, Any], folder: Path, count: int) -> float:
    """Train for so many steps, and return the CPU seconds."""
    from everhart.restore.train import train

    settings = {**config["optimiser"], "steps": count, "steps_per_epoch": count}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**config, "seed": 0, "optimiser": settings}))
    with tempfile.TemporaryDirectory() as run:
        start = time.process_time()
        train(path, Path(run) / "run")
        return time.process_time() - start


def plain_step(config: dict[str, Any], count: int) -> float:
    """Return the CPU seconds of a step of the network alone."""
    import torch

    from everhart.nn.hardware import use_bf16
    from everhart.restore.architectures import RestorationUNet
    from everhart.restore.unet_config import RestorationUNetConfig

    network = RestorationUNet(RestorationUNetConfig.model_validate(config["network"])).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    batch = torch.randn(config["optimiser"]["batch_size"], 1, config["crop_px"], config["crop_px"])
    bf16 = use_bf16(config["optimiser"]["precision"], "cpu")
    start = 0.0
    for number in range(count + 2):
        if number == 2:
            start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = ((network(batch) - batch) ** 2).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return (time.process_time() - start) / count


def training_rows(folder: Path, repeats: int, peers: Path | None) -> list[str]:
    """Measure all cases of training."""
    import everhart as eh

    rng = np.random.default_rng(0)
    scan = rng.poisson(40 + 30 * np.ones((512, 512))).astype(np.uint8)
    (folder / "scans").mkdir()
    eh.write(scan, folder / "scans" / "F01_000.tif")
    rows = []
    for name, case in CASES.items():
        config = json.loads(json.dumps(case).replace('"scans"', json.dumps(str(folder / "scans"))))
        steps_of(config, folder, 2)
        pairs = []
        for _ in range(repeats):
            long, short = (steps_of(config, folder, n) for n in (LONG, SHORT))
            pairs.append(((long - short) / (LONG - SHORT), plain_step(config, 8)))
        rows.append(_row(name, "everhart train", config["optimiser"]["batch_size"], pairs))
        print(rows[-1], flush=True)
        if peers is not None and case is N2V:
            np.save(folder / "scan.npy", scan.astype(np.float32))
            python = peers / "careamics" / "bin" / "python"
            inputs = [str(folder / "scan.npy"), str(SHORT), str(LONG), str(folder)]
            pairs = [_lines([str(python), "-c", CAREAMICS, *inputs]) for _ in range(repeats)]
            rows.append(_row(name, "CAREamics, its U-Net of the same maps", 16, pairs))
            print(rows[-1], flush=True)
    return rows


def _row(case: str, who: str, batch: int, pairs: list[tuple[float, float]]) -> str:
    step, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    share = statistics.median(100 * bare / whole for whole, bare in pairs)
    return (
        f"| {case} | {who} | {step:.3f} | {batch / step:.1f} | {batch / plain:.1f} "
        f"| {share:.0f} % |"
    )


def _lines(command: list[str]) -> tuple[float, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    step, plain = json.loads(done.stdout.strip().splitlines()[-1])
    return float(step), float(plain)


def sampling_rows(repeats: int, steps: int = 10, count: int = 2, size: int = 64) -> list[str]:
    """Measure DDIM of both packages on one network and noise, and check that they agree."""
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    from everhart.nn.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
    from everhart.synthesize.diffusers_format import to_diffusers
    from everhart.synthesize.samplers import ddim
    from everhart.synthesize.schedule import NoiseSchedule

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = DiffusionUNet(DiffusionUNetConfig(widths=(64, 96, 128))).eval()
    torch.nn.init.normal_(network.last.weight, std=0.05)
    config, weights = to_diffusers(network.config, network.state_dict())
    theirs = UNet2DModel(**{**config, "sample_size": size}).eval()
    theirs.load_state_dict(weights)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # as Generator does
    schedule = NoiseSchedule("linear", 1000, "v")
    scheduler = DDIMScheduler(
        num_train_timesteps=schedule.steps,
        trained_betas=schedule.betas.tolist(),
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    pipeline = DDIMPipeline(theirs, scheduler)
    pipeline.set_progress_bar_config(disable=True)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    def by_diffusers() -> np.ndarray:
        out = pipeline(count, generator(), eta=0.0, num_inference_steps=steps, output_type="np")
        return np.asarray(out.images)[..., 0]

    def by_everhart() -> np.ndarray:
        noise = torch.randn(count, 1, size, size, generator=generator())
        with torch.inference_mode():
            x = ddim(lambda x, t: network(x, t).float(), noise, schedule, steps)
        return (x / 2 + 0.5).clamp(0, 1).numpy()[:, 0]

    rows = []
    for bf16 in (False, True):
        times: dict[str, list[float]] = {"diffusers": [], "everhart": []}
        images = {}
        for repeat in range(repeats + 1):
            for name, run in (("diffusers", by_diffusers), ("everhart", by_everhart)):
                start = time.process_time()
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    images[name] = run()
                if repeat:  # the first one warms up
                    times[name].append((time.process_time() - start) / count / steps)
        apart = np.abs(images["diffusers"] - images["everhart"]).max()
        them, us = (statistics.median(times[name]) for name in ("diffusers", "everhart"))
        rows.append(
            f"| {'bf16' if bf16 else 'fp32'} | {them:.4f} | {us:.4f} | {them / us:.2f} | "
            f"{apart:.1g} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        training = training_rows(Path(name), arguments.repeats, arguments.peers)
    sampling = sampling_rows(arguments.repeats)
    text = "\n\n".join([
        f"Measured on {date.today()} with `python scripts/bench_training.py --repeats "
        f"{arguments.repeats}` on {os.cpu_count()} cores ({platform.machine()}), load {load:.0f} "
        f"to {os.getloadavg()[0]:.0f}; CPU seconds of one thread, medians.",
        "| what | by | CPU s a step | images / s | plain loop, images / s | in the network |\n"
        + "| --- " * 6 + "|\n" + "\n".join(training),
        "| DDIM, 64 x 64 | diffusers, CPU s an image and step | Everhart | times quicker "
        "| largest difference of the images, of 1 |\n" + "| --- " * 5 + "|\n"
        + "\n".join(sampling),
    ]) + "\n"  # fmt: skip
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
