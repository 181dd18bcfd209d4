"""The network of a segmentation, and the models whose weights it may start from."""

from __future__ import annotations

import os

from torch import Tensor, nn

from everhart.errors import UsageError
from everhart.nn.unet import UNet, UNetConfig
from everhart.restore.models import find_model
from everhart.segment.config import SegmentNetworkConfig
from everhart.training.model_file import LoadedModel, load_model, read_header

__all__ = ["ARCHITECTURE", "KIND", "SegmentationUNet", "start_model", "take_weights"]

KIND = "segment"
ARCHITECTURE = "SegmentationUNet"

_HEADS = ("head.", "gate.")


class SegmentationUNet(nn.Module):
    """U-Net that gives a score for each class.

    Parameters
    ----------
    config
        Shape of the U-Net; its output planes are the classes.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores ``(N, classes, H, W)`` of images ``(N, 1, H, W)``."""
        return self.unet(x)  # type: ignore[no-any-return]

    @property
    def maps_per_pixel(self) -> float:
        """Estimate of the feature maps that live at once, per input pixel."""
        return 7 * self.config.widths[0] / self.config.stem**2 + 2 * self.config.out_channels


def start_model(
    name: str | None, network: SegmentNetworkConfig | None
) -> tuple[SegmentNetworkConfig, LoadedModel | None]:
    """Return the shape of a network, and the model to start from.

    Parameters
    ----------
    name
        Name or file of a denoiser or a segmentation, or None.
    network
        The shape that was asked for; None for that of the model, or the usual one.

    Raises
    ------
    UsageError
        If there is no such model, it is no U-Net on images alone, or has another shape.
    """
    if name is None:
        return network or SegmentNetworkConfig(), None
    path = find_model(os.path.expandvars(name))
    header = read_header(path)
    if header.kind not in ("denoiser", KIND):
        raise UsageError(
            f"start_from = {name} is a model of the kind {header.kind!r}: give a denoiser or a "
            "segmentation."
        )
    loaded = load_model(path, header.kind)
    config = header.config
    planes = config.get("edge_plane") or config.get("mask_plane")
    if header.architecture not in ("RestorationUNet", ARCHITECTURE) or planes:
        raise UsageError(
            f"start_from = {name} is a {header.architecture} with {config}: give a U-Net of the "
            "kind unet that sees the image alone."
        )
    shape = SegmentNetworkConfig(widths=tuple(config["widths"]), stem=config["stem"])
    if network is not None and network != shape:
        raise UsageError(
            f"start_from = {name} has widths {list(shape.widths)} and stem {shape.stem}, and the "
            f"config asks for {list(network.widths)} and {network.stem}: leave network out, or "
            "give the same."
        )
    return shape, loaded


def take_weights(network: SegmentationUNet, model: LoadedModel) -> int:
    """Start a network from a model's weights, all but the head; return how many were taken."""
    taken = {
        name: weight
        for name, weight in model.weights.items()
        if not name.removeprefix("unet.").startswith(_HEADS)
    }
    missing, unexpected = network.load_state_dict(taken, strict=False)
    assert not unexpected
    assert all(name.startswith("unet.head.") for name in missing), missing
    return sum(weight.numel() for weight in taken.values())
