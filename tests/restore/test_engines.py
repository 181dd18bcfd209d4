"""The engines behind one door: the same numbers, and clear words where one cannot be had."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart import UsageError
from everhart.errors import FileFormatError
from everhart.nn.hardware import use_bf16
from everhart.restore import make_denoiser
from everhart.restore.architectures import (
    RestorationN2NUNet,
    RestorationN2NUNetConfig,
    RestorationNetwork,
    RestorationUNet,
    config_for_header,
)
from everhart.restore.engine import Engine
from everhart.restore.engine_openvino import OpenVINOEngine
from everhart.restore.engine_torch import TorchEngine
from everhart.restore.network import KIND, LearnedDenoiser
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.training.model_file import ModelCard, ModelHeader, save_model


def _saved(network: RestorationNetwork, path: Path, **changes: object) -> Path:
    architecture, config = config_for_header(network)
    header = ModelHeader(
        kind=KIND,
        architecture=architecture,
        config={**config, **changes},
        card=ModelCard(name="random"),
    )
    return save_model(path, header, network.state_dict())


def _both(config: RestorationUNetConfig, seed: int) -> tuple[Engine, Engine]:
    torch.manual_seed(seed)
    network = RestorationUNet(config)
    for parameter in network.parameters():  # what starts at zero would hide a wrong graph
        torch.nn.init.normal_(parameter, std=0.2)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return (
        TorchEngine(network, device="cpu", precision="fp32"),
        OpenVINOEngine(config, weights, precision="fp32"),
    )


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(2, 9), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["direct", "residual", "blend"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_openvino_computes_what_torch_does(
    widths: list[int], stem: int, output: str, edge_plane: bool, mask_plane: bool, seed: int
) -> None:
    config = RestorationUNetConfig(
        widths=tuple(widths),
        stem=stem,
        output=output,  # type: ignore[arg-type]
        edge_plane=edge_plane,
        mask_plane=mask_plane,
    )
    by_torch, by_openvino = _both(config, seed)
    rng = np.random.default_rng(seed)
    for cells in ((3, 4), (2, 5)):  # one compilation serves windows of any size
        shape = tuple(n * config.stride for n in cells)
        planes = rng.normal(size=(1 + mask_plane, *shape)).astype(np.float32)
        expected = by_torch.on(planes[0])(planes)
        found = by_openvino.on(planes[0])(planes)
        assert found.shape == shape
        assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    for name in ("stride", "receptive_radius", "mask_plane", "bytes_per_pixel"):
        assert getattr(by_torch, name) == getattr(by_openvino, name)


def test_the_shipped_model_gives_the_same_with_both(rng: np.random.Generator) -> None:
    image = rng.poisson(80, (200, 260)).astype(np.float32)
    by_torch, by_openvino = (
        make_denoiser("sem-general", device="cpu", precision="fp32", engine=engine)(image)
        for engine in ("torch", "openvino")
    )
    assert np.abs(by_torch - by_openvino).max() <= 1e-5 * image.max()


@pytest.mark.skipif(not use_bf16("auto", "cpu"), reason="the processor has no bfloat16")
def test_grey_levels_of_the_input_survive_bfloat16() -> None:
    """A model that gives its input back (gate open) does so to float32, not to 8 bits."""
    config = RestorationUNetConfig(widths=(4, 8), output="blend")
    weights = {
        name: np.zeros(value.shape, np.float32)
        for name, value in RestorationUNet(config).state_dict().items()
    }
    weights["unet.gate.bias"] += 60.0
    engine = OpenVINOEngine(config, weights, precision="bf16")
    planes = np.linspace(1, 2, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    assert np.abs(engine.on(planes[0])(planes) - planes[0]).max() < 1e-6


def test_learned_denoising_on_a_processor_loads_no_torch() -> None:
    statement = (
        "import sys, everhart as eh, numpy as np; "
        "eh.denoise(np.eye(64, dtype=np.float32) * 9, device='cpu', engine='openvino'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", statement], timeout=280).returncode == 0


def test_what_openvino_does_not_know_is_torchs(tmp_path: Path) -> None:
    path = _saved(
        RestorationN2NUNet(RestorationN2NUNetConfig(filters=2, levels=2)),
        tmp_path / "n2n.safetensors",
    )
    assert isinstance(LearnedDenoiser.load(path, device="cpu").engine, TorchEngine)
    with pytest.raises(UsageError, match="it runs 'RestorationUNet', choose the engine torch"):
        LearnedDenoiser.load(path, engine="openvino")


def test_without_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(
        RestorationUNet(RestorationUNetConfig(widths=(4,))), tmp_path / "unet.safetensors"
    )
    assert isinstance(LearnedDenoiser.load(path, device="cpu").engine, OpenVINOEngine)
    monkeypatch.setattr("everhart.restore.engine.find_spec", lambda _: None)
    assert isinstance(LearnedDenoiser.load(path, device="cpu").engine, TorchEngine)
    with pytest.raises(UsageError, match=r"install everhart\[openvino\]"):
        LearnedDenoiser.load(path, engine="openvino")


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The engine 'tensorrt' was given: auto, torch, openvino"):
        make_denoiser(engine="tensorrt")
    with pytest.raises(UsageError, match="on the device cuda"):
        make_denoiser(engine="openvino", device="cuda")
    with pytest.raises(UsageError, match="The precision 'fp8' was given"):
        make_denoiser(precision="fp8")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize(
    "changes", [{"widths": [4, 9]}, {"widths": [4]}, {"stem": 1}, {"output": "direct"}]
)
def test_weights_that_do_not_fit(tmp_path: Path, engine: str, changes: dict[str, object]) -> None:
    network = RestorationUNet(RestorationUNetConfig(widths=(4, 8), output="blend"))
    path = _saved(network, tmp_path / "unet.safetensors", **changes)
    with pytest.raises(FileFormatError, match="its weights do not fit its header"):
        LearnedDenoiser.load(path, device="cpu", engine=engine)


def test_one_openvino_engine_serves_several_threads(rng: np.random.Generator) -> None:
    denoiser = make_denoiser(device="cpu", engine="openvino", precision="fp32")
    images = [rng.normal(100, 10, (96, 96)).astype(np.float32) for _ in range(8)]
    expected = [denoiser(image) for image in images]
    with ThreadPoolExecutor(4) as threads:
        for found, alone in zip(threads.map(denoiser, images * 3), expected * 3, strict=True):
            assert np.array_equal(found, alone)
