"""Networks and losses as plain torch modules."""

from everhart.nn.fbi_net import FBINet, FBINetConfig
from everhart.nn.losses import (
    CharbonnierLoss,
    EdgeLoss,
    MSSSIMLoss,
    PSNRLoss,
    RMSELoss,
    SSIMLoss,
    WeightedLoss,
)
from everhart.nn.n2n_unet import N2NUNet, N2NUNetConfig
from everhart.nn.pge_net import PGENet, PGENetConfig
from everhart.nn.unet import UNet, UNetConfig

__all__ = [
    "CharbonnierLoss",
    "EdgeLoss",
    "FBINet",
    "FBINetConfig",
    "MSSSIMLoss",
    "N2NUNet",
    "N2NUNetConfig",
    "PGENet",
    "PGENetConfig",
    "PSNRLoss",
    "RMSELoss",
    "SSIMLoss",
    "UNet",
    "UNetConfig",
    "WeightedLoss",
]
