"""The command line in this process, and a tiny model for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from everhart.cli import main
from everhart.io import write
from everhart.micrograph import Micrograph


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run `everhart` with these words and return its status and what it printed."""
    monkeypatch.delenv("EVERHART_DEBUG", raising=False)

    def call(*words: object) -> Result:
        status = main([str(word) for word in words])
        return Result(status, *capfd.readouterr())

    return call


@pytest.fixture
def picture(rng: np.random.Generator) -> Micrograph:
    """A noisy image of discs, 8 bit, calibrated."""
    y, x = np.mgrid[:96, :128]
    clean = np.full(y.shape, 60.0)
    for cy, cx, r in ((30, 40, 18), (64, 90, 22), (20, 105, 9)):
        clean[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = 170
    pixels = np.clip(np.rint(rng.normal(clean, 18)), 0, 255).astype(np.uint8)
    return Micrograph(pixels, pixel_size_nm=2.5)


@pytest.fixture
def noisy_tif(tmp_path: Path, picture: Micrograph) -> Path:
    return write(picture, tmp_path / "noisy.tif")


@pytest.fixture
def folder(tmp_path: Path, picture: Micrograph) -> Path:
    """A folder of three images: TIFF, PNG and one of a format that is not written."""
    from PIL import Image

    scans = tmp_path / "scans"
    scans.mkdir()
    write(picture, scans / "a.tif")
    write(picture, scans / "b.png")
    Image.fromarray(picture.pixels).save(scans / "c.bmp")
    return scans


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few weights that were never trained."""
    from everhart.restore.architectures import RestorationUNet, config_for_header
    from everhart.restore.network import KIND
    from everhart.restore.unet_config import RestorationUNetConfig
    from everhart.training.model_file import ModelCard, ModelHeader, save_model

    network = RestorationUNet(RestorationUNetConfig(widths=(4, 8)))
    architecture, config = config_for_header(network)
    card = ModelCard(name="tiny", summary="a model of the tests", licence="Apache-2.0")
    header = ModelHeader(kind=KIND, architecture=architecture, config=config, card=card)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    return save_model(path, header, network.state_dict())


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    """A segmentation into three classes that was never trained."""
    import torch

    from everhart.nn.unet import UNetConfig
    from everhart.segment.network import ARCHITECTURE, KIND, SegmentationUNet
    from everhart.training.model_file import ModelCard, ModelHeader, save_model

    torch.manual_seed(0)
    network = SegmentationUNet(UNetConfig(out_channels=3, widths=(4, 8)))
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=network.config.model_dump(mode="json"),
        normalisation={"kind": "image", "mean": 0.0, "deviation": 1.0},
        inference={
            "classes": ["background", "particle", "other"],
            "rims": False,
            "pixel_size_nm": 2.5,
            "scale": 1.0,
            "smallest_px": None,
        },
        card=ModelCard(name="three", licence="CC0-1.0"),
    )
    return save_model(tmp_path / "three.safetensors", header, network.state_dict())
