"""ONNX: the graphs compute what torch does, and the files say what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.errors import EverhartError, FileFormatError, UsageError
from everhart.nn.fbi_net import LayerDropoutConfig
from everhart.nn.pge_net import PGENetConfig
from everhart.restore import make_denoiser
from everhart.restore.architectures import (
    NetworkConfig,
    RestorationFBINetConfig,
    RestorationN2NUNetConfig,
    RestorationUNetConfig,
    config_for_header,
    make_network,
)
from everhart.restore.models import find_model
from everhart.restore.network import KIND
from everhart.restore.onnx_export import export_denoiser
from everhart.restore.onnx_graphs import restoration_graph
from everhart.training.model_file import ModelCard, ModelHeader, load_model, save_model


def _saved(config: NetworkConfig, path: Path, **changes: object) -> Path:
    """Save a network of random weights, none of them zero."""
    torch.manual_seed(0)
    network = make_network(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("pge"):  # noise levels are to be those of images
                parameter.add_(0.05 * torch.randn_like(parameter))
    architecture, said = config_for_header(network)
    header = ModelHeader(
        kind=KIND,
        architecture=architecture,
        config={**said, **changes},
        card=ModelCard(name="random", licence="CC0-1.0", limits="of no use"),
    )
    return save_model(path, header, network.state_dict())


FURTHER: list[NetworkConfig] = [
    RestorationN2NUNetConfig(filters=4, levels=3),
    RestorationN2NUNetConfig(filters=3, levels=1, mask_plane=True),
    RestorationFBINetConfig(layers=5, filters=4),
    RestorationFBINetConfig(layers=2, filters=4, blind_spot=False, mask_plane=True),
    RestorationFBINetConfig(
        layers=4, filters=4, output="affine", dropout=LayerDropoutConfig(after_blocks=(1, 5))
    ),
    RestorationFBINetConfig(
        layers=4, filters=4, output="anscombe", pge=PGENetConfig(widths=(4, 8))
    ),
]


@pytest.mark.parametrize("config", FURTHER, ids=lambda config: f"{config.kind}-{config.stride}")
def test_other_networks_agree_with_torch(config: NetworkConfig, tmp_path: Path) -> None:
    path = _saved(config, tmp_path / "m.safetensors")
    assert export_denoiser(path, tmp_path / "m.onnx").difference < 1e-5


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(2, 9), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["direct", "residual", "blend"]),
    st.booleans(),
    st.booleans(),
)
def test_unets_agree_with_torch(
    tmp_path_factory: pytest.TempPathFactory,
    widths: list[int],
    stem: int,
    output: Any,
    edge_plane: bool,
    mask_plane: bool,
) -> None:
    config = RestorationUNetConfig(
        widths=tuple(widths),
        stem=stem,
        output=output,
        edge_plane=edge_plane,
        mask_plane=mask_plane,
    )
    folder = tmp_path_factory.mktemp("unet")
    path = _saved(config, folder / "m.safetensors")
    assert export_denoiser(path, folder / "m.onnx").difference < 1e-5


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    out = export_denoiser("sem-general", tmp_path / "m.onnx").path
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert said["kind"] == "denoiser"
    assert said["licence"] == "Apache-2.0"
    assert said["stride_px"] == "16"
    assert said["normalisation"].startswith("subtract the mean of the image")
    assert said["limits"].startswith("Noise of 1 to 45 %")
    assert said["model_sha256"] == make_denoiser("sem-general", device="cpu").model_hash
    assert json.loads(said["everhart"])["architecture"] == "RestorationUNet"
    for shape in ((1, 1, 32, 64), (3, 1, 48, 16)):
        (given_,) = session.get_inputs()
        (restored,) = session.run(None, {given_.name: np.zeros(shape, np.float32)})
        assert restored.shape == shape


def test_nothing_is_written_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(RestorationUNetConfig(widths=(4,)), tmp_path / "m.safetensors")

    def wrong(header: ModelHeader, weights: dict[str, Any]) -> Any:
        head = weights["unet.head.bias"]
        return restoration_graph(header, {**weights, "unet.head.bias": head + np.float32(0.1)})

    monkeypatch.setattr("everhart.restore.onnx_export.restoration_graph", wrong)
    with pytest.raises(EverhartError, match="differs from PyTorch by"):
        export_denoiser(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_models_that_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(RestorationUNetConfig(widths=(4, 8)), tmp_path / "m.safetensors", widths=[4, 9])
    with pytest.raises(FileFormatError, match="its weights do not fit its header"):
        export_denoiser(path, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"an exported model is named \*\.onnx"):
        export_denoiser("sem-general", tmp_path / "m.pt")
    (tmp_path / "m.onnx").touch()
    with pytest.raises(UsageError, match="exists"):
        export_denoiser("sem-general", tmp_path / "m.onnx")
    monkeypatch.setattr("everhart.training.onnx_file.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"install everhart\[onnx\]"):
        export_denoiser("sem-general", tmp_path / "n.onnx")


@pytest.mark.parametrize("mask_plane", [False, True])
def test_the_engine_gives_what_torch_does(
    tmp_path: Path, rng: np.random.Generator, mask_plane: bool
) -> None:
    config = RestorationUNetConfig(widths=(4, 8), output="blend", mask_plane=mask_plane)
    path = _saved(config, tmp_path / "m.safetensors")
    image = rng.poisson(80, (150, 130)).astype(np.float32)
    by_torch, by_onnx = (
        make_denoiser(model=path, device="cpu", precision="fp32", engine=engine)(image)
        for engine in ("torch", "onnx")
    )
    assert np.abs(by_torch - by_onnx).max() <= 1e-5 * image.max()


def test_the_engine_loads_no_torch() -> None:
    statement = (
        "import sys, everhart as eh, numpy as np; "
        "eh.denoise(np.eye(64, dtype=np.float32) * 9, device='cpu', engine='onnx'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", statement], timeout=280).returncode == 0


def test_wrong_calls_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="asked for in bf16"):
        make_denoiser(engine="onnx", precision="bf16")
    path = _saved(RestorationN2NUNetConfig(filters=2, levels=2), tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="onnx was asked for a network 'RestorationN2NUNet'"):
        make_denoiser(model=path, engine="onnx")
    monkeypatch.setattr("everhart.restore.engine.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"install everhart\[onnx\]"):
        make_denoiser(engine="onnx")


def test_the_example_of_the_documentation(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"
    if not page.is_file():
        pytest.skip("the documentation is not here")
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    export_denoiser("sem-general", "sem-general.onnx")
    names: dict[str, Any] = {}
    exec(code, names)
    image = rng.poisson(80, (100, 150)).astype(np.float32)
    for hot in (200, 9000):  # a pixel beyond `clip`
        image[50, 60] = hot
        expected = make_denoiser("sem-general", engine="onnx", device="cpu")(image)
        assert np.abs(names["denoise"](image) - expected).max() < 0.02


def test_int8_of_a_model_that_sees_the_range_of_the_dtype(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everhart.restore.onnx_int8._CALIBRATE", 2)
    monkeypatch.setattr("everhart.restore.onnx_int8._JUDGE", 2)
    known = load_model(find_model("sem-general"), KIND)
    header = known.header.model_copy(update={"normalisation": {"kind": "range"}})
    path = save_model(tmp_path / "m.safetensors", header, known.weights)
    image = (rng.poisson(np.linspace(20, 180, 96), (1, 1, 96, 96)) / 255).astype(np.float32)
    found = []
    for name, int8 in (("whole", False), ("small", True)):
        out = export_denoiser(path, tmp_path / f"{name}.onnx", int8=int8).path
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"image": image})[0])
    # 0.004; with ranges found in images of mean 0 and deviation 1, which are too wide, 0.013.
    assert np.std(found[1] - found[0]) < 0.008 * np.std(found[0])


def test_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    monkeypatch.setattr("everhart.restore.onnx_int8._CALIBRATE", 2)
    monkeypatch.setattr("everhart.restore.onnx_int8._JUDGE", 2)
    done = export_denoiser("sem-general", tmp_path / "m.onnx", int8=True)
    loss = json.loads(done.metadata["int8_loss_db"])
    assert abs(loss["mean"]) <= 0.1
    operators = {node.op_type for node in onnx.load(done.path).graph.node}
    assert "QuantizeLinear" in operators
    assert done.path.stat().st_size < 2.5e6  # in floats 7.2 MB
    monkeypatch.setattr("everhart.restore.onnx_int8.MOST_LOSS_DB", -9.0)
    with pytest.raises(EverhartError, match=r"export it without --int8"):
        export_denoiser("sem-general", tmp_path / "n.onnx", int8=True)
    assert not (tmp_path / "n.onnx").exists()
    path = _saved(RestorationN2NUNetConfig(filters=2, levels=2), tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="a U-Net"):
        export_denoiser(path, tmp_path / "n.onnx", int8=True)
